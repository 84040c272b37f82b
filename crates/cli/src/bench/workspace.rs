//! The nodes of a run: made before it, removed after it, told apart from everything else.
//!
//! ```text
//! /gamekeeper-bench-1f2e3d4c    its data begins with MARK
//!     running                   ephemeral: a run is using this
//!     nodes/n0 .. n999          what is read and written
//!     churn/                    what comes and goes
//! ```
//!
//! **Invariant:** nothing is ever removed but a node whose data begins with the mark, and what lies below it
//! (`nodes_of_others_stay_whatever_their_names_are` in the tests of the program).

use std::collections::VecDeque;

use gk_client::{Acl, Client, CreateMode, CreateOptions, Error, ErrorCode, Pending, Version, creator_acl, open_acl};
use gk_proto::path::join;
use gk_proto::rng::Rng;

use super::arguments::Settings;
use super::load::below;

/// Where a run happens.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: String,
    /// The parent of `nodes`.
    pub(crate) parent: String,
    pub(crate) nodes: Vec<String>,
    /// The parent of what comes and goes.
    pub(crate) churn: String,
    pub(crate) acl: Vec<Acl>,
}

/// How the data of a run's root begins.
const MARK: &[u8] = b"gamekeeper bench";
/// How the name of a run's root begins, unless it was given.
const PREFIX: &str = "gamekeeper-bench-";
/// Made by the session that makes all nodes: gone when the run is.
const RUNNING: &str = "running";
/// Creates and deletes under way at a time: enough to keep a server busy, too few to trouble others.
const PIPELINE: usize = 128;
/// Bytes of data under way at a time.
const PIPELINE_BYTES: usize = 8 << 20;
/// Attempts at removing a node that gets new children meanwhile.
const ROUNDS: usize = 5;

impl Workspace {
    /// The names of a run's nodes. None is made yet.
    pub(crate) fn name(settings: &Settings, seed: u64) -> Self {
        let drawn = || format!("/{PREFIX}{:08x}", Rng::new(seed).next_u64() >> 32);
        let root = settings.root.clone().unwrap_or_else(drawn);
        let (parent, churn) = (join(&root, "nodes"), join(&root, "churn"));
        let nodes = (0..settings.nodes).map(|number| join(&parent, &format!("n{number}"))).collect();
        let acl = if settings.auth.is_empty() { open_acl() } else { creator_acl() };
        Self { root, parent, nodes, churn, acl }
    }

    /// Makes the node that everything else is below: from here on there is something to remove.
    pub(crate) async fn claim(&self, client: &Client) -> Result<(), Error> {
        let mark = [MARK, b": may be removed with gamekeeper bench --clean"].concat();
        client.create(&self.root, mark, self.options(CreateMode::Persistent)).await.map(drop)
    }

    /// Makes all other nodes.
    pub(crate) async fn fill(
        &self,
        client: &Client,
        settings: &Settings,
        payload: &[u8],
        rng: &mut Rng,
    ) -> Result<(), Error> {
        client.create(&join(&self.root, RUNNING), "", self.options(CreateMode::Ephemeral)).await?;
        for parent in [&self.parent, &self.churn] {
            client.create(parent, "", self.options(CreateMode::Persistent)).await?;
        }
        let size = &settings.data_size;
        let depth = (PIPELINE_BYTES / size.max().max(1)).clamp(1, PIPELINE);
        let mut waiting = VecDeque::new();
        for node in &self.nodes {
            let bytes = size.min() + below(rng, size.max() - size.min() + 1);
            let data = payload.get(..bytes).unwrap_or_default();
            waiting.push_back(client.create(node, data, self.options(CreateMode::Persistent)));
            if waiting.len() >= depth {
                next(&mut waiting).await?;
            }
        }
        while !waiting.is_empty() {
            next(&mut waiting).await?;
        }
        Ok(())
    }

    fn options(&self, mode: CreateMode) -> CreateOptions {
        CreateOptions::new(mode).acl(self.acl.clone())
    }
}

/// Waits for the oldest; nothing if there is none.
async fn next<T>(waiting: &mut VecDeque<Pending<T>>) -> Result<Option<T>, Error> {
    match waiting.pop_front() {
        Some(pending) => pending.await.map(Some),
        None => Ok(None),
    }
}

/// What an earlier run has left behind.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) root: String,
    /// Whether it is no leftover yet.
    pub(crate) is_running: bool,
}

/// Roots of runs: those with a name of ours, and this one.
pub(crate) async fn leftovers(client: &Client, root: Option<&str>) -> Result<Vec<Leftover>, Error> {
    let candidates = match root {
        Some(root) => vec![root.to_owned()],
        None => {
            let mut names = client.children("/").await?;
            names.retain(|name| name.starts_with(PREFIX));
            names.sort();
            names.iter().map(|name| join("/", name)).collect()
        }
    };
    let mut found = Vec::new();
    for root in candidates {
        match client.get_data(&root).await {
            Ok((data, _)) if data.starts_with(MARK) => {
                let is_running = client.exists(&join(&root, RUNNING)).await?.is_some();
                found.push(Leftover { root, is_running });
            }
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Removes a root and everything below it. Done already is as good.
pub(crate) async fn remove(client: &Client, root: &str) -> Result<(), Error> {
    match client.get_data(root).await {
        Ok((data, _)) if data.starts_with(MARK) => remove_tree(client, root.to_owned()).await,
        Ok(_) => Err(Error::BadArgument { what: format!("{root} was not made by a run of this program") }),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a node and everything below it: first the deepest, so that what is cut short can be done again.
async fn remove_tree(client: &Client, top: String) -> Result<(), Error> {
    let mut rounds = 0;
    let mut above = vec![top];
    while let Some(path) = above.pop() {
        let with_children = remove_children(client, &path).await?;
        if !with_children.is_empty() {
            above.push(path);
            above.extend(with_children);
            continue;
        }
        match client.delete(&path, Version::Any).await {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            // What was sent and not answered by a session that has ended may still have come.
            Err(error) if error.code() == Some(ErrorCode::NotEmpty) && rounds < ROUNDS => {
                rounds += 1;
                above.push(path);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes the children that have none themselves, and names the others.
async fn remove_children(client: &Client, path: &str) -> Result<Vec<String>, Error> {
    let names = match client.children(path).await {
        Ok(names) => names,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut with_children = Vec::new();
    let mut waiting: VecDeque<(String, Pending<()>)> = VecDeque::new();
    let mut names = names.into_iter();
    loop {
        if waiting.len() < PIPELINE
            && let Some(name) = names.next()
        {
            let child = join(path, &name);
            let pending = client.delete(&child, Version::Any);
            waiting.push_back((child, pending));
            continue;
        }
        let Some((child, pending)) = waiting.pop_front() else { return Ok(with_children) };
        match pending.await {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) if error.code() == Some(ErrorCode::NotEmpty) => with_children.push(child),
            Err(error) => return Err(error),
        }
    }
}

fn is_gone(error: &Error) -> bool {
    error.code() == Some(ErrorCode::NoNode)
}
