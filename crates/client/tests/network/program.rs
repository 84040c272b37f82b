//! What the program on top of the session asks for, and what the other clients of the ensemble do.

use std::sync::Arc;

use bytes::Bytes;
use gk_client::core::{Request, Token, WatchIntent, WatchKind, WatcherId};
use gk_proto::multi::ReadOp;
use gk_proto::op::OpCode;
use gk_proto::request::{AclSpec, Create, Read, Write};
use gk_proto::rng::Rng;
use gk_proto::watch::AddWatchMode;

use crate::history::{Change, History, Tree, parent};
use crate::network::below;
use crate::operations::{DENIED, tagged};

/// Something that a program does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Get {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    Children {
        path: String,
        watch: bool,
        stat: bool,
    },
    MultiRead(Vec<String>),
    Sync,
    AddWatch {
        path: String,
        recursive: bool,
    },
    Create {
        path: String,
        ephemeral: bool,
    },
    Set {
        path: String,
        version: i32,
    },
    Delete {
        path: String,
    },
    Multi(Vec<Op>),
    Auth {
        is_known: bool,
    },
    /// One of those that wait, by its place among them.
    Unwatch(u64),
    Close,
}

/// A request with what is known of it from outside.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) watch: Option<(WatchKind, String)>,
    pub(crate) is_write: bool,
    pub(crate) is_exists: bool,
}

impl Op {
    /// The request, with a tag that only the model understands. Auth, unwatch and close are none.
    pub(crate) fn request(&self, tag: u32) -> Option<Asked> {
        let intent = |kind, path: &str| WatchIntent { watcher: WatcherId(u64::from(tag)), kind, path: Arc::from(path) };
        let read = |read: &Read<'_>, watch: Option<(WatchKind, &String)>| {
            let request = match watch {
                Some((kind, path)) => Request::watching(read, intent(kind, path)),
                None => Request::read(read),
            };
            let watch = watch.map(|(kind, path)| (kind, path.clone()));
            Asked { request, watch, is_write: false, is_exists: read.op() == OpCode::Exists }
        };
        Some(match self {
            Self::Get { path, watch } => read(
                &Read::GetData { path: tagged(path, tag).into(), watch: *watch },
                watch.then_some((WatchKind::Data, path)),
            ),
            Self::Exists { path, watch } => read(
                &Read::Exists { path: tagged(path, tag).into(), watch: *watch },
                watch.then_some((WatchKind::Data, path)),
            ),
            Self::Children { path, watch, stat } => read(
                &Read::GetChildren { path: tagged(path, tag).into(), watch: *watch, stat: *stat },
                watch.then_some((WatchKind::Child, path)),
            ),
            Self::MultiRead(paths) => {
                let op = |(at, path): (usize, &String)| match at {
                    0 => ReadOp::GetData { path: tagged(path, tag).into() },
                    _ => ReadOp::GetChildren { path: path.clone().into() },
                };
                read(&Read::MultiRead(paths.iter().enumerate().map(op).collect()), None)
            }
            Self::AddWatch { path, recursive } => {
                let (kind, mode) = if *recursive {
                    (WatchKind::Recursive, AddWatchMode::PersistentRecursive)
                } else {
                    (WatchKind::Persistent, AddWatchMode::Persistent)
                };
                read(&Read::AddWatch { path: tagged(path, tag).into(), mode: mode.code() }, Some((kind, path)))
            }
            Self::Sync | Self::Create { .. } | Self::Set { .. } | Self::Delete { .. } | Self::Multi(_) => {
                let request = Request::write(&self.write(Some(tag)));
                let is_write = !matches!(self, Self::Sync);
                Asked { request, watch: None, is_write, is_exists: false }
            }
            Self::Auth { .. } | Self::Unwatch(_) | Self::Close => return None,
        })
    }

    fn write(&self, tag: Option<u32>) -> Write {
        let place = |path: &str| tag.map_or_else(|| path.to_owned(), |tag| tagged(path, tag));
        let data = || Some(Bytes::from(format!("data of {tag:?}")));
        match self {
            Self::Create { path, ephemeral } => Write::Create(Create {
                op: OpCode::Create2,
                path: place(path),
                data: data(),
                acl: AclSpec::Open,
                flags: i32::from(*ephemeral),
                ttl_ms: None,
            }),
            Self::Set { path, version } => Write::SetData { path: place(path), data: data(), version: *version },
            Self::Delete { path } => Write::Delete { path: place(path), version: -1 },
            Self::Multi(ops) => {
                let tags = std::iter::once(tag).chain(std::iter::repeat(None));
                Write::Multi(ops.iter().zip(tags).map(|(op, tag)| op.write(tag)).collect())
            }
            Self::Sync => Write::Sync { path: Some(place("/")) },
            _ => panic!("{self:?} is no write"),
        }
    }
}

/// Draws operations on a few nodes, so that they meet.
#[derive(Debug)]
pub(crate) struct Paths {
    all: Vec<String>,
}

impl Paths {
    /// Below the first level, with so many extra characters in the names.
    pub(crate) fn new(padding: usize) -> Self {
        let pad = "x".repeat(padding);
        let mut all = Vec::new();
        for top in ["a", "b", "c", "d"] {
            let top = format!("/{top}");
            for below in ["p", "q"] {
                all.push(format!("{top}/{below}{pad}"));
                all.push(format!("{top}/{below}{pad}/z"));
            }
            all.push(top);
        }
        Self { all }
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> String {
        self.all[below(rng, self.all.len())].clone()
    }

    /// One operation of the program.
    pub(crate) fn op(&self, rng: &mut Rng) -> Op {
        let path = if rng.below(40) == 0 { DENIED.to_owned() } else { self.draw(rng) };
        match rng.below(100) {
            0..20 => Op::Get { path, watch: rng.below(100) < 70 },
            20..38 => Op::Exists { path, watch: rng.below(100) < 80 },
            38..52 => Op::Children { path, watch: rng.below(100) < 70, stat: rng.below(2) == 0 },
            52..55 => Op::MultiRead((0..=rng.below(3)).map(|_| self.draw(rng)).collect()),
            55..57 => Op::Sync,
            57..62 => {
                let path = if rng.below(10) == 0 { "/".to_owned() } else { path };
                Op::AddWatch { path, recursive: rng.below(2) == 0 }
            }
            62..80 => self.write(rng),
            80..88 => Op::Multi((0..=rng.below(3)).map(|_| self.write(rng)).collect()),
            88..90 => Op::Auth { is_known: true },
            _ => Op::Unwatch(rng.next_u64()),
        }
    }

    fn write(&self, rng: &mut Rng) -> Op {
        let path = self.draw(rng);
        match rng.below(10) {
            0..5 => Op::Create { path, ephemeral: rng.below(4) == 0 },
            5..8 => Op::Set { path, version: if rng.below(4) == 0 { 0 } else { -1 } },
            _ => Op::Delete { path },
        }
    }

    /// A txn of somebody else, often of several changes under one zxid.
    pub(crate) fn by_others(&self, rng: &mut Rng, history: &History) -> Vec<Change> {
        let wanted = if rng.below(2) == 0 { 1 } else { 2 + rng.below(4) };
        let mut tree = history.head.clone();
        let zxid = History::zxid(history.len() + 1);
        let mut changes = Vec::new();
        for _ in 0..wanted {
            let path = self.draw(rng);
            if let Some(change) = change(rng, &tree, path) {
                tree.apply(zxid, &change);
                changes.push(change);
            }
        }
        changes
    }
}

/// Something that is allowed at this path.
fn change(rng: &mut Rng, tree: &Tree, path: String) -> Option<Change> {
    let data = format!("{}", rng.below(1_000)).into_bytes();
    if !tree.nodes.contains_key(&path) {
        let above = tree.nodes.get(parent(&path)).filter(|above| above.owner == 0);
        return above.map(|_| Change::Create { path, data, owner: 0 });
    }
    if rng.below(3) == 0 && tree.children(&path).is_empty() {
        return Some(Change::Delete { path });
    }
    Some(Change::SetData { path, data })
}

/// A token is the tag of its request.
pub(crate) fn token(tag: u32) -> Token {
    Token(tag)
}
