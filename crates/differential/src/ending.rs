//! The end of a run: every session is ended, the trees are compared node by node, and all nodes are removed, so that the
//! same servers serve the next run.

use gk_proto::answer::Answer;
use gk_proto::op::OpCode;
use gk_proto::reply::HEADER_LEN;

use crate::pair::{Difference, KEEPER, KEEPER_SESSION, Pair, Verdict};
use crate::script::{Action, Field, Frame, Password, Step};
use crate::side::Told;

/// Where sessions are resumed to be ended.
const ENDING: usize = 999;

/// Nodes that servers are born with.
const INBORN: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];

/// Requests sent at once.
const AT_ONCE: usize = 30;

/// Ends a run; whatever differs is a finding.
pub(crate) fn end(pair: &mut Pair) -> Result<(), Difference> {
    for session in pair.apache.open_sessions() {
        if session != KEEPER_SESSION {
            let resume = Action::Resume { session, password: Password::Right, timeout_ms: 60_000 };
            step(pair, ENDING, resume)?;
            step(pair, ENDING, Action::Send(vec![crate::pair::super_user()]))?;
            step(pair, ENDING, Action::Send(vec![Frame::new(OpCode::CloseSession, Vec::new())]))?;
        }
    }
    for slot in pair.apache.connected().into_iter().filter(|slot| *slot != KEEPER) {
        step(pair, slot, Action::Cut)?;
    }
    pair.apache.forget_closed();
    pair.ours.forget_closed();
    let nodes = compare(pair)?;
    remove(pair, &nodes)?;
    compare(pair).map(drop)
}

/// Looks at every node of both; their paths.
fn compare(pair: &mut Pair) -> Result<Vec<String>, Difference> {
    let mut nodes = vec!["/".to_owned()];
    let mut at = 0;
    while at < nodes.len() {
        let path = nodes[at].clone();
        at += 1;
        let (text, no_watch) = (Field::text(&path), Field::Boolean(false));
        let told = step(
            pair,
            KEEPER,
            Action::Send(vec![
                Frame::new(OpCode::GetData, vec![text.clone(), no_watch.clone()]),
                Frame::new(OpCode::GetAcl, vec![text.clone()]),
                Frame::new(OpCode::GetChildren2, vec![text, no_watch]),
            ]),
        )?;
        let names = told.and_then(|told| {
            let answer = told.answers.into_iter().nth(2)??;
            match Answer::decode(OpCode::GetChildren2, answer.get(HEADER_LEN..)?) {
                Ok(Answer::ChildrenStat(names, _)) => Some(names),
                _ => None,
            }
        });
        let base = if path == "/" { "" } else { &path };
        nodes.extend(names.unwrap_or_default().iter().map(|name| format!("{base}/{name}")));
    }
    Ok(nodes)
}

/// Removes all nodes, lowest first, and lets everybody do everything to the root again.
fn remove(pair: &mut Pair, nodes: &[String]) -> Result<(), Difference> {
    let mut doomed: Vec<&String> = nodes.iter().filter(|path| !INBORN.contains(&path.as_str())).collect();
    doomed.sort();
    doomed.reverse();
    for some in doomed.chunks(AT_ONCE) {
        let frames = some.iter().map(|path| Frame::new(OpCode::Delete, vec![Field::text(path), Field::Int(-1)]));
        step(pair, KEEPER, Action::Send(frames.collect()))?;
    }
    let everybody = [Field::Int(1), Field::Int(31), Field::text("world"), Field::text("anyone")];
    for path in ["/", "/zookeeper", "/zookeeper/quota"] {
        let acl = [&[Field::text(path)], everybody.as_slice(), &[Field::Int(-1)]].concat();
        let data = vec![Field::text(path), Field::text(""), Field::Int(-1)];
        let frames = vec![Frame::new(OpCode::SetAcl, acl), Frame::new(OpCode::SetData, data)];
        step(pair, KEEPER, Action::Send(frames))?;
    }
    Ok(())
}

fn step(pair: &mut Pair, slot: usize, action: Action) -> Result<Option<Told>, Difference> {
    match pair.step(&Step { slot, action }) {
        Verdict::Skipped => Ok(None),
        Verdict::Same(told) | Verdict::Explained(_, told) => Ok(Some(told)),
        Verdict::Different(difference) => Err(difference),
    }
}
