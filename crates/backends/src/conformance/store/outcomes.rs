//! Outcomes: winners, order, time, seams.

use detektor_contract::{CameraId, Digest, Epoch, Outcome, OutcomeBody, Seam, TimeUs};

use super::{begin, put};
use crate::conformance::Bench;
use crate::conformance::samples::{SECOND, at, camera, end, gap, result, segment, tombstone, with_seam};
use crate::store::{EventStore, Put};

fn ids(outcomes: &[Outcome]) -> Vec<(u64, u64)> {
    outcomes.iter().map(|o| (o.id.epoch.0, o.id.sequence)).collect()
}

pub async fn of_two_outcomes_the_winner_stays(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let failed = tombstone(&gate, at(1, 0), true);
    let seen = result(&gate, at(1, 0));
    let again = Outcome { generation: 1, ..failed.clone() };
    assert_eq!(put(&store, &[failed.clone(), failed.clone()]).await, [Put::New, Put::Ignored]);
    assert_eq!(
        put(&store, &[seen.clone(), failed.clone(), seen.clone()]).await,
        [Put::Replaced, Put::Ignored, Put::Ignored]
    );
    assert_eq!(store.outcomes(&gate, at(0, 0), 10).await.unwrap(), std::slice::from_ref(&seen));
    assert_eq!(put(&store, &[again.clone(), seen]).await, [Put::Replaced, Put::Ignored]);
    assert_eq!(store.outcomes(&gate, at(0, 0), 10).await.unwrap(), [again]);
}

pub async fn winners_do_not_depend_on_order(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let place = at(1, 0);
    let variants =
        [result(&gate, place), tombstone(&gate, place, true), tombstone(&gate, place, false), end(&gate, place)];
    let mut all = Vec::new();
    for generation in 0..2 {
        all.extend(variants.iter().map(|v| Outcome { generation, ..v.clone() }));
    }
    let winner = all.iter().find(|o| all.iter().all(|other| !other.wins_over(o))).unwrap().clone();
    // Rotations and their reverses stand for all orders, each at a place of its own.
    for turn in 0..all.len() as u64 {
        for reverse in [false, true] {
            let mut order = all.clone();
            order.rotate_left(turn as usize);
            if reverse {
                order.reverse();
            }
            let name = camera(&format!("c{turn}-{reverse}"));
            let own = |o: &Outcome| Outcome { id: segment(&name, place), ..o.clone() };
            // The digest decides between equals and covers the id, so only the body's kind and generation are compared.
            let order: Vec<Outcome> = order.iter().map(own).collect();
            put(&store, &order).await;
            let stored = store.outcomes(&name, place, 10).await.unwrap();
            assert_eq!((stored.len(), stored[0].generation), (1, winner.generation));
            assert!(order.iter().all(|other| !other.wins_over(&stored[0])));
        }
    }
}

pub async fn many_outcomes_at_once_are_as_one_after_the_other(bench: &mut impl Bench<dyn EventStore>) {
    // More than one statement takes, of two cameras, with repetitions, losers and winners among them.
    const PLACES: u64 = 1_500;
    let store = bench.backend();
    let of = |name: &CameraId| -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = (0..PLACES).rev().map(|n| result(name, at(1, n))).collect();
        outcomes.push(tombstone(name, at(1, 5), true));
        outcomes.push(Outcome { generation: 1, ..tombstone(name, at(1, 7), true) });
        outcomes.push(Outcome { generation: 2, ..result(name, at(1, 7)) });
        outcomes.push(result(name, at(1, 7)));
        outcomes
    };
    let there = |name: &CameraId| [tombstone(name, at(1, 3), true), result(name, at(1, 4))];
    // Of the first two all come together, of the third one by one.
    let [a, b, c] = ["a", "b", "c"].map(camera);
    for name in [&a, &b, &c] {
        put(&store, &there(name)).await;
    }
    let mut together = store.begin_merge(&[a.clone(), b.clone()]).await.unwrap();
    let mixed: Vec<Outcome> = of(&a).into_iter().zip(of(&b)).flat_map(|(a, b)| [a, b]).collect();
    let puts = together.put_all(&mixed.iter().collect::<Vec<_>>()).await.unwrap();
    assert!(together.put_all(&[]).await.unwrap().is_empty());
    together.commit().await.unwrap();
    let mut apart = begin(&store, &c).await;
    let mut expected = Vec::new();
    for outcome in of(&c) {
        expected.push(apart.put(&outcome).await.unwrap());
    }
    apart.commit().await.unwrap();
    for own in [0, 1] {
        assert_eq!(puts.iter().skip(own).step_by(2).copied().collect::<Vec<_>>(), expected);
    }
    let count = |kind| expected.iter().filter(|put| **put == kind).count() as u64;
    assert_eq!((count(Put::New), count(Put::Replaced), count(Put::Ignored)), (PLACES - 2, 3, 3));
    let stored = async |name| store.outcomes(name, at(0, 0), 9_999).await.unwrap();
    let bodies = |outcomes: Vec<Outcome>| outcomes.into_iter().map(|o| (o.generation, o.body)).collect::<Vec<_>>();
    let winners = bodies(stored(&c).await);
    assert_eq!((winners.len() as u64, winners[7].0), (PLACES, 2));
    assert!(bodies(stored(&a).await) == winners && bodies(stored(&b).await) == winners);
}

pub async fn outcomes_come_in_order_and_pages(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let places = [(2, 1), (1, 0), (10, 0), (1, 2), (2, 0), (1, 10)];
    let outcomes: Vec<_> = places.iter().map(|(e, s)| result(&gate, at(*e, *s))).collect();
    put(&store, &outcomes).await;
    put(&store, &[result(&camera("other"), at(1, 1))]).await;
    let order = [(1, 0), (1, 2), (1, 10), (2, 0), (2, 1), (10, 0)];
    assert_eq!(ids(&store.outcomes(&gate, at(0, 0), 100).await.unwrap()), order);
    assert_eq!(ids(&store.outcomes(&gate, at(1, 10), 2).await.unwrap()), order[2..4]);
    assert_eq!(ids(&store.outcomes(&gate, at(1, 3), 2).await.unwrap()), order[2..4]);
    assert!(store.outcomes(&gate, at(10, 1), 2).await.unwrap().is_empty());
    let mut merge = begin(&store, &gate).await;
    assert_eq!(ids(&merge.outcomes_after(&gate, None, 100).await.unwrap()), order);
    assert_eq!(ids(&merge.outcomes_after(&gate, Some(at(1, 2)), 2).await.unwrap()), order[2..4]);
    // A transaction sees what it has put.
    merge.put(&result(&gate, at(1, 3))).await.unwrap();
    assert_eq!(ids(&merge.outcomes_after(&gate, Some(at(1, 2)), 1).await.unwrap()), [(1, 3)]);
}

pub async fn outcomes_are_found_by_time(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let mut outcomes: Vec<_> = (0..200).map(|n| result(&gate, at(1, n))).collect();
    // A gap of an hour, one that still lasts, and the end; all after the segments.
    outcomes.push(gap(&gate, at(1, 200), 200 * SECOND, Some(3_800 * SECOND)));
    outcomes.push(gap(&gate, at(1, 201), 4_000 * SECOND, None));
    outcomes.push(end(&gate, at(1, 5_000)));
    put(&store, &outcomes).await;
    let between = async |from: i64, until: i64, limit: u32| {
        ids(&store.outcomes_between(&gate, TimeUs(from), TimeUs(until), limit).await.unwrap())
    };
    assert_eq!(between(0, 1, 10).await, [(1, 0)]);
    assert_eq!(between(SECOND, 2 * SECOND, 10).await, [(1, 1)]);
    assert_eq!(between(SECOND - 1, 2 * SECOND + 1, 10).await, [(1, 0), (1, 1), (1, 2)]);
    assert_eq!(between(100 * SECOND, 150 * SECOND, 3).await, [(1, 100), (1, 101), (1, 102)]);
    assert!(between(-10 * SECOND, 0, 10).await.is_empty());
    assert_eq!(between(1_000 * SECOND, 1_001 * SECOND, 10).await, [(1, 200)]);
    assert!(between(3_800 * SECOND, 3_900 * SECOND, 10).await.is_empty());
    assert_eq!(between(4_000 * SECOND, 4_001 * SECOND, 10).await, [(1, 201)]);
    assert_eq!(between(4_001 * SECOND, 6_000 * SECOND, 10).await, [(1, 5_000)]);
    assert!(store.outcomes_between(&camera("other"), TimeUs(0), TimeUs(SECOND), 9).await.unwrap().is_empty());
}

pub async fn seams_follow_the_winners(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let seam = |at| Seam { at: TimeUs(at), key_frame: None };
    let planned = Seam { at: TimeUs(9), key_frame: Some(Digest::of(b"key")) };
    put(
        &store,
        &[
            with_seam(result(&gate, at(2, 1)), seam(21)),
            result(&gate, at(1, 0)),
            with_seam(tombstone(&gate, at(3, 0), true), planned),
        ],
    )
    .await;
    assert_eq!(store.seams(&gate).await.unwrap(), [(Epoch(2), seam(21)), (Epoch(3), planned)]);
    put(&store, &[with_seam(result(&gate, at(2, 0)), seam(20)), with_seam(result(&gate, at(3, 0)), seam(30))]).await;
    let mut merge = begin(&store, &gate).await;
    assert_eq!(merge.seams(&gate).await.unwrap(), [(Epoch(2), seam(20)), (Epoch(3), seam(30))]);
    assert!(merge.seams(&camera("other")).await.unwrap().is_empty());
}

pub async fn the_first_outcome_behind_a_seam_is_found(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let mut outcomes: Vec<_> = (0..10).map(|n| result(&gate, at(1, n))).collect();
    outcomes.push(end(&gate, at(1, 10)));
    outcomes.push(result(&gate, at(2, 0)));
    let OutcomeBody::Result(fifth) = &outcomes[5].body else { panic!("a result") };
    let key_frame = fifth.span.key_frame;
    put(&store, &outcomes).await;
    let mut merge = begin(&store, &gate).await;
    let mut first = async |epoch, seam| merge.first_behind_seam(&gate, Epoch(epoch), seam).await.unwrap();
    let seam = |at| Seam { at: TimeUs(at), key_frame: None };
    assert_eq!(first(2, seam(3 * SECOND)).await, Some(at(1, 3)));
    assert_eq!(first(2, seam(3 * SECOND + 1)).await, Some(at(1, 3)));
    assert_eq!(first(2, seam(10 * SECOND)).await, None, "an end has no frames");
    assert_eq!(first(1, seam(0)).await, None, "only older epochs");
    assert_eq!(first(3, seam(-5)).await, Some(at(1, 0)));
    assert_eq!(first(2, Seam { at: TimeUs(100 * SECOND), key_frame }).await, Some(at(1, 5)));
    assert_eq!(first(2, Seam { at: TimeUs(4 * SECOND), key_frame }).await, Some(at(1, 4)));
}

pub async fn a_gap_behind_a_seam_is_found(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let (from, until) = (10 * SECOND, 70 * SECOND);
    put(&store, &[result(&gate, at(1, 0)), gap(&gate, at(1, 1), from, None), gap(&gate, at(1, 2), from, Some(until))])
        .await;
    let mut merge = begin(&store, &gate).await;
    let mut first = async |seam| {
        let seam = Seam { at: TimeUs(seam), key_frame: None };
        merge.first_behind_seam(&gate, Epoch(2), seam).await.unwrap()
    };
    assert_eq!(first(10 * SECOND - 1).await, Some(at(1, 1)));
    assert_eq!(first(10 * SECOND).await, Some(at(1, 1)));
    assert_eq!(first(10 * SECOND + 1).await, Some(at(1, 2)), "one that lasts speaks of its beginning");
    assert_eq!(first(70 * SECOND).await, None);
}

pub async fn tombstones_with_a_job_are_listed(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let (a, b) = (camera("a"), camera("b"));
    let replayed = Outcome { generation: 1, ..result(&b, at(1, 4)) };
    put(&store, &[tombstone(&b, at(1, 1), true), tombstone(&b, at(1, 0), false), tombstone(&b, at(1, 4), true)]).await;
    put(&store, &[tombstone(&a, at(2, 0), true), result(&a, at(2, 1))]).await;
    put(&store, &[replayed]).await;
    let listed = store.tombstones().await.unwrap();
    assert_eq!(listed, [tombstone(&a, at(2, 0), true), tombstone(&b, at(1, 1), true)]);
}

pub async fn a_number_too_large_is_refused_and_harms_nothing(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let mut merge = begin(&store, &gate).await;
    merge.put(&result(&gate, at(1, 0))).await.unwrap();
    // The samples' times derive from the sequence, so it is put in afterwards.
    let mut huge = result(&gate, at(1, 1));
    huge.id = segment(&gate, at(1, u64::MAX));
    assert!(merge.put(&huge).await.is_err());
    huge.id = segment(&gate, at(u64::MAX, 1));
    assert!(merge.put(&huge).await.is_err());
    merge.commit().await.unwrap();
    assert_eq!(ids(&store.outcomes(&gate, at(0, 0), 10).await.unwrap()), [(1, 0)]);
}
