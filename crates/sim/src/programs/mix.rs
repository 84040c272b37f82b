//! Everything that a client may ask for, on few nodes, so that clients meet.

use bytes::Bytes;
use gk_client::core::Failure;
use gk_proto::acl::perm;
use gk_proto::answer::Answer;
use gk_proto::multi::ReadOp;
use gk_proto::op::OpCode;
use gk_proto::request::{AclSpec, Create, RawAcl, Read, Write};
use gk_proto::rng::Rng;
use gk_proto::watch::AddWatchMode;

use super::{Call, Program, Shared, ensure};
use crate::model::Verdict;
use crate::network::below;

pub(super) struct Mix {
    client: usize,
    count: u64,
    data_max: usize,
    /// Sessions come and go, with more ephemeral nodes.
    churns: bool,
}

impl Mix {
    pub(super) fn new(client: usize, data_max: usize, churns: bool) -> Self {
        Self { client, count: 0, data_max, churns }
    }

    fn path(&self, rng: &mut Rng) -> String {
        let top = ["/m/a", "/m/b", "/m/c", "/m"];
        let top = crate::options::one(rng, &top);
        match rng.below(6) {
            0 => (*top).to_owned(),
            1 => format!("{top}/x/y"),
            number => {
                format!("{top}/{}", ["x", "y", "z", "ä"].get(below(rng, 4)).map_or("w", |name| name))
                    + if number == 5 { "/y" } else { "" }
            }
        }
    }

    /// Unique, so that a write carried out twice shows; now and then as long as a frame can be.
    fn data(&mut self, rng: &mut Rng) -> Option<Bytes> {
        self.count += 1;
        let mut text = format!("{}.{}", self.client, self.count).into_bytes();
        match rng.below(40) {
            0 => return None,
            1 => text.resize(self.data_max + below(rng, 60), b'.'),
            2..6 => text.resize(text.len() + below(rng, 700), b'.'),
            _ => {}
        }
        Some(Bytes::from(text))
    }

    fn create(&mut self, rng: &mut Rng) -> Write {
        let path = self.path(rng);
        let flags = match rng.below(12) {
            0..4 => 0,
            4..7 => 1,
            7 => 2,
            8 => 3,
            9 => 4,
            _ => 5,
        };
        let flags = if self.churns && rng.below(2) == 0 { 1 } else { flags };
        let op = match flags {
            4 => OpCode::CreateContainer,
            5 => OpCode::CreateTtl,
            _ if rng.below(2) == 0 => OpCode::Create,
            _ => OpCode::Create2,
        };
        let ttl_ms = (op == OpCode::CreateTtl).then(|| i64::try_from(1 + rng.below(3000)).unwrap_or(1));
        let acl = if rng.below(6) == 0 { acl(rng) } else { AclSpec::Open };
        Write::Create(Create { op, path, data: self.data(rng), acl, flags, ttl_ms })
    }

    fn write(&mut self, rng: &mut Rng) -> Write {
        let path = self.path(rng);
        let version = match rng.below(4) {
            0 => i32::try_from(rng.below(4)).unwrap_or(0),
            _ => -1,
        };
        match rng.below(20) {
            0..9 => self.create(rng),
            9..13 => Write::SetData { path, data: self.data(rng), version },
            13..17 => Write::Delete { path, version },
            17 => Write::SetAcl { path, acl: acl(rng), version: -1 },
            _ => {
                let ops = (0..=rng.below(4)).map(|_| self.part(rng)).collect();
                Write::Multi(ops)
            }
        }
    }

    /// One operation of a multi.
    fn part(&mut self, rng: &mut Rng) -> Write {
        let path = self.path(rng);
        match rng.below(8) {
            0..4 => self.create(rng),
            4 => Write::SetData { path, data: self.data(rng), version: -1 },
            5 => Write::Check { path, version: if rng.below(2) == 0 { -1 } else { 0 } },
            _ => Write::Delete { path, version: -1 },
        }
    }

    fn read(&self, rng: &mut Rng) -> Read<'static> {
        let path = self.path(rng).into();
        let watch = rng.below(2) == 0;
        match rng.below(20) {
            0..5 => Read::GetData { path, watch },
            5..9 => Read::Exists { path, watch },
            9..13 => Read::GetChildren { path, watch, stat: rng.below(2) == 0 },
            13 => Read::GetAcl { path },
            14 => Read::GetAllChildrenNumber { path },
            15 => Read::GetEphemerals { prefix: (rng.below(2) == 0).then(|| "/m/a".into()) },
            16 => Read::WhoAmI,
            17 => Read::MultiRead(vec![
                ReadOp::GetData { path: path.clone() },
                ReadOp::GetChildren { path: self.path(rng).into() },
            ]),
            18 => Read::AddWatch { path, mode: AddWatchMode::Persistent.code() },
            _ => Read::AddWatch { path, mode: AddWatchMode::PersistentRecursive.code() },
        }
    }
}

impl Program for Mix {
    fn setup(&self) -> Vec<Call> {
        ["/m", "/m/a", "/m/b", "/m/c"].map(|path| ensure(path, "")).to_vec()
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        match rng.below(100) {
            0..50 => Call::Write(self.write(rng)),
            50..53 => Call::Write(Write::Sync { path: Some("/sync".to_owned()) }),
            53..56 => Call::Auth { user: rng.below(3) },
            56..62 => Call::Unwatch(rng.next_u64()),
            62..64 if self.churns => Call::Close,
            _ => Call::Read(self.read(rng)),
        }
    }

    fn answered(&mut self, _: &Call, _: &Result<Answer, Failure>, _: u64, shared: &mut Shared) -> Verdict {
        shared.tick();
        Ok(())
    }
}

/// Lists that a server takes, and some that it does not.
fn acl(rng: &mut Rng) -> AclSpec {
    let entry =
        |perms, scheme: &str, id: &str| RawAcl { perms, scheme: Some(scheme.to_owned()), id: Some(id.to_owned()) };
    let perms = i32::try_from(rng.below(32)).unwrap_or(0);
    let world = entry(perms, "world", "anyone");
    AclSpec::List(Some(match rng.below(6) {
        0 => vec![world],
        1 => vec![entry(perm::ALL, "auth", "")],
        2 => vec![entry(perm::READ, "world", "anyone"), entry(perm::ALL, "auth", "")],
        3 => vec![entry(perms, "digest", "user1:aaaa"), entry(perm::ALL, "world", "anyone")],
        4 => Vec::new(),
        _ => vec![entry(perm::ALL, "world", "anyone")],
    }))
}
