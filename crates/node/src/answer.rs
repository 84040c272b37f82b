//! Replies that wait for their txn, and what they become.

use gk_proto::multi::Outcome as OpOutcome;
use gk_proto::reply::Body;
use gk_proto::stat::Stat;
use gk_proto::{ConnId, ErrorCode, SessionId, Xid, Zxid};
use gk_tree::Outcome;

use crate::prepare::ReplyShape;

/// One place in the queue of replies.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Leaves once this txn is applied.
    pub zxid: Zxid,
    /// Whether it stands for that txn, or only waits for it.
    pub takes_outcome: bool,
    pub answer: Answer,
}

/// Who is told what.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A txn of the server's own.
    Nobody,
    /// The result of a write.
    Write { conn: ConnId, xid: Xid, shape: ReplyShape },
    /// A refusal that took a zxid.
    Refused { conn: ConnId, xid: Xid, code: ErrorCode },
    /// Something that took none.
    Now { conn: ConnId, xid: Xid, result: Result<Body, ErrorCode> },
    /// The answers to reads, made between two txns.
    Reads(ConnId),
    /// A new session.
    Connected { conn: ConnId, session: SessionId, timeout_ms: i32 },
    /// The end of a session, with a reply if its client asked for it.
    Closed { conn: Option<ConnId>, session: SessionId, reply: Option<Xid> },
}

impl Answer {
    /// The connection that is told.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Nobody => None,
            Self::Write { conn, .. }
            | Self::Refused { conn, .. }
            | Self::Now { conn, .. }
            | Self::Reads(conn)
            | Self::Connected { conn, .. } => Some(*conn),
            Self::Closed { conn, .. } => *conn,
        }
    }
}

impl ReplyShape {
    /// The body of the reply, from what applying the txn returned.
    pub(crate) fn body(self, outcome: Outcome) -> Result<Body, ErrorCode> {
        Ok(match self {
            Self::Failed(outcomes) => Body::Multi(outcomes),
            Self::Multi(shapes) => {
                let Outcome::Multi(outcomes) = outcome else { unreachable!("a multi returned {outcome:?}") };
                assert_eq!(shapes.len(), outcomes.len(), "one outcome an op");
                Body::Multi(shapes.into_iter().zip(outcomes).map(|(shape, outcome)| shape.op(outcome)).collect())
            }
            Self::Delete | Self::Check => Body::None,
            Self::Path(path) => {
                stat_of(&outcome);
                Body::Path(path)
            }
            Self::PathStat(path) => Body::PathStat(path, stat_of(&outcome)),
            Self::Stat => Body::Stat(stat_of(&outcome)),
        })
    }

    fn op(self, outcome: Outcome) -> OpOutcome {
        match self {
            Self::Delete => OpOutcome::Delete,
            Self::Check => OpOutcome::Check,
            Self::Path(path) => OpOutcome::Create(path),
            Self::PathStat(path) => OpOutcome::Create2(path, stat_of(&outcome)),
            Self::Stat => OpOutcome::SetData(stat_of(&outcome)),
            Self::Multi(_) | Self::Failed(_) => unreachable!("a multi holds no multi"),
        }
    }
}

/// What the checks promised must be what applying found: anything else is a bug of ours.
fn stat_of(outcome: &Outcome) -> Stat {
    match outcome {
        Outcome::Created(stat) | Outcome::Changed(stat) => *stat,
        Outcome::None | Outcome::Multi(_) | Outcome::Failed(_) => {
            unreachable!("a checked change returned {outcome:?}")
        }
    }
}
