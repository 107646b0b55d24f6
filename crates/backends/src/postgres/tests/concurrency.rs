//! What only a database does on which many write at once.

use detektor_contract::{Clock, EventChange, Gap, GapCause, TimeUs};

use super::*;
use crate::conformance::samples::{at, camera, changing, event, result, update};
use crate::store::{CameraUpdate, Feed, FeedPosition, MergeTx};

async fn begun(base: &Base, name: &str) -> Box<dyn MergeTx> {
    let camera = camera(name);
    let mut merge = base.open().store().begin_merge(std::slice::from_ref(&camera)).await.unwrap();
    let opened = vec![EventChange::Opened(event(&camera, at(1, 0)))];
    merge.put(&result(&camera, at(1, 0))).await.unwrap();
    merge.update(changing(&camera, at(1, 0), opened), true).await.unwrap();
    merge
}

async fn told(base: &Base, after: &mut FeedPosition) -> Vec<String> {
    let Feed::Entries(entries) = base.open().store().feed(*after, 10).await.unwrap() else { panic!("reset") };
    *after = entries.last().map_or(*after, |entry| entry.at);
    entries.iter().map(|entry| entry.change.event().camera.to_string()).collect()
}

#[tokio::test]
async fn who_commits_later_is_told_later_and_holds_nobody_up() {
    let base = Base::fresh().await;
    let mut cursor = base.open().store().feed_head().await.unwrap();
    let slow = begun(&base, "slow").await;
    begun(&base, "fast").await.commit().await.unwrap();
    assert_eq!(told(&base, &mut cursor).await, ["fast"]);
    slow.commit().await.unwrap();
    assert_eq!(told(&base, &mut cursor).await, ["slow"]);
    assert!(told(&base, &mut cursor).await.is_empty());
}

#[tokio::test]
async fn a_failed_transaction_is_not_committed_in_silence() {
    let base = Base::fresh().await;
    let gate = camera("gate");
    let mut merge = begun(&base, "gate").await;
    let (from, until) = (TimeUs(0), None);
    let gap = (at(1, 0), Gap { from, until, clock: Clock::Unix, cause: GapCause::Unattended });
    let twice = CameraUpdate { gaps: vec![gap, gap], ..update(&gate, at(1, 0)) };
    assert!(merge.update(twice, true).await.is_err());
    assert!(merge.commit().await.is_err());
    assert!(base.open().store().cameras().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cut_connection_is_passing_trouble() {
    use detektor_contract::{Fault, Faulty as _};
    let base = Base::fresh().await;
    let gate = camera("gate");
    let mut merge = begun(&base, "gate").await;
    base.cut().await;
    let error = merge.put(&result(&gate, at(1, 1))).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Transient, "{error}");
    drop(merge);
    // Each try uses up one connection that is cut.
    let mut tries = 0;
    while let Err(error) = base.open().store().ping().await {
        assert_eq!(error.fault(), Fault::Transient, "{error}");
        tries += 1;
        assert!(tries <= base.options.connections, "{error}");
    }
    begun(&base, "gate").await.commit().await.unwrap();
}

#[tokio::test]
async fn a_merge_that_is_gone_without_a_word_holds_its_cameras_for_half_a_minute_at_most() {
    use std::time::Duration;
    let base = Base::fresh().await;
    let port = base.server.port();
    let wire = crate::servers::Wire::to(port).await;
    let url = base.options.url.replace(&format!(":{port}/"), &format!(":{}/", wire.port()));
    let far = Postgres::open(&PostgresOptions { url, ..base.options.clone() }).await.unwrap();
    let gate = camera("gate");
    begun(&base, "gate").await.commit().await.unwrap();
    let mut held = far.store().begin_merge(std::slice::from_ref(&gate)).await.unwrap();
    wire.lose();
    let next = async {
        // What waits for its locks gives up in its turn, and tries again.
        while base.open().store().begin_merge(std::slice::from_ref(&gate)).await.is_err() {}
    };
    let none = async { assert!(held.put(&result(&gate, at(1, 1))).await.is_err(), "nobody answers") };
    let both = async { tokio::join!(next, none) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("within half a minute");
    // The lost connections are found out, and new ones made.
    tokio::time::timeout(Duration::from_secs(30), async { while far.store().ping().await.is_err() {} }).await.unwrap();
}

#[tokio::test]
async fn a_reindex_waits_for_merges_and_they_for_it() {
    let base = Base::fresh().await;
    let merge = begun(&base, "gate").await;
    let store = base.open().store();
    let mut reindex = tokio::spawn(async move { store.begin_reindex().await });
    let early = tokio::time::timeout(Duration::from_millis(150), &mut reindex).await;
    assert!(early.is_err(), "it did not wait");
    merge.commit().await.unwrap();
    reindex.await.unwrap().unwrap();
    assert!(base.open().store().outcomes(&camera("gate"), at(0, 0), 9).await.unwrap().is_empty());
}
