//! Requests that are not as they should be.

use gk_proto::op::OpCode;

use super::{Draw, Request};
use crate::model::Effect;
use crate::script::Field;

impl Draw {
    /// Changes a request that would have been understood.
    pub(super) fn spoil(&mut self, request: &mut Request) {
        let fields = &mut request.frame.fields;
        // A createTTL must not become one that stops Apache's server.
        let is_ttl = request.frame.op == OpCode::CreateTtl.code();
        // A multi is cut short only: what else could become of it changes more than one answer.
        let is_multi = request.frame.op == OpCode::Multi.code();
        // By the time Apache's server comes upon a null it has done what stands before it.
        let is_list = [OpCode::SetWatches, OpCode::SetWatches2].iter().any(|op| request.frame.op == op.code());
        match self.chance.below(5) {
            // Bytes behind the last field, which servers ignore.
            0 => fields.push(Field::Raw(vec![0, 1, 2, 0xff])),
            1 if !fields.is_empty() && !is_ttl && !is_multi && !is_list => {
                let at = self.chance.below(fields.len());
                if matches!(fields[at], Field::Buffer(Some(_))) {
                    fields[at] = Field::Buffer(None);
                    request.effect = Effect::None;
                    // Of a create of null only one thing may be wrong: here it is found out before all others.
                    if at == 0
                        && let Some(flags @ Field::Int(_)) = fields.last_mut()
                    {
                        *flags = Field::Int(0);
                    }
                }
            }
            2 if !fields.is_empty() && !is_ttl && !is_multi => {
                // A length that is a lie.
                let at = self.chance.below(fields.len());
                if matches!(fields[at], Field::Buffer(_)) {
                    let length = self.chance.pick(&[i32::MAX, -2, i32::MIN, 100_000]);
                    fields.truncate(at);
                    fields.push(Field::Int(length));
                    request.effect = Effect::None;
                }
            }
            _ if !fields.is_empty() => {
                fields.truncate(self.chance.below(fields.len()));
                request.effect = Effect::None;
            }
            _ => {}
        }
    }
}
