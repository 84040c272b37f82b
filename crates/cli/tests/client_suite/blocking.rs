//! The client without async.

use gk_client::blocking::Client;
use gk_client::{AddWatchMode, CreateMode, EventType, Version, WatchItem};

use crate::suite::{Suite, cases};
use crate::wait::within;

cases! {
    Any a_program_without_async_does_the_same,
}

async fn a_program_without_async_does_the_same(suite: &Suite) {
    let space = suite.space().await;
    let program = tokio::task::spawn_blocking(move || {
        let client = Client::connect(&space).unwrap();
        client.create("/a", b"1", CreateMode::Persistent).unwrap();
        let (data, stat, changed) = client.get_data_and_watch("/a").unwrap();
        assert_eq!((&data[..], stat.version), (&b"1"[..], 0), "read");
        let mut stream = client.watch("/", AddWatchMode::PersistentRecursive).unwrap();
        client.set_data("/a", b"2", Version::Exactly(0)).unwrap();
        assert_eq!(changed.wait().unwrap().kind, EventType::NodeDataChanged, "one-shot");
        let Some(WatchItem::Event(event)) = stream.next() else { panic!("no event") };
        assert_eq!(event.path, "/a", "stream");
        client.wait(client.client().make_path("/b/c")).unwrap();
        assert_eq!(client.children("/b").unwrap(), ["c"], "what the async client made");
        assert!(client.delete("/b", Version::Any).is_err(), "errors come back");
        client.close().unwrap();
    });
    within("the program", program).await.unwrap();
}
