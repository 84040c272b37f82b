//! Accounts whose total never changes: read all at once, then move money by a multi that asks for the versions read.

use bytes::Bytes;
use gk_client::core::Failure;
use gk_proto::answer::Answer;
use gk_proto::multi::{ReadOp, ReadOutcome};
use gk_proto::request::{Read, Write};
use gk_proto::rng::Rng;

use super::{Call, Program, Shared, ensure, number};
use crate::model::{Model, Verdict};

const ACCOUNTS: usize = 4;
const EACH: u64 = 100;

pub(super) struct Bank {
    /// Balance and version of each account, as read last.
    seen: Vec<(u64, i32)>,
}

impl Bank {
    pub(super) fn new() -> Self {
        Self { seen: Vec::new() }
    }
}

fn path(account: usize) -> String {
    format!("/b/{account}")
}

impl Program for Bank {
    fn setup(&self) -> Vec<Call> {
        let accounts = (0..ACCOUNTS).map(|account| ensure(&path(account), &EACH.to_string()));
        std::iter::once(ensure("/b", "")).chain(accounts).collect()
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        let seen = std::mem::take(&mut self.seen);
        let [from, to] = [(); 2].map(|()| crate::network::below(rng, ACCOUNTS));
        let (Some((have, from_version)), Some((had, to_version))) = (seen.get(from), seen.get(to)) else {
            let ops = (0..ACCOUNTS).map(|account| ReadOp::GetData { path: path(account).into() }).collect();
            return Call::Read(Read::MultiRead(ops));
        };
        let amount = rng.below(have + 1);
        let set = |account: usize, balance: u64, version: i32| Write::SetData {
            path: path(account),
            data: Some(Bytes::from(balance.to_string())),
            version,
        };
        let mut ops = vec![set(from, have - amount, *from_version)];
        if from != to {
            ops.push(set(to, had + amount, *to_version));
        } else {
            ops = vec![Write::Check { path: path(from), version: *from_version }];
        }
        Call::Write(Write::Multi(ops))
    }

    fn answered(&mut self, _: &Call, result: &Result<Answer, Failure>, _: u64, shared: &mut Shared) -> Verdict {
        shared.tick();
        let Ok(Answer::MultiRead(outcomes)) = result else { return Ok(()) };
        let balance = |outcome: &ReadOutcome| match outcome {
            ReadOutcome::Data(data, stat) => Some((number(data.as_ref())?, stat.version)),
            ReadOutcome::Children(_) | ReadOutcome::Error(_) | ReadOutcome::UnknownError(_) => None,
        };
        let Some(seen) = outcomes.iter().map(balance).collect::<Option<Vec<_>>>() else { return Ok(()) };
        let total: u64 = seen.iter().map(|(balance, _)| balance).sum();
        if total != EACH * ACCOUNTS as u64 {
            return Err(format!("I15 the accounts hold {total}: {seen:?}"));
        }
        self.seen = seen;
        Ok(())
    }

    fn finish(&self, model: &Model) -> Verdict {
        let balance = |account| number(model.at(model.last(), &path(account))?.data.as_ref());
        match (0..ACCOUNTS).map(balance).sum::<Option<u64>>() {
            Some(total) if total != EACH * ACCOUNTS as u64 => Err(format!("I15 the accounts hold {total} in the end")),
            Some(_) | None => Ok(()),
        }
    }
}
