//! Making nodes with more than one request: paths, and creates that survive a lost reply.

use gk_proto::ErrorCode;
use gk_proto::op::CreateMode;
use gk_proto::path;

use crate::client::Client;
use crate::error::Error;
use crate::options::{CreateOptions, Created};

impl Client {
    /// Makes a node and all that is missing above it, persistent, open to everybody and empty. What exists is left as it
    /// is.
    ///
    /// # Errors
    /// `NoAuth`, `NoChildrenForEphemerals`, `QuotaExceeded`.
    pub async fn make_path(&self, path: &str) -> Result<(), Error> {
        let there = self.chroot_ref().absolute(path)?;
        let server = self.without_chroot();
        let ends = there.match_indices('/').map(|(at, _)| at).chain([there.len()]).filter(|end| *end > 1);
        // Usually little is missing: the search for the lowest node that exists begins at the bottom.
        let mut missing: Vec<&str> = ends.map(|end| there.get(..end).unwrap_or_default()).collect();
        let mut to_make = Vec::new();
        while let Some(node) = missing.pop() {
            if server.exists(node).await?.is_some() {
                break;
            }
            to_make.push(node);
        }
        for node in to_make.into_iter().rev() {
            server.ensure(node).await?;
        }
        Ok(())
    }

    /// A persistent node, made unless it exists. That a reply was lost does not matter here.
    async fn ensure(&self, node: &str) -> Result<(), Error> {
        loop {
            match self.create(node, b"", CreateMode::Persistent).await {
                Err(Error::OutcomeUnknown) => {}
                Err(error) if error.code() == Some(ErrorCode::NodeExists) => return Ok(()),
                other => return other.map(|_| ()),
            }
        }
    }

    /// Makes an ephemeral or sequential node once, even if the reply to the create is lost: the outcome is looked up after
    /// the reconnect, and the node is made again only if it was not.
    ///
    /// Without this a lock or election would be blocked by a node whose owner does not know of it. A sequential node
    /// gets a name of its own to be found by, `_c_<id>-` in front of the last component, as Curator has it: sort by
    /// what follows. Any other ephemeral node is found by its owner. For other persistent nodes nothing tells whose they
    /// are: they are refused.
    ///
    /// # Errors
    /// Those of [`Client::create`]; [`Error::OutcomeUnknown`] only if the outcome could not be looked up either, because no
    /// server was reached for a session timeout; [`Error::BadArgument`] for a persistent mode without sequence.
    pub async fn create_protected(
        &self,
        path: &str,
        data: impl AsRef<[u8]>,
        options: impl Into<CreateOptions>,
    ) -> Result<Created, Error> {
        let options = options.into();
        let data = data.as_ref();
        if options.mode.is_sequential() {
            return self.create_sequential_protected(path, data, options).await;
        }
        if !options.mode.is_ephemeral() {
            let what = format!("{path}: only an ephemeral or sequential node can be told from those of others");
            return Err(Error::BadArgument { what });
        }
        loop {
            match self.create(path, data, options.clone()).await {
                Err(Error::OutcomeUnknown) => {}
                other => return other,
            }
            // Not knowing whether it is there is not knowing the outcome, whatever the look-up failed of.
            self.level().await.map_err(unknown)?;
            if let Some(stat) = self.exists(path).await.map_err(unknown)? {
                return if stat.ephemeral_owner == self.session_id().wire() {
                    Ok(Created { path: path.to_owned(), stat })
                } else {
                    Err(Error::Server { code: ErrorCode::NodeExists, path: path.to_owned() })
                };
            }
        }
    }

    async fn create_sequential_protected(
        &self,
        path: &str,
        data: &[u8],
        options: CreateOptions,
    ) -> Result<Created, Error> {
        let bad = || Error::BadArgument { what: format!("{path:?} is not the path of a node") };
        let (parent, name) = path.rsplit_once('/').ok_or_else(bad)?;
        let parent = if parent.is_empty() { "/" } else { parent };
        let tag = self.protection_tag();
        let tagged = path::join(parent, &format!("{tag}{name}"));
        loop {
            match self.create(&tagged, data, options.clone()).await {
                Err(Error::OutcomeUnknown) => {}
                other => return other,
            }
            // The first create has either been ordered before this or never will be: the session is on another
            // connection now, and servers refuse what comes late on the old one.
            self.level().await.map_err(unknown)?;
            let names = self.children(parent).await.map_err(unknown)?;
            if let Some(name) = names.iter().find(|name| name.starts_with(&tag)) {
                let path = path::join(parent, name);
                if let Some(stat) = self.exists(&path).await.map_err(unknown)? {
                    return Ok(Created { path, stat });
                }
            }
        }
    }

    /// Returns once this server has applied all that was ordered before. A txn of our own shows it: Apache's leader may
    /// answer a sync before it has applied what it has committed.
    async fn level(&self) -> Result<(), Error> {
        loop {
            match self.multi().commit().await {
                Err(Error::OutcomeUnknown) => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// `_c_<id>-`, with an id that no other session and no other call of this one has, in the form of a UUID.
    fn protection_tag(&self) -> String {
        let session = format!("{:016x}", self.session_id().0);
        let call = format!("{:016x}", self.shared().change(|state| state.next_tag()));
        let digits = [session, call].concat();
        let mut tag = String::from("_c_");
        for (at, digit) in digits.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                tag.push('-');
            }
            tag.push(digit);
        }
        tag.push('-');
        tag
    }
}

/// The error of a look-up whose question was what became of a create: the answer is still not known, and the create must
/// not be repeated as if it had had no effect. That the session is over settles it for ephemeral nodes, and is told.
fn unknown(error: Error) -> Error {
    if error.ends_session() { error } else { Error::OutcomeUnknown }
}
