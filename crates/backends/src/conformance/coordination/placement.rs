//! The balancer and what it places.

use std::sync::Arc;

use detektor_contract::Epoch;

use super::{CoordinationBench, become_balancer, member, row};
use crate::conformance::samples::camera;
use crate::conformance::soon;
use crate::coordination::{LeaseName, Placed};

pub async fn a_balancer_shows_that_it_lives(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    assert_eq!(backend.balancer().await.unwrap(), None);
    assert!(!backend.renew_balancer(Epoch(1)).await.unwrap());
    let (one, two) = (member("b1", 1), member("b2", 2));
    let first = become_balancer(&backend, &one).await;
    let mut renewal = backend.balancer().await.unwrap().unwrap().renewal;
    for _ in 0..3 {
        assert!(backend.renew_balancer(first).await.unwrap());
        let seen = backend.balancer().await.unwrap().unwrap();
        assert_eq!((seen.lease.holder, seen.lease.epoch), (Some(one.clone()), first));
        assert!(seen.renewal > renewal);
        renewal = seen.renewal;
    }
    let second = become_balancer(&backend, &two).await;
    assert!(second > first);
    assert!(!backend.renew_balancer(first).await.unwrap());
    assert!(backend.renew_balancer(second).await.unwrap());
    backend.give_back(&LeaseName::Balancer, second).await.unwrap();
    assert!(!backend.renew_balancer(second).await.unwrap());
    assert_eq!(backend.balancer().await.unwrap().unwrap().lease.holder, None);
}

pub async fn a_deposed_balancer_writes_nothing(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let rows = [row("a", Some("d1"), 0)];
    assert!(!backend.place(Epoch(1), &rows, &[]).await.unwrap());
    let first = become_balancer(&backend, &member("b1", 1)).await;
    assert!(backend.place(first, &rows, &[]).await.unwrap());
    let second = become_balancer(&backend, &member("b2", 2)).await;
    let before = backend.placement().await.unwrap();
    assert!(!backend.place(first, &[row("a", Some("d2"), 1)], &[]).await.unwrap());
    assert!(!backend.place(first, &[], &[camera("a")]).await.unwrap());
    assert_eq!(backend.placement().await.unwrap(), before);
    backend.give_back(&LeaseName::Balancer, second).await.unwrap();
    assert!(!backend.place(second, &[], &[camera("a")]).await.unwrap());
    assert_eq!(backend.placement().await.unwrap(), before);
}

pub async fn nothing_of_a_deposed_balancer_comes_after_the_take(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    for round in 0..5 {
        let (old, new) = (member("b1", round), member("b2", round));
        let epoch = become_balancer(&backend, &old).await;
        let placing = tokio::spawn({
            let backend = Arc::clone(&backend);
            async move {
                let mut placed = 0;
                while backend.place(epoch, &[row("a", Some("d1"), placed), row("b", None, placed)], &[]).await.unwrap()
                {
                    placed += 1;
                }
                placed
            }
        });
        while backend.placement().await.unwrap().cameras.is_empty() {
            tokio::task::yield_now().await;
        }
        become_balancer(&backend, &new).await;
        let found = backend.placement().await.unwrap();
        let placed = soon(placing).await.unwrap();
        assert_eq!(backend.placement().await.unwrap(), found, "after {placed} placements in round {round}");
    }
}

pub async fn costs_stay_when_cameras_move(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let epoch = become_balancer(&backend, &member("b1", 1)).await;
    assert!(backend.place(epoch, &[row("b", Some("d1"), 0), row("a", Some("d1"), 0)], &[]).await.unwrap());
    backend.set_costs(&[(camera("a"), 250), (camera("nobody"), 9)]).await.unwrap();
    let moved = Placed { cost_millis: 77, ..row("a", Some("d2"), 1) };
    assert!(backend.place(epoch, &[moved, Placed { cost_millis: 5, ..row("c", None, 0) }], &[]).await.unwrap());
    let cameras = backend.placement().await.unwrap().cameras;
    let expected = [Placed { cost_millis: 250, ..row("a", Some("d2"), 1) }, row("b", Some("d1"), 0), row("c", None, 0)];
    assert_eq!(cameras, expected);
    // One that is gone and comes again was never measured.
    assert!(backend.place(epoch, &[], &[camera("a"), camera("nobody")]).await.unwrap());
    assert!(backend.place(epoch, &[row("a", None, 0)], &[]).await.unwrap());
    assert_eq!(backend.placement().await.unwrap().cameras[0], row("a", None, 0));
}

pub async fn the_placement_has_a_revision(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let epoch = become_balancer(&backend, &member("b1", 1)).await;
    let mut before = backend.placement().await.unwrap();
    assert_eq!((before.partitions, before.cameras.len()), (0, 0));
    backend.set_partitions(10).await.unwrap();
    let after = backend.placement().await.unwrap();
    assert_eq!(after.partitions, 10);
    assert!(after.revision > before.revision);
    before = after;
    assert!(backend.place(epoch, &[row("a", None, 9)], &[]).await.unwrap());
    let after = backend.placement().await.unwrap();
    assert!(after.revision > before.revision);
    // What says nothing new changes nothing.
    backend.set_partitions(10).await.unwrap();
    backend.set_costs(&[(camera("a"), 250)]).await.unwrap();
    assert_eq!(backend.placement().await.unwrap().revision, after.revision);
    backend.set_partitions(0).await.unwrap();
    assert_eq!(backend.placement().await.unwrap().partitions, 1);
}
