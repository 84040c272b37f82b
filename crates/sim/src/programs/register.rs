//! Registers: reads, writes and conditional writes, each of a value that is written once.

use bytes::Bytes;
use gk_client::core::Failure;
use gk_proto::ErrorCode;
use gk_proto::answer::Answer;
use gk_proto::request::{Read, Write};
use gk_proto::rng::Rng;

use super::{Call, Program, Shared, ensure, get, number, was_not_sent};
use crate::checkers::linearize::{Call as Seen, Operation, State};
use crate::model::Verdict;
use crate::network::below;

/// Registers of a run.
const COUNT: usize = 3;

pub(super) struct Register {
    client: usize,
    written: u64,
    /// The version that was seen last, by register.
    versions: [i32; COUNT],
}

impl Register {
    pub(super) fn new(client: usize) -> Self {
        Self { client, written: 0, versions: [0; COUNT] }
    }
}

fn path(register: usize) -> String {
    format!("/r/{register}")
}

impl Program for Register {
    fn setup(&self) -> Vec<Call> {
        let registers = (0..COUNT).map(|register| ensure(&path(register), "0"));
        std::iter::once(ensure("/r", "")).chain(registers).collect()
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        let register = below(rng, COUNT);
        if rng.below(10) < 4 {
            return get(&path(register));
        }
        if rng.below(20) == 0 {
            return Call::Write(Write::Sync { path: Some("/r".to_owned()) });
        }
        self.written += 1;
        let value = self.client as u64 * 1_000_000 + self.written;
        let known = self.versions.get(register).copied().unwrap_or(0);
        let version = if rng.below(2) == 0 { -1 } else { known };
        Call::Write(Write::SetData { path: path(register), data: Some(Bytes::from(value.to_string())), version })
    }

    fn answered(
        &mut self,
        call: &Call,
        result: &Result<Answer, Failure>,
        invoked: u64,
        shared: &mut Shared,
    ) -> Verdict {
        let returned = shared.tick();
        let (path, seen) = match (call, result) {
            (Call::Read(Read::GetData { path, .. }), Ok(Answer::Data(data, stat))) => {
                let value = number(data.as_ref()).ok_or_else(|| format!("I22 {path} holds {data:?}"))?;
                (path.to_string(), Seen::Read(State { value, version: stat.version }))
            }
            (Call::Write(Write::SetData { path, data, version }), result) => {
                let expected = (*version != -1).then_some(*version);
                let value = number(data.as_ref()).unwrap_or_default();
                let seen = match result {
                    Ok(Answer::Stat(stat)) => Seen::Wrote { value, expected, version: stat.version },
                    Err(Failure::Server(code)) if *code == ErrorCode::BadVersion.code() => {
                        Seen::Refused { expected: *version }
                    }
                    Err(Failure::Server(_)) => return Ok(()),
                    Err(failure) if was_not_sent(*failure) => return Ok(()),
                    Err(_) => Seen::Unknown { value, expected },
                    Ok(other) => return Err(format!("I18 a setData was answered {other:?}")),
                };
                (path.clone(), seen)
            }
            _ => return Ok(()),
        };
        let version = match seen {
            Seen::Read(state) => Some(state.version),
            Seen::Wrote { version, .. } => Some(version),
            Seen::Refused { .. } | Seen::Unknown { .. } => None,
        };
        let register = path.strip_prefix("/r/").and_then(|name| name.parse::<usize>().ok()).unwrap_or(0);
        if let (Some(version), Some(known)) = (version, self.versions.get_mut(register)) {
            *known = version;
        }
        let returned = if matches!(seen, Seen::Unknown { .. }) { u64::MAX } else { returned };
        let operation = Operation { client: self.client, invoked, returned, call: seen };
        shared.histories.entry(path).or_default().push(operation);
        Ok(())
    }
}
