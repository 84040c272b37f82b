//! A list to which clients append by a multi that asks for the versions read, with a count of its items beside it.
//!
//! Each read must find all that this client was told is in it, once, behind what it found before; and as many as the count
//! says.

use std::collections::BTreeSet;

use bytes::Bytes;
use gk_client::core::Failure;
use gk_proto::answer::Answer;
use gk_proto::multi::{ReadOp, ReadOutcome};
use gk_proto::request::{Read, Write};
use gk_proto::rng::Rng;

use super::{Call, Program, Shared, ensure, number};
use crate::model::{Model, Verdict};

const LIST: &str = "/l/list";
const COUNT: &str = "/l/count";
/// A list of so many bytes is only read: it must fit the smallest frames.
const LENGTH_MAX: usize = 800;

#[derive(Default)]
pub(super) struct List {
    /// The list as it was read last.
    text: String,
    /// Versions of list and count that go with it, until they are used.
    versions: Option<(i32, i32)>,
    /// Items that are in the list for certain.
    added: BTreeSet<String>,
    /// Items that were certainly refused.
    refused: BTreeSet<String>,
}

impl List {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Whether a list can be what this client is to find.
    fn check(&self, text: &str, count: Option<u64>) -> Verdict {
        let items: Vec<&str> = items(text).collect();
        let distinct: BTreeSet<&str> = items.iter().copied().collect();
        if count != Some(items.len() as u64) {
            return Err(format!("I15 a list of {} items has the count {count:?}", items.len()));
        }
        if distinct.len() < items.len() {
            return Err(format!("I22 an item is in the list twice: {text}"));
        }
        if let Some(lost) = self.added.iter().find(|item| !distinct.contains(item.as_str())) {
            return Err(format!("I9 {lost} was added, and the list is {text}"));
        }
        if let Some(item) = self.refused.iter().find(|item| distinct.contains(item.as_str())) {
            return Err(format!("I15 {item} was refused, and the list is {text}"));
        }
        Ok(())
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !item.is_empty())
}

fn text(data: Option<&Bytes>) -> String {
    String::from_utf8_lossy(data.map_or(&[], |data| data)).into_owned()
}

impl Program for List {
    fn setup(&self) -> Vec<Call> {
        vec![ensure("/l", ""), ensure(LIST, ""), ensure(COUNT, "0")]
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        let Some((list_version, count_version)) = self.versions.take().filter(|_| self.text.len() < LENGTH_MAX) else {
            let ops = [LIST, COUNT].map(|path| ReadOp::GetData { path: path.into() });
            return Call::Read(Read::MultiRead(ops.to_vec()));
        };
        let data = format!("{}{:09x},", self.text, rng.below(1 << 36));
        let count = items(&data).count().to_string();
        let set = |path: &str, data: String, version| Write::SetData {
            path: path.to_owned(),
            data: Some(Bytes::from(data)),
            version,
        };
        Call::Write(Write::Multi(vec![set(LIST, data, list_version), set(COUNT, count, count_version)]))
    }

    fn answered(&mut self, call: &Call, result: &Result<Answer, Failure>, _: u64, shared: &mut Shared) -> Verdict {
        shared.tick();
        match (call, result) {
            (Call::Read(Read::MultiRead(_)), Ok(Answer::MultiRead(outcomes))) => {
                let [ReadOutcome::Data(list, list_stat), ReadOutcome::Data(count, count_stat)] = &outcomes[..] else {
                    return Ok(());
                };
                let text = text(list.as_ref());
                self.check(&text, number(count.as_ref()))?;
                if !text.starts_with(&self.text) {
                    return Err(format!("I19 the list is {text} after {}", self.text));
                }
                self.text = text;
                self.versions = Some((list_stat.version, count_stat.version));
            }
            (Call::Write(Write::Multi(ops)), Ok(Answer::Multi(outcomes))) => {
                let Some(Write::SetData { data, .. }) = ops.first() else { return Ok(()) };
                let whole = text(data.as_ref());
                let Some(item) = items(&whole).last() else { return Ok(()) };
                let is_done = outcomes.iter().all(|outcome| matches!(outcome, gk_proto::multi::Outcome::SetData(_)));
                if is_done { &mut self.added } else { &mut self.refused }.insert(item.to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, model: &Model) -> Verdict {
        let data = |path| model.at(model.last(), path).map(|node| node.data.clone());
        let (Some(list), Some(count)) = (data(LIST), data(COUNT)) else { return Ok(()) };
        self.check(&text(list.as_ref()), number(count.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_cannot_be_are_found() {
        let program = List { added: ["b".to_owned()].into(), refused: ["x".to_owned()].into(), ..List::new() };
        assert_eq!(program.check("a,b,", Some(2)), Ok(()), "what others added is there too");
        let wrong =
            [("a,b,", Some(1), "I15"), ("a,b,a,", Some(3), "I22"), ("a,", Some(1), "I9"), ("b,x,", Some(2), "I15")];
        for (text, count, invariant) in wrong {
            let verdict = program.check(text, count);
            assert!(verdict.as_ref().is_err_and(|what| what.starts_with(invariant)), "{text}: {verdict:?}");
        }
    }
}
