//! Our own library, as its documentation shows it.

use gk_client::{Client, CreateMode, Error, OneshotWatch, Version};

use crate::answered;
use crate::library::{Library, SESSION_TIMEOUT};

impl Library for Client {
    type Watch = OneshotWatch;
    type Error = Error;

    async fn open(servers: &str) -> Result<Self, Error> {
        Client::builder().session_timeout(SESSION_TIMEOUT).connect(servers).await
    }

    async fn end(self) {
        answered("close", self.close().await);
    }

    async fn make(&self, path: &str, data: &[u8]) -> Result<(), Error> {
        self.create(path, data, CreateMode::Persistent).await?;
        Ok(())
    }

    async fn is_there(&self, path: &str) -> Result<bool, Error> {
        Ok(self.exists(path).await?.is_some())
    }

    async fn read(&self, path: &str) -> Result<usize, Error> {
        let (data, _stat) = self.get_data(path).await?;
        Ok(data.len())
    }

    async fn write(&self, path: &str, data: &[u8]) -> Result<i32, Error> {
        Ok(self.set_data(path, data, Version::Any).await?.version)
    }

    async fn watch(&self, path: &str) -> Result<OneshotWatch, Error> {
        let (_data, _stat, watch) = self.get_data_and_watch(path).await?;
        Ok(watch)
    }
}
