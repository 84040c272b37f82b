//! ACLs: mostly open, sometimes narrow, sometimes none that a server takes.

use super::Draw;
use crate::script::Field;

/// Users and what they authenticate with.
pub(super) const USERS: &[&str] = &["ann:a", "bob:b"];

const ANN: (&str, &str) = ("digest", "ann:i9V/d2HTT0sehGWzvQcFNipywIQ=");
const BOB: (&str, &str) = ("digest", "bob:LcrmCNs/wfVD+i5a5yaz89GyjIM=");
const WORLD: (&str, &str) = ("world", "anyone");
const HERE: (&str, &str) = ("ip", "127.0.0.1");
const ELSEWHERE: (&str, &str) = ("ip", "10.0.0.0/8");
const AUTH: (&str, &str) = ("auth", "");

/// Entries: permissions, scheme, id.
type Entries = &'static [(i32, (&'static str, &'static str))];

/// Lists that servers take, and that do not let everybody do everything.
const NARROW: &[Entries] = &[
    &[(1, WORLD)],
    &[(1, WORLD), (30, ANN)],
    &[(31, ANN)],
    &[(31, BOB), (31, ANN), (31, BOB)],
    &[(16, WORLD), (1, ANN)],
    &[(15, WORLD)],
    &[(2, WORLD)],
    &[(9, WORLD), (6, HERE)],
    &[(31, HERE)],
    &[(31, ELSEWHERE)],
    &[(0, WORLD)],
    &[(255, ANN), (1, ELSEWHERE)],
    &[(31, ("ip", "127.0.0.1/8"))],
    &[(31, ("ip", "0.0.0.0/0"))],
];

/// Lists that are refused.
const REFUSED: &[Entries] = &[
    &[],
    &[(31, ("world", "bob"))],
    &[(31, ("nobody", "x"))],
    &[(31, ("super", "super:suite"))],
    &[(31, ("digest", "without-a-colon"))],
    &[(31, ("digest", "two:co:lons"))],
    &[(31, ("ip", "::1"))],
    &[(31, ("ip", "127.0.0.1/33"))],
    &[(31, ("ip", "1.2.3"))],
    &[(31, ("sasl", "ann"))],
    &[(31, ("x509", "CN=ann"))],
    &[(31, ("", ""))],
    &[(31, WORLD), (31, ("world", "bob"))],
];

impl Draw {
    /// The fields of an ACL, and whether it does not let everybody do everything.
    pub(super) fn acl(&mut self, open_percent: usize) -> (Vec<Field>, bool) {
        if self.chance.percent(open_percent) {
            return (encoded(&[(31, WORLD)]), false);
        }
        match self.chance.below(12) {
            0 | 1 => (encoded(self.chance.pick(REFUSED)), true),
            2 => (encoded(&[(31, AUTH)]), true),
            3 => (encoded(&[(31, WORLD), (31, WORLD)]), false),
            4 if self.is_alone => (self.with_null(), true),
            _ => (encoded(self.chance.pick(NARROW)), true),
        }
    }

    /// A null somewhere.
    fn with_null(&mut self) -> Vec<Field> {
        let null = || Field::Buffer(None);
        match self.chance.below(8) {
            0 | 1 => vec![Field::Int(-1)],
            2 => vec![Field::Int(1), Field::Int(31), null(), null()],
            3 => vec![Field::Int(1), Field::Int(31), Field::text("world"), null()],
            4 => vec![Field::Int(1), Field::Int(31), Field::text("digest"), null()],
            5 => vec![Field::Int(1), Field::Int(31), Field::text("ip"), null()],
            6 => vec![Field::Int(1), Field::Int(31), Field::text("auth"), null()],
            _ => vec![Field::Int(1), Field::Int(31), null(), Field::text("anyone")],
        }
    }
}

fn encoded(entries: &[(i32, (&str, &str))]) -> Vec<Field> {
    let mut fields = vec![Field::Int(i32::try_from(entries.len()).unwrap_or(0))];
    for (perms, (scheme, id)) in entries {
        fields.extend([Field::Int(*perms), Field::text(scheme), Field::text(id)]);
    }
    fields
}
