//! A subtree with hard limits on nodes and bytes, filled and emptied around them.

use bytes::Bytes;
use gk_client::core::Failure;
use gk_proto::answer::Answer;
use gk_proto::op::OpCode;
use gk_proto::request::Write;
use gk_proto::rng::Rng;

use super::{Call, Program, Shared, create, ensure};
use crate::model::{Model, Verdict};

const NODES: u64 = 12;

pub(super) struct Quota;

impl Quota {
    pub(super) fn new() -> Self {
        Self
    }
}

impl Program for Quota {
    fn setup(&self) -> Vec<Call> {
        let at = "/zookeeper/quota/q";
        vec![
            ensure("/q", ""),
            ensure(at, ""),
            ensure(&format!("{at}/zookeeper_limits"), "count=-1,bytes=-1=;byteHardLimit=200;countHardLimit=8"),
            ensure(&format!("{at}/zookeeper_stats"), "count=0,bytes=0"),
        ]
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        let path = format!("/q/{}", rng.below(NODES));
        let data = vec![b'q'; crate::network::below(rng, 60)];
        Call::Write(match rng.below(10) {
            0..5 => create(OpCode::Create, &path, &data, 0),
            5..7 => Write::SetData { path, data: Some(Bytes::from(data)), version: -1 },
            7 => {
                let set = Write::SetData { path: path.clone(), data: Some(Bytes::from(data)), version: -1 };
                Write::Multi(vec![create(OpCode::Create, &path, b"", 0), set])
            }
            _ => Write::Delete { path, version: -1 },
        })
    }

    fn answered(&mut self, _: &Call, _: &Result<Answer, Failure>, _: u64, shared: &mut Shared) -> Verdict {
        shared.tick();
        Ok(())
    }

    /// The usage that the server counts is what is there.
    fn finish(&self, model: &Model) -> Verdict {
        let last = model.last();
        let Some((count, bytes)) = model.usage(last, "/q") else { return Ok(()) };
        let nodes: Vec<_> =
            model.below(last, "/q").into_iter().chain(["/q"]).filter_map(|path| model.at(last, path)).collect();
        let there: usize = nodes.iter().map(|node| node.data_length()).sum();
        let same = usize::try_from(count) == Ok(nodes.len()) && usize::try_from(bytes) == Ok(there);
        if same { Ok(()) } else { Err(format!("I12 usage is {count}, {bytes}; there is {}, {there}", nodes.len())) }
    }
}
