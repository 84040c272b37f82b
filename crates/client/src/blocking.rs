//! The same client without async: each call waits for its answer.
//!
//! All blocking clients of a process share one thread, which serves their sockets. Do not call from a task of an async
//! runtime: the task's thread would stand still meanwhile.
//!
//! What is not here is reached by [`Client::client`] and [`Client::wait`]:
//!
//! ```no_run
//! # fn main() -> Result<(), gk_client::Error> {
//! use gk_client::blocking::Client;
//!
//! let client = Client::connect("localhost:2181")?;
//! let made = client.wait(client.client().make_path("/a/b/c"))?;
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use gk_proto::SessionId;
use gk_proto::stat::Stat;
use gk_proto::watch::AddWatchMode;
use tokio::runtime::{Builder, Runtime};

use crate::core::{SessionState, WatchItem, WatchedEvent};
use crate::error::Error;
use crate::options::{CreateOptions, Created, Version};
use crate::{ClientBuilder, OneshotWatch, WatchStream};

/// A session with an ensemble; see [`crate::Client`], whose methods these are.
#[derive(Clone, Debug)]
pub struct Client(crate::Client);

/// The thread that serves the sockets of all blocking clients, from the first one on.
fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread().worker_threads(1).thread_name("gk-client").enable_all().build();
    let made = made.map_err(|error| Error::BadArgument { what: format!("no thread for the client: {error}") })?;
    Ok(RUNTIME.get_or_init(|| made))
}

impl Client {
    /// See [`crate::Client::connect`].
    ///
    /// # Errors
    /// Those of [`crate::Client::connect`].
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Self::connect_with(crate::Client::builder(), servers)
    }

    /// With options: `Client::connect_with(gk_client::Client::builder().read_only(true), "localhost")`.
    ///
    /// # Errors
    /// Those of [`ClientBuilder::connect`].
    pub fn connect_with(options: ClientBuilder, servers: &str) -> Result<Self, Error> {
        runtime()?.block_on(options.connect(servers)).map(Self)
    }

    /// The async client, for what has no method here.
    pub fn client(&self) -> &crate::Client {
        &self.0
    }

    /// Waits for something of the async client's.
    ///
    /// # Errors
    /// Those of what is waited for.
    pub fn wait<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        runtime()?.block_on(operation)
    }

    /// The id of the session.
    pub fn session_id(&self) -> SessionId {
        self.0.session_id()
    }

    /// Where the session stands now.
    pub fn state(&self) -> SessionState {
        self.0.state()
    }

    /// See [`crate::Client::chroot`].
    ///
    /// # Errors
    /// Those of [`crate::Client::chroot`].
    pub fn chroot(&self, path: &str) -> Result<Self, Error> {
        self.0.chroot(path).map(Self)
    }

    /// See [`crate::Client::create`].
    ///
    /// # Errors
    /// Those of [`crate::Client::create`].
    pub fn create(
        &self,
        path: &str,
        data: impl AsRef<[u8]>,
        options: impl Into<CreateOptions>,
    ) -> Result<Created, Error> {
        self.wait(self.0.create(path, data, options))
    }

    /// See [`crate::Client::delete`].
    ///
    /// # Errors
    /// Those of [`crate::Client::delete`].
    pub fn delete(&self, path: &str, version: Version) -> Result<(), Error> {
        self.wait(self.0.delete(path, version))
    }

    /// See [`crate::Client::exists`].
    ///
    /// # Errors
    /// Those of [`crate::Client::exists`].
    pub fn exists(&self, path: &str) -> Result<Option<Stat>, Error> {
        self.wait(self.0.exists(path))
    }

    /// See [`crate::Client::get_data`].
    ///
    /// # Errors
    /// Those of [`crate::Client::get_data`].
    pub fn get_data(&self, path: &str) -> Result<(Bytes, Stat), Error> {
        self.wait(self.0.get_data(path))
    }

    /// See [`crate::Client::set_data`].
    ///
    /// # Errors
    /// Those of [`crate::Client::set_data`].
    pub fn set_data(&self, path: &str, data: impl AsRef<[u8]>, version: Version) -> Result<Stat, Error> {
        self.wait(self.0.set_data(path, data, version))
    }

    /// See [`crate::Client::children`].
    ///
    /// # Errors
    /// Those of [`crate::Client::children`].
    pub fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        self.wait(self.0.children(path))
    }

    /// See [`crate::Client::sync`].
    ///
    /// # Errors
    /// Those of [`crate::Client::sync`].
    pub fn sync(&self, path: &str) -> Result<(), Error> {
        self.wait(self.0.sync(path))
    }

    /// See [`crate::Client::get_data_and_watch`].
    ///
    /// # Errors
    /// Those of [`crate::Client::get_data_and_watch`].
    pub fn get_data_and_watch(&self, path: &str) -> Result<(Bytes, Stat, Watch), Error> {
        let (data, stat, watch) = self.wait(self.0.get_data_and_watch(path))?;
        Ok((data, stat, Watch(watch)))
    }

    /// See [`crate::Client::exists_and_watch`].
    ///
    /// # Errors
    /// Those of [`crate::Client::exists_and_watch`].
    pub fn exists_and_watch(&self, path: &str) -> Result<(Option<Stat>, Watch), Error> {
        let (stat, watch) = self.wait(self.0.exists_and_watch(path))?;
        Ok((stat, Watch(watch)))
    }

    /// See [`crate::Client::children_and_watch`].
    ///
    /// # Errors
    /// Those of [`crate::Client::children_and_watch`].
    pub fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, Stat, Watch), Error> {
        let (names, stat, watch) = self.wait(self.0.children_and_watch(path))?;
        Ok((names, stat, Watch(watch)))
    }

    /// See [`crate::Client::watch`].
    ///
    /// # Errors
    /// Those of [`crate::Client::watch`].
    pub fn watch(&self, path: &str, mode: AddWatchMode) -> Result<Events, Error> {
        self.wait(self.0.watch(path, mode)).map(Events)
    }

    /// See [`crate::Client::auth`].
    ///
    /// # Errors
    /// Those of [`crate::Client::auth`].
    pub fn auth(&self, scheme: &str, auth: impl AsRef<[u8]>) -> Result<(), Error> {
        self.wait(self.0.auth(scheme, auth))
    }

    /// See [`crate::Client::close`].
    ///
    /// # Errors
    /// Those of [`crate::Client::close`].
    pub fn close(&self) -> Result<(), Error> {
        self.wait(self.0.close())
    }
}

/// One change that is waited for; see [`OneshotWatch`].
#[derive(Debug)]
#[must_use = "a watch that is dropped is removed"]
pub struct Watch(OneshotWatch);

impl Watch {
    /// Waits for the change.
    ///
    /// # Errors
    /// The session ended first.
    pub fn wait(self) -> Result<WatchedEvent, Error> {
        runtime()?.block_on(self.0)
    }

    /// Waits for the change, but not longer than this: `Ok(None)` then, and the watch stays.
    ///
    /// # Errors
    /// The session ended first.
    pub fn wait_for(&mut self, within: Duration) -> Result<Option<WatchedEvent>, Error> {
        let waited = runtime()?.block_on(async { tokio::time::timeout(within, &mut self.0).await });
        waited.map_or(Ok(None), |event| event.map(Some))
    }
}

/// Changes as they come, as an iterator; see [`WatchStream`].
#[derive(Debug)]
#[must_use = "a watch that is dropped is removed"]
pub struct Events(WatchStream);

impl Iterator for Events {
    type Item = WatchItem;

    fn next(&mut self) -> Option<WatchItem> {
        runtime().ok()?.block_on(self.0.next())
    }
}
