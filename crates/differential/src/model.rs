//! What the tree about looks like: enough to draw paths that exist and versions that match. Fed by Apache's answers; a
//! wrong guess costs a failed request, no more.

use std::collections::BTreeMap;

use gk_proto::ErrorCode;
use gk_proto::answer::Answer;
use gk_proto::multi::Outcome;
use gk_proto::op::OpCode;

use crate::chance::Chance;

/// Nodes by path, without those that servers are born with.
#[derive(Default)]
pub(crate) struct Model {
    nodes: BTreeMap<String, Node>,
}

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) version: i32,
    pub(crate) aversion: i32,
    /// Session of an ephemeral.
    pub(crate) owner: Option<String>,
    /// Whether it was given an ACL that does not let everybody do everything.
    pub(crate) is_guarded: bool,
}

/// What a request will have done if it succeeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    None,
    /// The path is in the answer.
    Create {
        owner: Option<String>,
        is_guarded: bool,
    },
    Delete(String),
    SetData(String),
    SetAcl(String, bool),
    /// Of the ops of a multi.
    Multi(Vec<Effect>),
    EndSession(String),
}

impl Model {
    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What is known of the node at a path.
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// A path that exists, if one was found that is as asked.
    pub(crate) fn some(&self, chance: &mut Chance, suits: impl Fn(&Self, &str, &Node) -> bool) -> Option<String> {
        let fitting: Vec<&String> =
            self.nodes.iter().filter(|(path, node)| suits(self, path, node)).map(|(path, _)| path).collect();
        (!fitting.is_empty()).then(|| chance.pick(&fitting).clone())
    }

    /// Whether a node has children.
    pub(crate) fn has_children(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.nodes.range(below.clone()..).next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    /// Whether there is a quota anywhere.
    pub(crate) fn has_limits(&self) -> bool {
        self.nodes.keys().any(|path| path.ends_with("/zookeeper_limits"))
    }

    /// Takes in that a request succeeded.
    pub(crate) fn learn(&mut self, op: i32, effect: &Effect, body: &[u8]) {
        let answer = OpCode::from_code(op).and_then(|op| Answer::decode(op, body).ok());
        match (effect, answer) {
            (Effect::Multi(effects), Some(Answer::Multi(outcomes))) => {
                let failed = |outcome: &Outcome| matches!(outcome, Outcome::Error(code) if *code != ErrorCode::Ok);
                if outcomes.iter().any(failed) {
                    return;
                }
                for (effect, outcome) in effects.iter().zip(outcomes) {
                    let path = match outcome {
                        Outcome::Create(path) | Outcome::Create2(path, _) => Some(path),
                        Outcome::Delete
                        | Outcome::SetData(_)
                        | Outcome::Check
                        | Outcome::Error(_)
                        | Outcome::UnknownError(_) => None,
                    };
                    self.apply(effect, path);
                }
            }
            (effect, Some(Answer::Path(path) | Answer::PathStat(path, _))) => self.apply(effect, Some(path)),
            (effect, _) => self.apply(effect, None),
        }
    }

    fn apply(&mut self, effect: &Effect, created: Option<String>) {
        match effect {
            Effect::None | Effect::Multi(_) => {}
            Effect::Create { owner, is_guarded } => {
                if let Some(path) = created {
                    let node = Node { owner: owner.clone(), is_guarded: *is_guarded, ..Node::default() };
                    self.nodes.insert(path, node);
                }
            }
            Effect::Delete(path) => drop(self.nodes.remove(path)),
            Effect::SetData(path) => {
                self.nodes.entry(path.clone()).and_modify(|node| node.version += 1);
            }
            Effect::SetAcl(path, is_guarded) => {
                self.nodes.entry(path.clone()).and_modify(|node| {
                    node.aversion += 1;
                    node.is_guarded = *is_guarded;
                });
            }
            Effect::EndSession(session) => self.nodes.retain(|_, node| node.owner.as_deref() != Some(session)),
        }
    }
}
