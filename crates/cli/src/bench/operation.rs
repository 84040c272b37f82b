//! One operation under way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gk_client::{Created, Error, ErrorCode, OneshotWatch, Pending, Stat};
use gk_proto::Instant;

use super::mix::Operation;

/// An operation that was sent.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) operation: Operation,
    /// When it was to be sent: with a rate, by the schedule.
    pub(crate) intended: Instant,
    /// Whether that is in the time that is measured.
    pub(crate) is_measured: bool,
    pub(crate) answer: Answer,
}

/// What is waited for.
#[derive(Debug)]
pub(crate) enum Answer {
    Data(Pending<(Bytes, Stat)>),
    Stat(Pending<Stat>),
    /// The node is there, or this is an error: it was made before the run.
    Existing(Pending<Option<Stat>>, String),
    Names(Pending<Vec<String>>),
    Created(Pending<Created>),
    Nothing(Pending<()>),
    Fired(Box<Watched>),
}

/// A watch that is set, the write that fires it, and the event.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) set: Option<Pending<(Bytes, Stat, OneshotWatch)>>,
    pub(crate) watch: Option<OneshotWatch>,
    pub(crate) written: Option<Pending<Stat>>,
}

/// How an operation ended well.
#[derive(Debug)]
pub(crate) enum Done {
    /// A node was made.
    Made(String),
    /// Nothing that is needed later.
    Other,
}

impl Answer {
    /// How it ended, if it has.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Done, Error>> {
        Poll::Ready(match self {
            Self::Data(pending) => ready!(Pin::new(pending).poll(context)).map(|_| Done::Other),
            Self::Stat(pending) => ready!(Pin::new(pending).poll(context)).map(|_| Done::Other),
            Self::Existing(pending, path) => match ready!(Pin::new(pending).poll(context)) {
                Ok(Some(_)) => Ok(Done::Other),
                Ok(None) => Err(Error::Server { code: ErrorCode::NoNode, path: std::mem::take(path) }),
                Err(error) => Err(error),
            },
            Self::Names(pending) => ready!(Pin::new(pending).poll(context)).map(|_| Done::Other),
            Self::Created(pending) => ready!(Pin::new(pending).poll(context)).map(|created| Done::Made(created.path)),
            Self::Nothing(pending) => ready!(Pin::new(pending).poll(context)).map(|()| Done::Other),
            Self::Fired(watched) => ready!(watched.poll(context)).map(|()| Done::Other),
        })
    }
}

impl Watched {
    /// The event counts, not the answer to the write: it comes first, and is what a program waits for. But a write that
    /// failed fires nothing.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(set) = &mut self.set {
            let (_, _, watch) = ready!(Pin::new(set).poll(context))?;
            self.set = None;
            self.watch = Some(watch);
        }
        if let Some(watch) = &mut self.watch
            && let Poll::Ready(event) = Pin::new(watch).poll(context)
        {
            self.watch = None;
            return Poll::Ready(event.map(drop));
        }
        if let Some(written) = &mut self.written {
            ready!(Pin::new(written).poll(context))?;
            self.written = None;
        }
        Poll::Pending
    }
}
