//! The answer to a request, as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use gk_proto::ErrorCode;
use gk_proto::answer::Answer;
use tracing::Span;

use crate::chroot::Chroot;
use crate::core::{Failure, Token};
use crate::error::Error;
use crate::shared::Shared;
use crate::watch::{OneshotWatch, WatchStream};

/// The answer to a request that has already been made.
///
/// Requests are made when the method is called, in the order of the calls, and sent together: await several at once to
/// have them under way together. Dropping this gives up the answer, not the request, and ends the watch if one came with
/// it. It belongs to no runtime: any executor may poll it.
#[derive(Debug)]
#[must_use = "the request is made, but whether it succeeded is only known by awaiting"]
pub struct Pending<T> {
    stage: Stage,
    asked: Asked,
    read: Reading<T>,
    span: Span,
}

/// Turns the answer into what the method returns.
pub(crate) type Reading<T> = fn(Result<Answer, Failure>, &mut Asked) -> Result<T, Error>;

/// What the request was about.
#[derive(Debug)]
pub(crate) struct Asked {
    /// As the program named it.
    pub(crate) path: Box<str>,
    pub(crate) chroot: Chroot,
    pub(crate) watching: Watching,
}

/// The watch that comes with the answer.
#[derive(Debug)]
pub(crate) enum Watching {
    Nothing,
    Once(OneshotWatch),
    Stream(WatchStream),
}

#[derive(Debug)]
enum Stage {
    /// It was refused before it was made.
    Refused(Error),
    Waiting(Arc<Shared>, Token),
    Over,
}

impl<T> Pending<T> {
    /// A request that waits.
    pub(crate) fn new(shared: Arc<Shared>, token: Token, asked: Asked, read: Reading<T>, span: Span) -> Self {
        Self { stage: Stage::Waiting(shared, token), asked, read, span }
    }

    /// A request that could not be made.
    pub(crate) fn refused(error: Error, asked: Asked, read: Reading<T>) -> Self {
        Self { stage: Stage::Refused(error), asked, read, span: Span::none() }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = match &this.stage {
            Stage::Refused(error) => Err(error.clone()),
            Stage::Waiting(shared, token) => {
                let result = ready!(shared.poll_answer(*token, context));
                (this.read)(result, &mut this.asked)
            }
            Stage::Over => Err(Error::Closed),
        };
        this.stage = Stage::Over;
        if !this.span.is_none() {
            this.span.in_scope(|| match &result {
                Ok(_) => tracing::debug!("answered"),
                Err(error) => tracing::debug!(%error, "failed"),
            });
        }
        Poll::Ready(result)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Stage::Waiting(shared, token) = &self.stage {
            shared.abandon(*token);
        }
    }
}

impl Asked {
    /// About a path, in the program's words.
    pub(crate) fn about(path: &str, chroot: &Chroot) -> Self {
        Self { path: path.into(), chroot: chroot.clone(), watching: Watching::Nothing }
    }

    /// The watch, which was put there when the request was made.
    pub(crate) fn take_watch(&mut self) -> OneshotWatch {
        match std::mem::replace(&mut self.watching, Watching::Nothing) {
            Watching::Once(watch) => watch,
            Watching::Nothing | Watching::Stream(_) => {
                panic!("{}: a request without a watch was answered with one", self.path)
            }
        }
    }

    /// The stream, which was put there when the request was made.
    pub(crate) fn take_stream(&mut self) -> WatchStream {
        match std::mem::replace(&mut self.watching, Watching::Nothing) {
            Watching::Stream(stream) => stream,
            Watching::Nothing | Watching::Once(_) => {
                panic!("{}: a request without a stream was answered with one", self.path)
            }
        }
    }

    /// The answer, or the error that the program is told.
    pub(crate) fn got(&self, answer: Result<Answer, Failure>) -> Result<Answer, Error> {
        answer.map_err(|failure| self.error(failure))
    }

    /// The error for a failure of this request.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        match failure {
            Failure::Server(code) => match ErrorCode::from_code(code) {
                Some(code) => Error::Server { code, path: self.path.to_string() },
                None => Error::UnknownCode { code, path: self.path.to_string() },
            },
            Failure::ConnectionLost => Error::ConnectionLost,
            Failure::OutcomeUnknown => Error::OutcomeUnknown,
            Failure::SessionExpired => Error::SessionExpired,
            Failure::AuthFailed => Error::AuthFailed,
            Failure::Closed => Error::Closed,
            Failure::TooManyRequests => Error::TooManyRequests,
            Failure::BadAnswer(error) => Error::BadAnswer(error),
        }
    }
}
