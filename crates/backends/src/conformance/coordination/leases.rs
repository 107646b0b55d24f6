//! Leases and their epochs.

use detektor_contract::{Digest, Epoch, Seam, TimeUs};
use futures::future::join_all;

use super::{CoordinationBench, become_balancer, lease, member, take};
use crate::conformance::samples::camera;
use crate::coordination::{Lease, LeaseName, Take};

pub async fn a_lease_is_taken_as_it_was_seen(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", u64::MAX));
    assert_eq!(backend.lease(&lease("a")).await.unwrap(), None);
    assert_eq!(backend.take(&take(lease("a"), Some(Epoch(1)), &d1)).await.unwrap(), None);
    let first = backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    assert_eq!(backend.take(&take(lease("a"), None, &d2)).await.unwrap(), None);
    let seam = Some(Seam { at: TimeUs(-5), key_frame: Some(Digest::of(b"key")) });
    let second = Take { seam, ..take(lease("a"), Some(first), &d2) };
    let second = backend.take(&second).await.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(backend.take(&take(lease("a"), Some(first), &d1)).await.unwrap(), None);
    let expected = Lease { name: lease("a"), holder: Some(d2), epoch: second, seam };
    assert_eq!(backend.lease(&lease("a")).await.unwrap(), Some(expected));
    // A seam is of one epoch.
    backend.take(&take(lease("a"), Some(second), &d1)).await.unwrap().unwrap();
    assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().seam, None);
}

pub async fn of_many_takers_one_wins(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let mut seen = None;
    for _ in 0..5 {
        let takes: Vec<_> = (0..8).map(|n| take(lease("a"), seen, &member(&format!("d{n}"), n))).collect();
        let taken = join_all(takes.iter().map(|take| backend.take(take))).await;
        let epochs: Vec<Epoch> = taken.into_iter().filter_map(Result::unwrap).collect();
        let [epoch] = epochs[..] else { panic!("{epochs:?}") };
        assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().epoch, epoch);
        seen = Some(epoch);
    }
}

pub async fn a_new_epoch_exceeds_all_there_were(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let d1 = member("d1", 1);
    let first = backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    assert!(first > Epoch(1_000));
    // A clock that went back.
    let back = Take { now_ms: 10, ..take(lease("a"), Some(first), &d1) };
    let second = backend.take(&back).await.unwrap().unwrap();
    assert!(second > first);
    // A database that was restored: its outcomes know of an epoch that the lease does not.
    bench.outcome(&camera("a"), Epoch(9_999)).await;
    let third = backend.take(&take(lease("a"), Some(second), &d1)).await.unwrap().unwrap();
    assert!(third > Epoch(9_999));
    let live = bench.begin_live(&camera("b"), 20_000).await;
    let other = backend.take(&take(lease("b"), None, &d1)).await.unwrap().unwrap();
    assert!(other > live);
    let late = Take { now_ms: 1 << 40, ..take(lease("a"), Some(third), &d1) };
    assert!(backend.take(&late).await.unwrap().unwrap() > Epoch(1 << 40));
}

pub async fn a_live_take_begins_an_epoch(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let d1 = member("d1", 1);
    let far = Take { now_ms: 1 << 41, ..take(lease("a"), None, &d1) };
    let epoch = backend.take(&far).await.unwrap().unwrap();
    assert!(bench.begin_live(&camera("a"), 10).await > epoch);
    // A file's lease has a number of its own.
    let far = Take { live: false, name: lease("b"), ..far };
    let epoch = backend.take(&far).await.unwrap().unwrap();
    assert!(bench.begin_live(&camera("b"), 10).await < epoch);
}

pub async fn a_lease_is_given_back_by_its_holder(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    backend.give_back(&lease("a"), Epoch(1)).await.unwrap();
    assert_eq!(backend.lease(&lease("a")).await.unwrap(), None);
    let first = backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    let second = backend.take(&take(lease("a"), Some(first), &d2)).await.unwrap().unwrap();
    backend.give_back(&lease("a"), first).await.unwrap();
    assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().holder, Some(d2));
    for _ in 0..2 {
        backend.give_back(&lease("a"), second).await.unwrap();
    }
    let free = backend.lease(&lease("a")).await.unwrap().unwrap();
    assert_eq!((free.holder, free.epoch), (None, second));
    assert!(backend.take(&take(lease("a"), Some(second), &d1)).await.unwrap().unwrap() > second);
}

pub async fn leases_are_listed_in_order(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    assert_eq!(backend.leases().await.unwrap(), []);
    let d1 = member("d1", 1);
    become_balancer(&backend, &d1).await;
    for name in ["b", "C", "balancer", "a"] {
        backend.take(&take(lease(name), None, &d1)).await.unwrap().unwrap();
    }
    let names: Vec<_> = backend.leases().await.unwrap().into_iter().map(|lease| lease.name).collect();
    assert_eq!(names, [lease("C"), lease("a"), lease("b"), lease("balancer"), LeaseName::Balancer]);
    for name in names {
        assert_eq!(backend.lease(&name).await.unwrap().unwrap().name, name);
    }
}
