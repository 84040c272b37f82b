//! A copy of two flat subtrees, kept by recursive watches: what an event names is read again, and after a cut all of it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gk_client::core::{Failure, WatchItem};
use gk_proto::answer::Answer;
use gk_proto::path;
use gk_proto::request::Read;
use gk_proto::rng::Rng;
use gk_proto::watch::{AddWatchMode, EventType};
use gk_proto::{ErrorCode, Zxid};

use super::{Call, Program, Shared, ensure, get};
use crate::model::{Model, Verdict};

/// What is mirrored.
const ROOTS: [&str; 2] = ["/r", "/s"];

#[derive(Default)]
pub(super) struct Mirror {
    known: BTreeMap<String, Option<Bytes>>,
    to_read: VecDeque<Call>,
    /// Set once both watches are confirmed.
    watches: usize,
}

impl Mirror {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn list_all(&mut self) {
        for root in ROOTS {
            let path = root.to_owned().into();
            self.to_read.push_back(Call::Read(Read::GetChildren { path, watch: false, stat: false }));
        }
    }
}

impl Program for Mirror {
    fn setup(&self) -> Vec<Call> {
        let mode = AddWatchMode::PersistentRecursive.code();
        let watch = |root: &str| Call::Read(Read::AddWatch { path: root.to_owned().into(), mode });
        let ensure_all = ROOTS.iter().map(|root| ensure(root, ""));
        ensure_all.chain(ROOTS.iter().map(|root| watch(root))).collect()
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        let root: &&str = crate::options::one(rng, &ROOTS);
        get(root)
    }

    fn follow_up(&mut self) -> Option<Call> {
        self.to_read.pop_front()
    }

    fn answered(&mut self, call: &Call, result: &Result<Answer, Failure>, _: u64, shared: &mut Shared) -> Verdict {
        shared.tick();
        let no_node = Failure::Server(ErrorCode::NoNode.code());
        match (call, result) {
            (Call::Read(Read::AddWatch { .. }), Ok(_)) => {
                self.watches += 1;
                self.list_all();
            }
            (Call::Read(Read::GetChildren { path, .. }), Ok(Answer::Children(names))) => {
                let gone = |known: &String| {
                    path::split(known).is_some_and(|(parent, name)| parent == path && !names.iter().any(|n| n == name))
                };
                self.known.retain(|known, _| !gone(known));
                self.to_read.extend(names.iter().map(|name| get(&path::join(path, name))));
            }
            (Call::Read(Read::GetData { path, .. }), Ok(Answer::Data(data, _))) if !ROOTS.contains(&&**path) => {
                self.known.insert(path.to_string(), data.clone());
            }
            (Call::Read(Read::GetData { path, .. }), Err(failure)) if *failure == no_node => {
                self.known.remove(&**path);
            }
            (Call::Read(_), Err(failure)) if *failure != no_node => self.list_all_later(call),
            _ => {}
        }
        Ok(())
    }

    fn watched(&mut self, item: &WatchItem) {
        match item {
            WatchItem::Missed => self.list_all(),
            WatchItem::Event(event) if event.kind == EventType::NodeDeleted => {
                self.known.remove(&event.path);
            }
            WatchItem::Event(event) => self.to_read.push_back(get(&event.path)),
        }
    }

    fn renewed(&mut self) {
        *self = Self::default();
    }

    fn finish(&self, model: &Model) -> Verdict {
        if self.watches < ROOTS.len() {
            return Ok(());
        }
        let last: Zxid = model.last();
        let below = ROOTS.iter().flat_map(|root| model.below(last, root));
        let there: BTreeMap<String, Option<Bytes>> =
            below.filter_map(|path| Some((path.to_owned(), model.at(last, path)?.data.clone()))).collect();
        if self.known == there {
            return Ok(());
        }
        Err(format!("I21 a mirror shows {:?}, and there is {there:?}", self.known))
    }
}

impl Mirror {
    /// A read that failed is made again, but for those that can never succeed.
    fn list_all_later(&mut self, call: &Call) {
        if !matches!(call, Call::Read(Read::AddWatch { .. })) {
            self.to_read.push_back(call.clone());
        }
    }
}
