//! Merge transactions and checkpoints.

use std::time::Duration;

use detektor_contract::{CameraId, Clock, EventChange, Gap, GapCause, Position, TimeUs};

use super::{begin, merge};
use crate::conformance::samples::{SECOND, at, camera, changing, event, result, update};
use crate::conformance::{Bench, not_yet, soon};
use crate::store::{CameraUpdate, EventStore, MergeTx, Put, Waiting};

pub async fn a_merge_saves_a_cameras_state(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let mut first = begin(&store, &gate).await;
    assert_eq!(first.head(&gate).await.unwrap(), None);
    assert_eq!(first.waiting(&gate).await.unwrap(), None);
    first.commit().await.unwrap();
    assert_eq!(store.frontier(&gate).await.unwrap(), None);
    let state = CameraUpdate { waiting: Some(Waiting { since: 77, until: at(4, 5) }), ..update(&gate, at(3, 4)) };
    merge(&store, &[], state.clone(), true).await;
    let mut second = begin(&store, &gate).await;
    assert_eq!(second.head(&gate).await.unwrap(), Some(state.head.clone()));
    assert_eq!(second.waiting(&gate).await.unwrap(), Some(Waiting { since: 77, until: at(4, 5) }));
    assert_eq!(second.frontier(&gate).await.unwrap(), Some(at(3, 4)));
    assert_eq!(second.frontier(&camera("other")).await.unwrap(), None);
    drop(second);
    assert_eq!(store.frontier(&gate).await.unwrap(), Some(at(3, 4)));
    assert_eq!(store.frontier(&camera("other")).await.unwrap(), None);
    let info = store.cameras().await.unwrap().remove(0);
    assert_eq!((info.ledger, info.merged_until), (state.ledger, state.merged_until));
    merge(&store, &[], CameraUpdate { frontier: None, merged_until: None, ..update(&gate, at(0, 0)) }, true).await;
    assert_eq!(store.frontier(&gate).await.unwrap(), None);
    assert_eq!(store.cameras().await.unwrap()[0].merged_until, None);
}

pub async fn a_dropped_transaction_leaves_no_trace(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let head = store.feed_head().await.unwrap();
    let mut dropped = begin(&store, &gate).await;
    dropped.put(&result(&gate, at(1, 0))).await.unwrap();
    let mut changes = changing(&gate, at(1, 0), vec![EventChange::Opened(event(&gate, at(1, 0)))]);
    changes.checkpoints = vec![(at(1, 0), vec![1])];
    dropped.update(changes, true).await.unwrap();
    drop(dropped);
    assert!(store.cameras().await.unwrap().is_empty());
    assert!(store.outcomes(&gate, at(0, 0), 9).await.unwrap().is_empty());
    assert_eq!(store.event(&event(&gate, at(1, 0)).id).await.unwrap(), None);
    assert_eq!(store.feed_head().await.unwrap(), head);
    let mut after = soon(begin(&store, &gate)).await;
    assert_eq!(after.head(&gate).await.unwrap(), None);
    assert_eq!(after.checkpoint_before(&gate, at(9, 0)).await.unwrap(), None);
}

pub async fn a_committed_transaction_survives_a_crash(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let opened = EventChange::Opened(event(&gate, at(1, 0)));
    merge(&store, &[result(&gate, at(1, 0))], changing(&gate, at(1, 0), vec![opened]), true).await;
    let head = store.feed_head().await.unwrap();
    // One is in the middle when it happens.
    let mut torn = begin(&store, &gate).await;
    torn.put(&result(&gate, at(1, 1))).await.unwrap();
    torn.update(update(&gate, at(1, 1)), true).await.unwrap();
    drop(torn);
    drop(store);
    bench.crash().await;
    let store = bench.backend();
    assert_eq!(store.outcomes(&gate, at(0, 0), 9).await.unwrap(), [result(&gate, at(1, 0))]);
    assert_eq!(store.event(&event(&gate, at(1, 0)).id).await.unwrap().unwrap().event, event(&gate, at(1, 0)));
    assert_eq!((store.frontier(&gate).await.unwrap(), store.feed_head().await.unwrap()), (Some(at(1, 0)), head));
}

pub async fn gaps_are_forgotten_by_a_refold(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let gap = |from: i64, until: Option<i64>| {
        let (from, until) = (TimeUs(from * SECOND), until.map(|until| TimeUs(until * SECOND)));
        Gap { from, until, clock: Clock::Unix, cause: GapCause::Unattended }
    };
    let told = |frontier, gaps: &[_]| CameraUpdate { gaps: gaps.to_vec(), ..update(&gate, frontier) };
    let first = [(at(1, 2), gap(2, None)), (at(1, 3), gap(2, Some(3))), (at(2, 0), gap(7, Some(9)))];
    merge(&store, &[], told(at(2, 0), &first), true).await;
    let read = async |before, limit| store.gaps(&gate, before, limit).await.unwrap();
    assert_eq!(read(None, 9).await, [first[2], first[1], first[0]]);
    assert_eq!(read(Some(at(2, 0)), 1).await, [first[1]]);
    assert!(store.gaps(&camera("other"), None, 9).await.unwrap().is_empty());

    let again = (at(2, 0), gap(8, Some(9)));
    let refold = CameraUpdate { refolded_from: Some(Some(at(1, 2))), ..told(at(2, 0), &[again]) };
    merge(&store, &[], refold, true).await;
    assert_eq!(read(None, 9).await, [again, first[0]]);
    merge(&store, &[], CameraUpdate { refolded_from: Some(None), ..told(at(2, 0), &[]) }, true).await;
    assert!(read(None, 9).await.is_empty());
}

async fn count(merge: &mut Box<dyn MergeTx>, camera: &CameraId) {
    let head = merge.head(camera).await.unwrap().unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let grown = [&head[..], &[0]].concat();
    merge.update(CameraUpdate { head: grown, ..update(camera, at(1, 0)) }, true).await.unwrap();
}

pub async fn merges_of_one_camera_take_turns(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let tasks = (0..4).map(|_| {
        let (store, gate) = (store.clone(), gate.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let mut merge = begin(&store, &gate).await;
                count(&mut merge, &gate).await;
                merge.commit().await.unwrap();
            }
        })
    });
    soon(futures::future::try_join_all(tasks)).await.unwrap();
    let mut merge = begin(&store, &gate).await;
    assert_eq!(merge.head(&gate).await.unwrap().unwrap().len(), 40, "an update was lost");
    // And a second one waits for the first.
    let overlapping = [gate.clone(), camera("other")];
    assert!(not_yet(store.begin_merge(&overlapping)).await);
}

pub async fn merges_in_opposite_order_do_not_block_each_other(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let cameras = [camera("a"), camera("b"), camera("c")];
    let tasks = [vec![0, 1], vec![1, 0], vec![2, 1, 0], vec![0, 2], vec![1, 1]].map(|order| {
        let store = store.clone();
        let of: Vec<CameraId> = order.iter().map(|n| cameras[*n].clone()).collect();
        tokio::spawn(async move {
            for _ in 0..6 {
                let mut merge = store.begin_merge(&of).await.unwrap();
                for camera in &of {
                    count(&mut merge, camera).await;
                }
                merge.commit().await.unwrap();
            }
        })
    });
    soon(futures::future::try_join_all(tasks)).await.unwrap();
    let mut merge = store.begin_merge(&cameras).await.unwrap();
    for (camera, times) in cameras.iter().zip([4 * 6, 5 * 6, 2 * 6]) {
        assert_eq!(merge.head(camera).await.unwrap().unwrap().len(), times);
    }
}

pub async fn mergers_of_the_same_outcomes_agree(bench: &mut impl Bench<dyn EventStore>) {
    const EACH: u64 = 12;
    let store = bench.backend();
    let gate = camera("gate");
    // A delivery that was taken back is merged by two: one puts from the front, one from the back, with another result.
    let mergers = [false, true].map(|back| {
        let (store, gate) = (store.clone(), gate.clone());
        tokio::spawn(async move {
            let mut new = 0;
            for n in 0..EACH {
                let sequence = if back { EACH - 1 - n } else { n };
                let mut outcome = result(&gate, at(1, sequence));
                outcome.generation = u32::from(back);
                let mut merge = begin(&store, &gate).await;
                new += u64::from(merge.put(&outcome).await.unwrap() == Put::New);
                tokio::task::yield_now().await;
                merge.commit().await.unwrap();
            }
            new
        })
    });
    let new: u64 = soon(futures::future::try_join_all(mergers)).await.unwrap().into_iter().sum();
    assert_eq!(new, EACH, "each place was new once");
    let stored = store.outcomes(&gate, at(0, 0), 100).await.unwrap();
    assert_eq!(stored.len() as u64, EACH);
    assert!(stored.iter().all(|outcome| outcome.generation == 1), "the winners do not depend on who came first");
}

pub async fn mergers_of_different_cameras_lose_nothing(bench: &mut impl Bench<dyn EventStore>) {
    const EACH: u64 = 10;
    let store = bench.backend();
    let names: Vec<CameraId> = (0..4).map(|n| camera(&format!("c{n}"))).collect();
    let mergers = names.iter().cloned().map(|name| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let opened = vec![EventChange::Opened(event(&name, at(1, n)))];
                merge(&store, &[result(&name, at(1, n))], changing(&name, at(1, n), opened), true).await;
            }
        })
    });
    soon(futures::future::try_join_all(mergers)).await.unwrap();
    for name in &names {
        assert_eq!(store.outcomes(name, at(0, 0), 100).await.unwrap().len() as u64, EACH);
        assert_eq!(store.frontier(name).await.unwrap(), Some(at(1, EACH - 1)));
    }
    assert_eq!(store.feed_head().await.unwrap().position, EACH * names.len() as u64);
}

pub async fn cameras_that_wait_are_listed(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    for (name, since) in [("a", Some(50)), ("b", None), ("c", Some(10)), ("d", Some(51))] {
        merge(
            &store,
            &[],
            CameraUpdate {
                waiting: since.map(|since| Waiting { since, until: at(1, 5) }),
                ..update(&camera(name), at(1, 0))
            },
            true,
        )
        .await;
    }
    let waiting = async |before, now| {
        let mut waiting = store.waiting_cameras(before, now).await.unwrap();
        waiting.sort_unstable();
        waiting
    };
    assert_eq!(waiting(50, 60).await, [camera("a"), camera("c")]);
    assert!(waiting(9, 60).await.is_empty());
    assert_eq!(waiting(9, 51).await, []);
    assert_eq!(waiting(9, 50).await, [camera("d")], "since a time that is yet to come");
    assert_eq!(waiting(10, 50).await, [camera("c"), camera("d")]);
}

async fn checkpoint(store: &std::sync::Arc<dyn EventStore>, camera: &CameraId, places: &[Position]) {
    let checkpoints = places.iter().map(|p| (*p, format!("{p:?}").into_bytes())).collect();
    let frontier = *places.last().unwrap();
    merge(store, &[], CameraUpdate { checkpoints, ..update(camera, frontier) }, true).await;
}

pub async fn checkpoints_are_found_and_refolded(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    checkpoint(&store, &gate, &[at(1, 0), at(1, 1024), at(2, 0), at(2, 32)]).await;
    checkpoint(&store, &camera("other"), &[at(1, 64)]).await;
    let before = async |place: Position| {
        let mut merge = begin(&store, &gate).await;
        let found = merge.checkpoint_before(&gate, place).await.unwrap();
        if let Some((place, state)) = &found {
            assert_eq!(*state, format!("{place:?}").into_bytes());
        }
        found.map(|(place, _)| place)
    };
    assert_eq!(before(at(1, 0)).await, None);
    assert_eq!(before(at(1, 1)).await, Some(at(1, 0)));
    assert_eq!(before(at(2, 0)).await, Some(at(1, 1024)));
    assert_eq!(before(at(9, 0)).await, Some(at(2, 32)));
    // Refolded from a place: what is behind it is untrue, what the refold brings is true.
    let checkpoints = vec![(at(2, 0), format!("{:?}", at(2, 0)).into_bytes())];
    let refold = CameraUpdate { refolded_from: Some(Some(at(1, 1024))), checkpoints, ..update(&gate, at(2, 40)) };
    merge(&store, &[], refold, true).await;
    assert_eq!(before(at(9, 0)).await, Some(at(2, 0)));
    assert_eq!(before(at(2, 0)).await, Some(at(1, 1024)));
    merge(&store, &[], CameraUpdate { refolded_from: Some(None), ..update(&gate, at(2, 40)) }, true).await;
    assert_eq!(before(at(9, 0)).await, None);
}

pub async fn checkpoints_are_thinned(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    for first in (0..4096).step_by(512) {
        let places: Vec<_> = (first..first + 512).step_by(32).map(|n| at(1, n)).collect();
        checkpoint(&store, &gate, &places).await;
    }
    let mut merge = begin(&store, &gate).await;
    let mut kept = Vec::new();
    let mut place = at(2, 0);
    while let Some((found, _)) = merge.checkpoint_before(&gate, place).await.unwrap() {
        kept.push(found.sequence);
        place = found;
    }
    kept.reverse();
    assert!(kept.contains(&4064) && kept.contains(&0), "{kept:?}");
    let near: Vec<_> = kept.iter().filter(|n| **n > 4064 - 1024).collect();
    assert_eq!(near.len(), 32, "every one of the newest is there");
    assert!(kept.len() < 64, "older ones are fewer: {}", kept.len());
    assert!(kept.windows(2).all(|pair| pair[1] - pair[0] <= 1024), "none too far from the next: {kept:?}");
}
