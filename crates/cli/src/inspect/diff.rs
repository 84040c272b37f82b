//! What differs between two trees.

use std::path::Path;

use gk_proto::path::join;
use gk_proto::stat::StatPersisted;
use gk_proto::{SessionId, Zxid};
use gk_storage::{Forecast, load_snapshot};
use gk_tree::{NodeRef, Tree};
use serde_json::{Value, json};

use super::arguments::DiffArguments;
use super::directory::{Source, shown};
use super::output::Output;
use super::text::{self, Secrets};
use super::tree::{self, Walk, names, of_tree};
use super::watched::Watched;
use super::{Found, Look, Stop, snapshot_stop};

impl Look<'_> {
    pub(super) fn diff(&self, which: &DiffArguments, output: &mut Output) -> Result<Found, Stop> {
        let (old, new) = match &which.new {
            Some(new) => (self.snapshot_tree(&which.old)?, self.snapshot_tree(new)?),
            None => self.two_times(which)?,
        };
        let top = which.subtree.below.as_deref().unwrap_or("/");
        let mut diff = Diff { look: self, old: &old, new: &new, output, counts: [0; 3] };
        if !self.is_json {
            let (old, new) = (text::zxid(old.last_zxid()), text::zxid(new.last_zxid()));
            diff.output.line(&format!("from the tree after {old} to that after {new}"))?;
        }
        if top == "/" {
            diff.sessions()?;
        }
        diff.nodes(top)?;
        let [added, removed, changed] = diff.counts;
        if !self.is_json {
            output.line(&format!("{added} added, {removed} removed, {changed} changed"))?;
        }
        Ok(Found::Sound)
    }

    fn snapshot_tree(&self, path: &Path) -> Result<Tree, Stop> {
        match Source::find(path, None, self.arguments)? {
            Source::Snapshot(path) => {
                let disk = Watched::new(false);
                let options = self.tree_options()?;
                let loaded = load_snapshot(disk.clone(), &path, options).map_err(snapshot_stop(&path));
                disk.done();
                loaded
            }
            Source::Directory(_) | Source::Log(_) => {
                let path = shown(path);
                Err(Stop::Usage(format!("{path} is no snapshot; of a directory, --from and --to compare two txns")))
            }
        }
    }

    fn two_times(&self, which: &DiffArguments) -> Result<(Tree, Tree), Stop> {
        if which.from.is_none() {
            return Err(Stop::Usage("name two snapshots, or one directory and --from ZXID".to_owned()));
        }
        let Source::Directory(options) = Source::find(&which.old, which.log_dir.as_deref(), self.arguments)? else {
            return Err(Stop::Usage("--from and --to need a data directory".to_owned()));
        };
        let disk = Watched::new(false);
        let at = |zxid: Option<Zxid>| tree::load(disk.clone(), &options, zxid);
        let trees = at(which.from).and_then(|old| Ok((old, at(which.to)?)));
        disk.done();
        let (Forecast { tree: old, .. }, Forecast { tree: new, .. }) = trees?;
        for (wanted, tree) in [(which.from, &old), (which.to, &new)] {
            if let Some(wanted) = wanted.filter(|&wanted| wanted > tree.last_zxid()) {
                let last = text::zxid(tree.last_zxid());
                tree::complain(&format!("the files end before {}, at {last}", text::zxid(wanted)));
            }
        }
        Ok((old, new))
    }
}

struct Diff<'a, 'b> {
    look: &'a Look<'a>,
    old: &'a Tree,
    new: &'a Tree,
    output: &'b mut Output,
    /// Added, removed, changed.
    counts: [u64; 3],
}

impl<'a> Diff<'a, '_> {
    fn sessions(&mut self) -> Result<(), Stop> {
        let (old, new) = (self.old, self.new);
        for (session, _) in old.sessions().filter(|&(session, _)| new.session_timeout(session).is_none()) {
            self.session('-', "removed", session)?;
        }
        for (session, _) in new.sessions().filter(|&(session, _)| old.session_timeout(session).is_none()) {
            self.session('+', "added", session)?;
        }
        Ok(())
    }

    fn session(&mut self, sign: char, change: &str, session: SessionId) -> Result<(), Stop> {
        if self.look.is_json {
            self.output.json_line(&json!({"change": change, "session": session.to_string()}))?;
        } else {
            self.output.line(&format!("{sign} session {session}"))?;
        }
        Ok(())
    }

    /// Walks both trees at once, in the order of paths.
    fn nodes(&mut self, top: &str) -> Result<(), Stop> {
        let mut left = vec![top.to_owned()];
        while let Some(path) = left.pop() {
            match (self.old.find(&path), self.new.find(&path)) {
                (None, None) => {}
                (Some(_), None) => self.whole(self.old, &path, 1)?,
                (None, Some(_)) => self.whole(self.new, &path, 0)?,
                (Some(old), Some(new)) => {
                    self.both(&path, old, new)?;
                    let mut all = names(old);
                    all.extend(names(new));
                    all.sort_unstable();
                    all.dedup();
                    left.extend(all.into_iter().rev().map(|name| join(&path, name)));
                }
            }
        }
        Ok(())
    }

    /// A subtree that only one of the trees has.
    fn whole(&mut self, tree: &'a Tree, top: &str, count: usize) -> Result<(), Stop> {
        let (sign, change) = if count == 0 { ('+', "added") } else { ('-', "removed") };
        let mut walk = Walk::new(tree, top);
        while let Some((path, found)) = walk.next_node() {
            self.counts[count] += 1;
            let node = of_tree(&path, found);
            if self.look.is_json {
                let mut value = node.json(tree.options().owner_rules, self.look.secrets);
                value.insert("change".into(), change.into());
                self.output.json_line(&value.into())?;
            } else {
                let data = text::data(node.data, self.look.secrets);
                self.output.line(&format!("{sign} {}  {data}", text::escaped(&path)))?;
            }
        }
        Ok(())
    }

    fn both(&mut self, path: &str, old: NodeRef<'_>, new: NodeRef<'_>) -> Result<(), Stop> {
        let changes = changes(old, new, self.look.secrets);
        if changes.is_empty() {
            return Ok(());
        }
        self.counts[2] += 1;
        if self.look.is_json {
            let fields = changes.into_iter().map(|(name, old, new)| (name.to_owned(), json!({"old": old, "new": new})));
            let fields: serde_json::Map<String, Value> = fields.collect();
            self.output.json_line(&json!({"change": "changed", "path": path, "fields": fields}))?;
        } else {
            let words = changes.into_iter().map(|(name, old, new)| format!("{name} {old} -> {new}"));
            let words = words.collect::<Vec<_>>().join(", ");
            self.output.line(&format!("~ {}  {words}", text::escaped(path)))?;
        }
        Ok(())
    }
}

/// What two states of a node do not have in common. Of children only their number shows: they have lines of their own.
fn changes(old: NodeRef<'_>, new: NodeRef<'_>, secrets: Secrets) -> Vec<(&'static str, String, String)> {
    let mut out = Vec::new();
    let mut compare = |name, old: String, new: String, differ: bool| {
        if differ {
            out.push((name, old, new));
        }
    };
    let (was, is): (StatPersisted, StatPersisted) = (old.persisted(), new.persisted());
    compare("created by", text::zxid(was.czxid), text::zxid(is.czxid), was.czxid != is.czxid);
    let data = |node: NodeRef<'_>| text::data(node.data(), secrets);
    compare("data", data(old), data(new), old.data() != new.data());
    compare("version", was.version.to_string(), is.version.to_string(), was.version != is.version);
    compare("changed by", text::zxid(was.mzxid), text::zxid(is.mzxid), was.mzxid != is.mzxid);
    let acl = |node: NodeRef<'_>| text::acl(node.acl(), secrets);
    compare("acl", acl(old), acl(new), old.acl() != new.acl());
    compare("acl version", was.aversion.to_string(), is.aversion.to_string(), was.aversion != is.aversion);
    compare("owner", text::owner(old.owner()), text::owner(new.owner()), was.ephemeral_owner != is.ephemeral_owner);
    let children = |node: NodeRef<'_>| node.child_count().to_string();
    compare("children", children(old), children(new), was.pzxid != is.pzxid || old.child_count() != new.child_count());
    out
}
