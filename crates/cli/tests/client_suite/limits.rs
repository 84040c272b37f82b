//! Large things.

use gk_client::{AddWatchMode, Client, CreateMode, Error, EventType, Version, WatchItem};

use crate::suite::{Suite, cases};
use crate::wait::{until, within};
use crate::watches::next;

cases! {
    Any data_of_nearly_a_megabyte_comes_back_as_it_was,
    Any a_request_larger_than_a_server_takes_harms_no_other,
    Any a_list_of_many_children_is_complete,
    Any thousands_of_requests_may_be_in_flight,
    Any more_requests_than_allowed_are_refused_and_the_others_answered,
    Any a_stream_that_is_not_read_drops_events_and_says_so,
}

/// ZooKeeper's default `jute.maxbuffer`: the largest request that a server reads.
const FRAME_MAX: usize = 0xf_ffff;

async fn data_of_nearly_a_megabyte_comes_back_as_it_was(suite: &Suite) {
    let client = suite.client().await;
    let data: Vec<u8> = (0..=250_u8).cycle().take(FRAME_MAX - 1_000).collect();
    client.create("/large", &data[..], CreateMode::Persistent).await.unwrap();
    assert!(client.get_data("/large").await.unwrap().0 == data, "the same bytes");
    let stat = client.set_data("/large", &data[1..], Version::Any).await.unwrap();
    assert_eq!(usize::try_from(stat.data_length).unwrap(), data.len() - 1, "set");
}

async fn a_request_larger_than_a_server_takes_harms_no_other(suite: &Suite) {
    let client = suite.client().await;
    let before = client.create("/before", b"", CreateMode::Persistent);
    let too_large = client.create("/large", vec![7; FRAME_MAX + 1_000], CreateMode::Persistent);
    let after = client.exists("/before");
    before.await.unwrap();
    let error = within("an answer", too_large).await.unwrap_err();
    assert!(matches!(error, Error::BadArgument { .. }), "{error:?}");
    assert!(within("the next request", after).await.unwrap().is_some(), "after");
}

async fn a_list_of_many_children_is_complete(suite: &Suite) {
    const CHILDREN: usize = 20_000;
    let space = suite.space().await;
    let client = Client::connect(&space).await.unwrap();
    client.create("/p", b"", CreateMode::Persistent).await.unwrap();
    let mut names: Vec<String> = (0..CHILDREN).map(|number| format!("child-with-some-name-{number:06}")).collect();
    let created: Vec<_> =
        names.iter().map(|name| client.create(&format!("/p/{name}"), b"", CreateMode::Persistent)).collect();
    for created in created {
        created.await.unwrap();
    }
    let (mut children, stat) = within("the list", client.children_stat("/p")).await.unwrap();
    assert_eq!(usize::try_from(stat.num_children).unwrap(), CHILDREN, "counted");
    children.sort();
    names.sort();
    assert!(children == names, "each once");
}

async fn thousands_of_requests_may_be_in_flight(suite: &Suite) {
    let client = suite.client().await;
    client.create("/n", b"", CreateMode::Persistent).await.unwrap();
    let reads: Vec<_> = (0..5_000).map(|_| client.get_data("/n")).collect();
    for read in reads {
        within("a read", read).await.unwrap();
    }
}

async fn more_requests_than_allowed_are_refused_and_the_others_answered(suite: &Suite) {
    const ALLOWED: usize = 10;
    let client = Client::builder().requests_max(ALLOWED).connect(&suite.space().await).await.unwrap();
    client.create("/n", b"", CreateMode::Persistent).await.unwrap();
    let reads: Vec<_> = (0..ALLOWED + 5).map(|_| client.get_data("/n")).collect();
    for (number, read) in reads.into_iter().enumerate() {
        match within("a read", read).await {
            Ok(_) => assert!(number < ALLOWED, "read {number} is one too many"),
            Err(error) => {
                assert!(number >= ALLOWED && error == Error::TooManyRequests, "read {number}: {error:?}");
                assert!(error.is_repeatable(), "{error:?}");
            }
        }
    }
    client.get_data("/n").await.expect("there is room again");
}

async fn a_stream_that_is_not_read_drops_events_and_says_so(suite: &Suite) {
    const KEPT: usize = 10;
    let client = Client::builder().watch_events_max(KEPT).connect(&suite.space().await).await.unwrap();
    let mut stream = client.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    for number in 0..KEPT * 3 {
        client.create(&format!("/{number}"), b"", CreateMode::Persistent).await.unwrap();
    }
    for number in 0..KEPT {
        assert_eq!(next(&mut stream).await, (EventType::NodeCreated, format!("/{number}")), "what it had room for");
    }
    assert_eq!(within("the gap", stream.next()).await, Some(WatchItem::Missed), "then it says so");
    client.create("/after", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(next(&mut stream).await, (EventType::NodeCreated, "/after".to_owned()), "and goes on");
    until("counted", async || client.counters().watch_events_dropped == u64::try_from(KEPT * 2).unwrap()).await;
}
