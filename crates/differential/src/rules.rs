//! The deliberate deviations that traffic may run into, each with the row of `docs/compatibility.md` that names it.
//! Whatever differs and is not said here is a finding.
//!
//! Rows that are not here are not drawn: what stops Apache's server, what takes longer than a run, what needs more
//! connections or ids than a run has (`draw`).

use gk_proto::op::OpCode;

use crate::script::{Action, CREATE_SESSION, DELETE_CONTAINER, Field, Frame, Password, Step};

/// A row, and when it explains a difference.
struct Rule {
    /// First column of the row.
    row: &'static str,
    explains: fn(&Step, &[Slot]) -> bool,
}

/// A slot in which the servers differ: what Apache said, what ours did.
pub(crate) type Slot = (usize, Vec<String>, Vec<String>);

const RULES: &[Rule] = &[
    Rule { row: "resuming with a wrong password", explains: wrong_password },
    Rule { row: "resuming a session twice, right after its connection was lost", explains: forgotten },
    Rule {
        row: "deleteContainer (20) from a client",
        explains: |step, slots| is_refused(step, slots, DELETE_CONTAINER),
    },
    Rule { row: "createSession (-10) from a client", explains: |step, slots| is_refused(step, slots, CREATE_SESSION) },
    Rule { row: "null as id of `world`, `digest` or `ip` in an ACL", explains: null_id },
    Rule { row: "a multi that cannot be decoded, a create or delete of null", explains: undecodable },
    Rule { row: "multiRead that is refused as a whole", explains: body_behind_error },
    Rule {
        row: "characters above U+FFFF in what is echoed: ids of ACLs and users, watched paths that no node can have",
        explains: surrogates,
    },
];

/// The row that explains all that differs in a step. Where one server uses up a zxid more, every ping shows it: that
/// alone is no difference of its own.
pub(crate) fn explain(step: &Step, slots: &[Slot]) -> Option<&'static str> {
    let slots: Vec<Slot> = slots.iter().filter_map(without_pings).collect();
    RULES.iter().find(|rule| (rule.explains)(step, &slots)).map(|rule| rule.row)
}

/// A slot without a closing ping whose answers differ in their zxid only; nothing if that was all.
fn without_pings((slot, apache, ours): &Slot) -> Option<Slot> {
    let (mut apache, mut ours) = (apache.clone(), ours.clone());
    if let (Some(last), Some(other)) = (apache.last(), ours.last())
        && last.starts_with("ping ")
        && without_zxid(last) == without_zxid(other)
    {
        apache.pop();
        ours.pop();
    }
    (apache != ours).then_some((*slot, apache, ours))
}

/// A line without its zxid.
fn without_zxid(line: &str) -> Vec<&str> {
    line.split(' ').enumerate().filter(|(at, _)| *at != ZXID_WORD).map(|(_, word)| word).collect()
}

/// Where the zxid stands in the line of an answer.
const ZXID_WORD: usize = 4;

/// Apache's server ends the rightful connection, ours does not.
fn wrong_password(step: &Step, slots: &[Slot]) -> bool {
    let Action::Resume { password, .. } = &step.action else { return false };
    // Unless it is ended for another reason: it was asked whether it is there before it said who it is.
    let lives_on = |ours: &[String]| match ours {
        [reply, _] if reply.ends_with(" err -124") => true,
        ours => ours.iter().all(|line| line != "closed"),
    };
    let cut = |(slot, apache, ours): &Slot| {
        *slot != step.slot && apache.last().is_some_and(|line| line == "closed") && lives_on(ours)
    };
    *password != Password::Right && slots.iter().all(cut)
}

/// Apache's server no longer knows of the connection that it should end.
fn forgotten(step: &Step, slots: &[Slot]) -> bool {
    let Action::Resume { password: Password::Right, .. } = step.action else { return false };
    let lives_on = |(slot, apache, ours): &Slot| {
        *slot != step.slot && apache.as_slice() == ["nothing"] && ours.as_slice() == ["closed"]
    };
    slots.iter().all(lives_on)
}

/// Ours refuses an operation that is the server's own, and ends the connection.
fn is_refused(step: &Step, slots: &[Slot], op: i32) -> bool {
    let refused = |(slot, _, ours): &Slot| {
        *slot == step.slot
            && matches!(ours.as_slice(), [reply, end] if reply.ends_with(" zxid -1 err -6") && end == "closed")
    };
    only_frame(step).is_some_and(|frame| frame.op == op) && slots.iter().any(refused)
}

/// -114 where Apache's server says -5.
fn null_id(step: &Step, slots: &[Slot]) -> bool {
    let [(_, apache, ours)] = slots else { return false };
    let said = |lines: &[String], err: &str| matches!(lines, [reply, ..] if reply.ends_with(err));
    let has_null = only_frame(step).is_some_and(|frame| {
        let is_create = matches!(
            OpCode::from_code(frame.op),
            Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl | OpCode::SetAcl)
        );
        is_create && frame.fields.contains(&Field::Buffer(None))
    });
    has_null && said(apache, " err -5") && said(ours, " err -114")
}

/// Both say -5; only at Apache's it has used up a zxid.
fn undecodable(step: &Step, slots: &[Slot]) -> bool {
    let [(_, apache, ours)] = slots else { return false };
    let is_meant = only_frame(step).is_some_and(|frame| match OpCode::from_code(frame.op) {
        Some(OpCode::Multi) => true,
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl | OpCode::Delete) => {
            frame.fields.first() == Some(&Field::Buffer(None))
        }
        _ => false,
    });
    let (Some(apache), Some(ours)) = (apache.first(), ours.first()) else { return false };
    is_meant && apache.ends_with(" err -5") && without_zxid(apache) == without_zxid(ours)
}

/// The same but for bytes that follow Apache's answer.
fn body_behind_error(step: &Step, slots: &[Slot]) -> bool {
    let [(slot, apache, ours)] = slots else { return false };
    let is_same = |(apache, ours): (&String, &String)| {
        apache == ours || (ours.ends_with(" err -5") && apache.starts_with(&format!("{ours} then 0x")))
    };
    *slot == step.slot
        && only_frame(step).is_some_and(|frame| frame.op == OpCode::MultiRead.code())
        && apache.len() == ours.len()
        && apache.iter().zip(ours).all(is_same)
}

/// The one such character that is drawn, as Java writes it and as UTF-8.
fn surrogates(_step: &Step, slots: &[Slot]) -> bool {
    let as_utf8 = |line: &String| line.replace(r"\xed\xa0\xbc\xed\xbe\x89", r"\xf0\x9f\x8e\x89");
    slots.iter().all(|(_, apache, ours)| apache.iter().map(as_utf8).eq(ours.iter().cloned()))
}

fn only_frame(step: &Step) -> Option<&Frame> {
    match &step.action {
        Action::Send(frames) if frames.len() == 1 => frames.first(),
        Action::Send(_) | Action::Open { .. } | Action::Resume { .. } | Action::Cut | Action::Bytes(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;

    fn explained(step: &str, apache: &[&str], ours: &[&str]) -> Option<&'static str> {
        let step = Script::parse(step).unwrap().steps.remove(0);
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        explain(&step, &[(3, lines(apache), lines(ours))])
    }

    #[test]
    fn every_rule_names_a_row_that_exists() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
        let text = std::fs::read_to_string(path).unwrap();
        for rule in RULES {
            assert!(text.contains(&format!("| {} |", rule.row)), "no row {}", rule.row);
        }
    }

    #[test]
    fn what_a_rule_is_about_is_explained_and_the_next_best_thing_is_not() {
        let multi = "3 multi 99 false -1";
        assert!(explained(multi, &["multi xid 1 zxid 9 err -5"], &["multi xid 1 zxid 8 err -5"]).is_some());
        assert_eq!(explained(multi, &["multi xid 1 zxid 9 err -5"], &["multi xid 1 zxid 8 err -8"]), None);
        let resume = "2 !resume s1 wrong 5";
        assert!(explained(resume, &["closed"], &["ping xid -2 zxid 5 err 0"]).is_some());
        assert!(explained(resume, &["closed"], &["ping xid -2 zxid 0 err -124", "closed"]).is_some());
        assert_eq!(explained(resume, &["closed"], &["ping xid -2 zxid 5 err 0", "closed"]), None);
        assert_eq!(explained(resume, &["ping xid -2 zxid 5 err 0"], &["closed"]), None);
        assert_eq!(explained("2 !resume s1 right 5", &["closed"], &["ping xid -2 zxid 5 err 0"]), None);
        let right = "2 !resume s1 right 5";
        assert!(explained(right, &["nothing"], &["closed"]).is_some());
        assert_eq!(explained(right, &["closed"], &["nothing"]), None);
        assert_eq!(explained("2 !resume s1 wrong 5", &["nothing"], &["closed"]), None);
        let create = "3 create \"/a\" null 1 31 \"world\" null 0";
        assert!(explained(create, &["create xid 1 zxid 5 err -5"], &["create xid 1 zxid 6 err -114"]).is_some());
        assert_eq!(explained(create, &["create xid 1 zxid 5 err -5"], &["create xid 1 zxid 6 err -8"]), None);
        let container = "3 deleteContainer \"/a\"";
        let refused = ["deleteContainer xid 1 zxid -1 err -6", "closed"];
        assert!(explained(container, &["deleteContainer xid 1 zxid 5 err -101"], &refused).is_some());
        assert_eq!(explained(container, &["deleteContainer xid 1 zxid 5 err -101"], &["closed"]), None);
        assert_eq!(explained("3 delete \"/a\" -1", &["delete xid 1 zxid 5 err -101"], &refused), None);
    }
}
