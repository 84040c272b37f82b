//! A whole tree: as a start would find it, or as it was.

use std::sync::Arc;

use gk_proto::Zxid;
use gk_proto::path::join;
use gk_storage::{Disk, Forecast, StorageError, StoreOptions, foresee, tree_at};
use gk_tree::{NodeRef, Tree, TreeOptions};
use serde_json::json;

use super::arguments::{DirectoryArguments, SubtreeArguments};
use super::directory::{self, steadily};
use super::node::{self, Node};
use super::output::Output;
use super::watched::Watched;
use super::{Found, Look, Stop, text};

impl Look<'_> {
    pub(super) fn tree(
        &self,
        of: &DirectoryArguments,
        at: Option<Zxid>,
        subtree: &SubtreeArguments,
        output: &mut Output,
    ) -> Result<Found, Stop> {
        let options = directory::directory(of, self.arguments)?;
        let disk = Watched::new(false);
        let looked = load(disk.clone(), &options, at);
        disk.done();
        let Forecast { tree, report, .. } = looked?;
        let top = subtree.below.as_deref().unwrap_or("/");
        let last = report.last_zxid;
        if tree.find(top).is_none() {
            let path = text::escaped(top);
            return Err(Stop::Nothing(format!("there is no {path} in the tree after txn {}", text::zxid(last))));
        }
        if let Some(at) = at.filter(|&at| at > last) {
            complain(&format!("the files end before {}, at {}", text::zxid(at), text::zxid(last)));
        }
        self.print_tree(&tree, top, last, output)?;
        Ok(Found::Sound)
    }

    fn print_tree(&self, tree: &Tree, top: &str, last: Zxid, output: &mut Output) -> Result<(), Stop> {
        let rules = tree.options().owner_rules;
        if self.is_json {
            output.json_line(&json!({"tree": {"zxid": text::zxid(last), "nodes": tree.node_count() - 1}}))?;
        } else {
            output.line(&format!("after txn {}", text::zxid(last)))?;
        }
        if top == "/" {
            if !self.is_json && tree.session_count() > 0 {
                output.line("sessions")?;
            }
            for (session, timeout_ms) in tree.sessions() {
                if self.is_json {
                    output.json_line(&json!({"session": session.to_string(), "timeout_ms": timeout_ms}))?;
                } else {
                    let timeout = text::duration(i64::from(timeout_ms));
                    output.line(&format!("  {session}  timeout {timeout}"))?;
                }
            }
        }
        if !self.is_json {
            output.line("nodes")?;
            output.line(&node::heading())?;
        }
        let mut count = 0;
        let mut walk = Walk::new(tree, top);
        while let Some((path, found)) = walk.next_node() {
            count += 1;
            let node = of_tree(&path, found);
            if self.is_json {
                output.json_line(&node.json(rules, self.secrets).into())?;
            } else {
                output.line(&node.row(rules, self.secrets))?;
            }
        }
        if !self.is_json {
            output.line(&text::some(count, "node"))?;
        }
        Ok(())
    }

    /// How a tree is read where no zoo.cfg says so: by the properties of the command line.
    pub(super) fn tree_options(&self) -> Result<TreeOptions, Stop> {
        Ok(gk_server::store_options(&directory::configuration(None, self.arguments)?).tree)
    }
}

/// The tree after a txn, or the one that a start would find.
pub(super) fn load(disk: Arc<dyn Disk>, options: &StoreOptions, at: Option<Zxid>) -> Result<Forecast, StorageError> {
    steadily(options, || match at {
        Some(zxid) => tree_at(disk.clone(), options, zxid),
        None => foresee(disk.clone(), options),
    })
}

pub(super) fn of_tree<'a>(path: &'a str, node: NodeRef<'a>) -> Node<'a> {
    let (data, acl) = (node.data(), Some(&node.acl()[..]));
    Node { path, data, acl, stat: node.persisted(), child_count: Some(node.child_count()) }
}

/// The names of a node's children, sorted.
pub(super) fn names<'a>(node: NodeRef<'a>) -> Vec<&'a str> {
    let mut names: Vec<&str> = node.children().collect();
    names.sort_unstable();
    names
}

/// A subtree, each node before those below it, siblings by name.
pub(super) struct Walk<'a> {
    tree: &'a Tree,
    left: Vec<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(tree: &'a Tree, top: &str) -> Self {
        Self { tree, left: vec![top.to_owned()] }
    }

    pub(super) fn next_node(&mut self) -> Option<(String, NodeRef<'a>)> {
        let path = self.left.pop()?;
        let node = self.tree.find(&path)?;
        self.left.extend(names(node).into_iter().rev().map(|name| join(&path, name)));
        Some((path, node))
    }
}

pub(super) fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "gamekeeper: {text}");
}
