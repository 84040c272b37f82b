//! zookeeper-client 0.11 (kezhuw/zookeeper-client-rust), as its documentation shows it.

use zookeeper_client::{Acls, Client, CreateMode, Error, OneshotWatcher, SessionState};

use crate::library::{Library, SESSION_TIMEOUT};

impl Library for Client {
    type Watch = OneshotWatcher;
    type Error = Error;

    async fn open(servers: &str) -> Result<Self, Error> {
        Client::connector().with_session_timeout(SESSION_TIMEOUT).connect(servers).await
    }

    async fn end(self) {
        // The session ends with the last clone of its client; the watcher outlives it.
        let mut states = self.state_watcher();
        drop(self);
        while states.changed().await != SessionState::Closed {}
    }

    async fn make(&self, path: &str, data: &[u8]) -> Result<(), Error> {
        self.create(path, data, &CreateMode::Persistent.with_acls(Acls::anyone_all())).await?;
        Ok(())
    }

    async fn is_there(&self, path: &str) -> Result<bool, Error> {
        Ok(self.check_stat(path).await?.is_some())
    }

    async fn read(&self, path: &str) -> Result<usize, Error> {
        let (data, _stat) = self.get_data(path).await?;
        Ok(data.len())
    }

    async fn write(&self, path: &str, data: &[u8]) -> Result<i32, Error> {
        Ok(self.set_data(path, data, None).await?.version)
    }

    async fn watch(&self, path: &str) -> Result<OneshotWatcher, Error> {
        let (_data, _stat, watch) = self.get_and_watch_data(path).await?;
        Ok(watch)
    }
}
