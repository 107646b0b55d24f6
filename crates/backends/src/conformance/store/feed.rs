//! The feed of changes, and reindexing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use detektor_contract::{Digest, Epoch, EventChange};

use super::{begin, merge};
use crate::conformance::samples::{at, camera, changing, closed, event, longer, result};
use crate::conformance::{Bench, soon};
use crate::store::{EpochRequest, EventFilter, EventStore, Feed, FeedEntry, FeedPosition, Order};

async fn entries(store: &Arc<dyn EventStore>, after: FeedPosition, limit: u32) -> Vec<FeedEntry> {
    match store.feed(after, limit).await.unwrap() {
        Feed::Entries(entries) => entries,
        Feed::Reset(to) => panic!("reset to {to:?}"),
    }
}

fn beginning(head: FeedPosition) -> FeedPosition {
    FeedPosition { position: 0, ..head }
}

pub async fn the_feed_tells_every_change_in_order(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let start = store.feed_head().await.unwrap();
    assert_eq!(start.position, 0);
    assert!(entries(&store, start, 10).await.is_empty());
    let (opened, other) = (event(&gate, at(1, 0)), event(&gate, at(1, 1)));
    let told = [
        EventChange::Opened(opened.clone()),
        EventChange::Opened(other.clone()),
        EventChange::Closed(closed(&longer(&opened))),
        EventChange::Withdrawn(other),
    ];
    let mut changes = told.to_vec();
    changes.insert(2, EventChange::Continued(longer(&opened)));
    merge(&store, &[], changing(&gate, at(1, 1), changes), true).await;
    let all = entries(&store, start, 10).await;
    assert_eq!(all.iter().map(|e| e.change.clone()).collect::<Vec<_>>(), told);
    assert_eq!(all.iter().map(|e| e.revision).collect::<Vec<_>>(), [1, 1, 2, 2]);
    assert!(all.windows(2).all(|pair| pair[0].at < pair[1].at));
    assert_eq!(all.last().map(|e| e.at), Some(store.feed_head().await.unwrap()));
    assert_eq!(entries(&store, all[0].at, 2).await, all[1..3]);
}

pub async fn the_feed_resumes_without_a_gap_under_writers(bench: &mut impl Bench<dyn EventStore>) {
    const WRITERS: u64 = 4;
    const EVENTS: u64 = 15;
    let store = bench.backend();
    let start = store.feed_head().await.unwrap();
    let writers = (0..WRITERS).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let name = camera(&format!("c{n}"));
            for sequence in 0..EVENTS {
                let opened = EventChange::Opened(event(&name, at(1, sequence)));
                if sequence % 5 == 4 {
                    // One that comes to nothing may leave a hole in the positions, and must not hold anybody up.
                    let mut dropped = begin(&store, &name).await;
                    dropped.update(changing(&name, at(1, sequence), vec![opened.clone()]), true).await.unwrap();
                    drop(dropped);
                }
                merge(&store, &[], changing(&name, at(1, sequence), vec![opened]), true).await;
            }
        })
    });
    let writers = futures::future::join_all(writers);
    let reading = async {
        let (mut cursor, mut seen) = (start, Vec::new());
        while seen.len() < (WRITERS * EVENTS) as usize {
            let some = entries(&store, cursor, 3).await;
            match some.last() {
                Some(last) => cursor = last.at,
                None => store.feed_changed().await.unwrap(),
            }
            seen.extend(some);
        }
        seen
    };
    let (written, seen) = soon(futures::future::join(writers, reading)).await;
    assert!(written.into_iter().all(|w| w.is_ok()));
    assert!(seen.windows(2).all(|pair| pair[0].at < pair[1].at));
    assert_eq!(seen, entries(&store, start, 1_000).await, "a reader that came later sees the same");
    let mut ids: Vec<_> = seen.iter().map(|e| e.change.event().id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), (WRITERS * EVENTS) as usize);
}

pub async fn the_feed_wakes_who_waits(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    // With nothing new it returns all the same, in about a second.
    store.feed_changed().await.unwrap();
    let waited = Instant::now();
    store.feed_changed().await.unwrap();
    assert!(waited.elapsed() < Duration::from_secs(5));
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.feed_changed().await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    merge(&store, &[], changing(&gate, at(1, 0), vec![EventChange::Opened(event(&gate, at(1, 0)))]), true).await;
    soon(waiting).await.unwrap();
    assert_eq!(store.feed_head().await.unwrap().position, 1);
}

pub async fn the_feed_resets_who_comes_from_elsewhere(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    merge(&store, &[], changing(&gate, at(1, 0), vec![EventChange::Opened(event(&gate, at(1, 0)))]), true).await;
    let head = store.feed_head().await.unwrap();
    let strangers = [
        FeedPosition::default(),
        FeedPosition { generation: head.generation + 1, position: 0 },
        FeedPosition { position: head.position + 1, ..head },
        FeedPosition { generation: u64::MAX, position: u64::MAX },
    ];
    for stranger in strangers {
        assert_eq!(store.feed(stranger, 10).await.unwrap(), Feed::Reset(head));
    }
    store.begin_reindex().await.unwrap();
    let anew = store.feed_head().await.unwrap();
    assert!(anew.generation > head.generation);
    assert_eq!(store.feed(head, 10).await.unwrap(), Feed::Reset(anew));
    assert_eq!(store.feed(beginning(head), 10).await.unwrap(), Feed::Reset(anew));
    assert!(entries(&store, anew, 10).await.is_empty());
}

pub async fn a_reindex_keeps_revisions_and_tells_nothing(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let opened = event(&gate, at(1, 0));
    let (over, late) = (closed(&longer(&opened)), event(&gate, at(1, 1)));
    let told = vec![
        EventChange::Opened(opened.clone()),
        EventChange::Revised(longer(&opened)),
        EventChange::Closed(over.clone()),
        EventChange::Opened(late.clone()),
        EventChange::Withdrawn(late),
    ];
    merge(&store, &[result(&gate, at(1, 0))], changing(&gate, at(1, 0), told), true).await;
    let list = async || store.events(&EventFilter::default(), Order::Ascending, None, 10).await.unwrap();
    let before = list().await;
    assert_eq!(before.iter().map(|e| e.revision).collect::<Vec<_>>(), [3]);
    store.begin_reindex().await.unwrap();
    assert!(list().await.is_empty());
    assert!(store.outcomes(&gate, at(0, 0), 9).await.unwrap().is_empty());
    assert_eq!(store.frontier(&gate).await.unwrap(), None);
    // The fold over the same outcomes, now all in order, gets there with fewer changes.
    let again = vec![EventChange::Opened(opened.clone()), EventChange::Closed(over.clone())];
    merge(&store, &[result(&gate, at(1, 0))], changing(&gate, at(1, 0), again.clone()), false).await;
    assert_eq!(list().await, before);
    assert_eq!(store.feed_head().await.unwrap().position, 0);
    // And whoever changes it then goes on above what readers know.
    merge(&store, &[], changing(&gate, at(1, 0), vec![EventChange::Revised(longer(&over))]), true).await;
    assert_eq!(list().await[0].revision, 4);
    // A store that never knew the events counts the changes of the fold.
    let other = camera("other");
    let fresh = event(&other, at(1, 0));
    let changes = vec![
        EventChange::Opened(fresh.clone()),
        EventChange::Continued(longer(&fresh)),
        EventChange::Closed(closed(&fresh)),
    ];
    merge(&store, &[], changing(&other, at(1, 0), changes), false).await;
    assert_eq!(store.event(&fresh.id).await.unwrap().map(|e| e.revision), Some(2));
}

pub async fn a_reindex_keeps_cameras_and_epochs(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    store.register_camera(&gate, "file:a").await.unwrap();
    let request = |content: &[u8]| EpochRequest::Replayable { content: Digest::of(content), pass: 0 };
    store.begin_epoch(&gate, request(b"x")).await.unwrap();
    assert_eq!(store.begin_epoch(&gate, request(b"y")).await.unwrap(), Epoch(2));
    store.set_published(&gate, Epoch(2), 9).await.unwrap();
    merge(&store, &[result(&gate, at(2, 0))], crate::conformance::samples::update(&gate, at(2, 0)), true).await;
    store.begin_reindex().await.unwrap();
    assert_eq!(store.begin_epoch(&gate, request(b"y")).await.unwrap(), Epoch(2));
    assert_eq!(store.published(&gate, Epoch(2)).await.unwrap(), 9);
    let cameras = store.cameras().await.unwrap();
    assert_eq!((cameras[0].url.as_str(), cameras[0].ledger.captured), ("file:a", 0));
    assert!(store.waiting_cameras(i64::MAX, i64::MAX).await.unwrap().is_empty());
    let mut merge = begin(&store, &gate).await;
    assert_eq!(merge.head(&gate).await.unwrap(), None);
}
