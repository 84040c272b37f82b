//! Several operations as one.

use gk_client::{CreateMode, Error, ErrorCode, MultiResult, ReadResult, Version};

use crate::suite::{Suite, cases};

cases! {
    Any a_multi_takes_effect_as_a_whole,
    Any a_multi_of_which_one_fails_has_no_effect_and_says_which,
    Any a_multi_may_be_empty,
    Any several_reads_are_answered_one_by_one,
}

async fn a_multi_takes_effect_as_a_whole(suite: &Suite) {
    let client = suite.client().await;
    client.create("/old", b"", CreateMode::Persistent).await.unwrap();
    let results = client
        .multi()
        .check("/old", Version::Exactly(0))
        .create("/new", b"data", CreateMode::Persistent)
        .create("/new/seq-", b"", CreateMode::EphemeralSequential)
        .set_data("/new", b"other", Version::Exactly(0))
        .delete("/old", Version::Any)
        .commit()
        .await
        .unwrap();
    assert_eq!(results.len(), 5, "{results:?}");
    assert!(matches!(results[0], MultiResult::Checked), "{results:?}");
    assert!(matches!(&results[1], MultiResult::Created(created) if created.path == "/new"), "{results:?}");
    assert!(
        matches!(&results[2], MultiResult::Created(created) if created.path == "/new/seq-0000000000"),
        "{results:?}"
    );
    assert!(matches!(&results[3], MultiResult::Changed(stat) if stat.version == 1), "{results:?}");
    assert!(matches!(results[4], MultiResult::Deleted), "{results:?}");
    let (data, stat) = client.get_data("/new").await.unwrap();
    assert_eq!((&data[..], stat.czxid), (&b"other"[..], stat.mzxid), "one txn");
    assert_eq!(client.exists("/old").await.unwrap(), None, "deleted");
}

async fn a_multi_of_which_one_fails_has_no_effect_and_says_which(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let error = client
        .multi()
        .set_data("/a", b"changed", Version::Any)
        .delete("/none", Version::Any)
        .create("/b", b"", CreateMode::Persistent)
        .commit()
        .await
        .unwrap_err();
    let expected = Error::Multi { index: 1, code: ErrorCode::NoNode, path: "/none".to_owned() };
    assert_eq!(error, expected, "the second of three");
    assert_eq!(error.code(), Some(ErrorCode::NoNode), "{error:?}");
    assert_eq!(client.get_data("/a").await.unwrap().1.version, 0, "unchanged");
    assert_eq!(client.exists("/b").await.unwrap(), None, "not created");
}

async fn a_multi_may_be_empty(suite: &Suite) {
    let client = suite.client().await;
    assert_eq!(client.multi().commit().await.unwrap().len(), 0, "nothing done");
}

async fn several_reads_are_answered_one_by_one(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"data", CreateMode::Persistent).await.unwrap();
    let results = client.multi_read().get_data("/a").get_data("/none").children("/").send().await.unwrap();
    assert!(matches!(&results[0], ReadResult::Data(data, _stat) if data[..] == *b"data"), "{results:?}");
    let missing = Error::Server { code: ErrorCode::NoNode, path: "/none".to_owned() };
    assert_eq!(results[1], ReadResult::Failed(missing), "each fails by itself");
    assert!(matches!(&results[2], ReadResult::Children(names) if *names == ["a"]), "{results:?}");
}
