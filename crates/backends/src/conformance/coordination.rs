//! What every coordination does.
#![allow(missing_docs)] // Each case's name says what holds.

use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Digest, Epoch, Position, Seam, TimeUs};
use futures::future::join_all;

use super::samples::{camera, result};
use super::{Bench, soon};
use crate::coordination::{Coordination, Lease, LeaseName, Load, Member, MemberSeen, Placed, Sight, Take};
use crate::store::EventStore;

/// Makes a test of every case of the coordination suite. The argument is a future of a fresh [`CoordinationBench`].
#[macro_export]
macro_rules! coordination_conformance {
    ($bench:expr) => {
        $crate::conformance_cases!(
            coordination,
            $bench,
            [
                wanted_cameras_change_all_at_once,
                a_revision_rises_over_a_removal,
                every_beat_is_seen,
                a_new_incarnation_takes_the_name_over,
                who_leaves_gives_its_leases_back,
                a_member_is_forgotten_as_it_was_seen,
                a_lease_is_taken_as_it_was_seen,
                of_many_takers_one_wins,
                a_new_epoch_exceeds_all_there_were,
                a_live_take_begins_an_epoch,
                a_lease_is_given_back_by_its_holder,
                leases_are_listed_in_order,
                a_dispatcher_sees_what_is_placed_on_it,
                a_dispatcher_sees_what_it_holds,
                a_balancer_shows_that_it_lives,
                a_deposed_balancer_writes_nothing,
                costs_stay_when_cameras_move,
                the_placement_has_a_revision,
                changes_at_once_are_all_there,
                beats_at_once_all_count,
                nothing_of_a_deposed_balancer_comes_after_the_take,
                everything_survives_a_crash,
            ]
        );
    };
}

/// A coordination under test, and the event store that shares its database.
#[async_trait]
pub trait CoordinationBench: Bench<dyn Coordination> {
    /// Gives a camera an outcome of this epoch.
    async fn outcome(&mut self, camera: &CameraId, epoch: Epoch);

    /// Begins a live epoch of a camera, as `EventStore::begin_epoch` does.
    async fn begin_live(&mut self, camera: &CameraId, now_ms: u64) -> Epoch;
}

/// Gives a camera an outcome of this epoch, where the event store is a real one.
pub async fn put_outcome(store: &dyn EventStore, camera: &CameraId, epoch: Epoch) {
    let mut merge = store.begin_merge(std::slice::from_ref(camera)).await.unwrap();
    merge.put(&result(camera, Position { epoch, sequence: 0 })).await.unwrap();
    merge.commit().await.unwrap();
}

fn member(name: &str, incarnation: u64) -> Member {
    Member { name: name.to_owned(), incarnation }
}

fn lease(name: &str) -> LeaseName {
    LeaseName::Camera(camera(name))
}

fn take(name: LeaseName, seen: Option<Epoch>, holder: &Member) -> Take {
    Take { name, seen, holder: holder.clone(), now_ms: 1_000, live: true, seam: None }
}

fn row(name: &str, dispatcher: Option<&str>, partition: u16) -> Placed {
    Placed {
        camera: camera(name),
        dispatcher: dispatcher.map(str::to_owned),
        partition,
        cost_millis: 0,
        reason: format!("{name} is new"),
        moved_ms: 1_700_000_000_000,
    }
}

async fn first_beat(backend: &Arc<dyn Coordination>, member: &Member) -> Sight {
    backend.beat(member, Load::default(), true).await.unwrap().unwrap()
}

async fn beat(backend: &Arc<dyn Coordination>, member: &Member) -> Option<Sight> {
    backend.beat(member, Load::default(), false).await.unwrap()
}

/// Takes the balancer's lease as it stands.
async fn become_balancer(backend: &Arc<dyn Coordination>, who: &Member) -> Epoch {
    let seen = backend.balancer().await.unwrap().map(|seen| seen.lease.epoch);
    backend.take(&Take { live: false, ..take(LeaseName::Balancer, seen, who) }).await.unwrap().unwrap()
}

async fn want(backend: &Arc<dyn Coordination>, names: &[&str]) {
    let changes: Vec<_> = names.iter().map(|name| (camera(name), Some(format!(r#"{{"url":"{name}"}}"#)))).collect();
    backend.want(&changes).await.unwrap();
}

pub async fn wanted_cameras_change_all_at_once(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    assert_eq!(backend.wanted().await.unwrap(), []);
    let spec = |text: &str| Some(text.to_owned());
    let changed = backend.want(&[(camera("b"), spec("{}")), (camera("a"), spec("{}"))]).await.unwrap();
    assert_eq!(changed.len(), 2);
    let before = backend.wanted().await.unwrap();
    assert_eq!(before.iter().map(|wanted| wanted.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // One as it was, one changed, one new, one that never was.
    let changes = [
        (camera("a"), spec("{}")),
        (camera("b"), spec(r#"{"url":"ü"}"#)),
        (camera("c"), spec("{}")),
        (camera("d"), None),
    ];
    assert_eq!(backend.want(&changes).await.unwrap(), [camera("b"), camera("c")]);
    let after = backend.wanted().await.unwrap();
    assert_eq!(after.len(), 3);
    assert_eq!(after[0], before[0]);
    assert_eq!(after[1].spec, r#"{"url":"ü"}"#);
    assert!(after[1].revision > before[1].revision);
    assert_eq!(backend.want(&[(camera("a"), None)]).await.unwrap(), [camera("a")]);
    assert_eq!(backend.wanted().await.unwrap(), after[1..]);
    assert_eq!(backend.want(&[]).await.unwrap(), []);
}

pub async fn a_revision_rises_over_a_removal(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    want(&backend, &["a"]).await;
    let before = backend.wanted().await.unwrap()[0].clone();
    backend.want(&[(camera("a"), None)]).await.unwrap();
    want(&backend, &["a"]).await;
    let after = backend.wanted().await.unwrap()[0].clone();
    assert_eq!(after.spec, before.spec);
    assert!(after.revision > before.revision);
}

pub async fn every_beat_is_seen(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", u64::MAX), member("d2", 7));
    first_beat(&backend, &d2).await;
    let sight = first_beat(&backend, &d1).await;
    assert_eq!(sight.partitions, 1);
    assert_eq!(sight.cameras, []);
    let before = sight.members;
    assert_eq!(before.iter().map(|seen| &seen.member).collect::<Vec<_>>(), [&d1, &d2]);
    let load = Load { cpu_millis: 900, capacity_millis: 2_000, leaving: true };
    let after = backend.beat(&d1, load, false).await.unwrap().unwrap().members;
    assert!(after[0].renewal > before[0].renewal);
    assert_eq!(after[0].load, load);
    assert_eq!(after[1], before[1]);
    assert_eq!(backend.members().await.unwrap(), after);
}

pub async fn a_new_incarnation_takes_the_name_over(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (old, new) = (member("d1", 1), member("d1", 2));
    first_beat(&backend, &old).await;
    let epoch = backend.take(&take(lease("a"), None, &old)).await.unwrap();
    assert_eq!(first_beat(&backend, &new).await.members[0].member, new);
    assert_eq!(beat(&backend, &old).await, None);
    assert_eq!(backend.members().await.unwrap().len(), 1);
    // The old one's leases are not the new one's.
    let held = backend.lease(&lease("a")).await.unwrap().unwrap();
    assert_eq!((held.holder, Some(held.epoch)), (Some(old.clone()), epoch));
    // Nor does it leave in the new one's name.
    backend.leave(&old).await.unwrap();
    assert_eq!(backend.members().await.unwrap()[0].member, new);
    assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().holder, None);
}

pub async fn who_leaves_gives_its_leases_back(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    first_beat(&backend, &d1).await;
    first_beat(&backend, &d2).await;
    let mut epochs = Vec::new();
    for (name, holder) in [("a", &d1), ("b", &d2), ("c", &d1)] {
        epochs.push(backend.take(&take(lease(name), None, holder)).await.unwrap().unwrap());
    }
    become_balancer(&backend, &d1).await;
    backend.leave(&d1).await.unwrap();
    backend.leave(&d1).await.unwrap();
    assert_eq!(backend.members().await.unwrap().len(), 1);
    let leases = backend.leases().await.unwrap();
    let holders: Vec<_> = leases.iter().map(|lease| lease.holder.clone()).collect();
    assert_eq!(holders, [None, Some(d2), None, None]);
    assert_eq!(leases[..3].iter().map(|lease| lease.epoch).collect::<Vec<_>>(), epochs);
}

pub async fn a_member_is_forgotten_as_it_was_seen(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let d1 = member("d1", 1);
    let before = first_beat(&backend, &d1).await.members[0].clone();
    backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    let after = beat(&backend, &d1).await.unwrap().members[0].clone();
    backend.forget(&before).await.unwrap();
    assert_eq!(backend.members().await.unwrap(), std::slice::from_ref(&after));
    let another = MemberSeen { member: member("d1", 2), ..after.clone() };
    backend.forget(&another).await.unwrap();
    assert_eq!(backend.members().await.unwrap(), std::slice::from_ref(&after));
    backend.forget(&after).await.unwrap();
    assert_eq!(backend.members().await.unwrap(), []);
    assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().holder, Some(d1.clone()));
    // It lives after all.
    let sight = beat(&backend, &d1).await.unwrap();
    assert_eq!(sight.members[0].member, d1);
    assert_eq!(sight.cameras.len(), 1);
}

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

pub async fn a_dispatcher_sees_what_is_placed_on_it(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    let epoch = become_balancer(&backend, &d2).await;
    want(&backend, &["b", "a", "c", "d"]).await;
    let rows = [row("b", Some("d1"), 3), row("a", Some("d1"), 0), row("c", Some("d2"), 0), row("d", None, 0)];
    assert!(backend.place(epoch, &rows, &[]).await.unwrap());
    let lease_epoch = backend.take(&take(lease("b"), None, &d2)).await.unwrap().unwrap();
    backend.set_partitions(10).await.unwrap();
    let sight = first_beat(&backend, &d1).await;
    assert_eq!(sight.partitions, 10);
    let [a, b] = &sight.cameras[..] else { panic!("{sight:?}") };
    assert_eq!((&a.id, &a.placed, &a.lease), (&camera("a"), &Some(rows[1].clone()), &None));
    assert_eq!((&b.id, &b.placed), (&camera("b"), &Some(rows[0].clone())));
    // Whoever holds it.
    let held = b.lease.clone().unwrap();
    assert_eq!((held.holder, held.epoch), (Some(d2), lease_epoch));
    let wanted = backend.wanted().await.unwrap();
    assert_eq!((&a.wanted, &b.wanted), (&Some(wanted[0].clone()), &Some(wanted[1].clone())));
    // What is wanted no longer is still placed until the balancer has heard of it.
    backend.want(&[(camera("a"), None)]).await.unwrap();
    let sight = beat(&backend, &d1).await.unwrap();
    assert_eq!((&sight.cameras[0].id, &sight.cameras[0].wanted), (&camera("a"), &None));
    assert!(backend.place(epoch, &[], &[camera("a")]).await.unwrap());
    let sight = beat(&backend, &d1).await.unwrap();
    assert_eq!(sight.cameras.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["b"]);
}

pub async fn a_dispatcher_sees_what_it_holds(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    first_beat(&backend, &d1).await;
    let balancer = become_balancer(&backend, &d1).await;
    want(&backend, &["a"]).await;
    assert!(backend.place(balancer, &[row("a", Some("d2"), 0)], &[]).await.unwrap());
    let epoch = backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    backend.take(&take(lease("b"), None, &d1)).await.unwrap().unwrap();
    let sight = beat(&backend, &d1).await.unwrap();
    let [a, b] = &sight.cameras[..] else { panic!("{sight:?}") };
    assert_eq!(a.placed.as_ref().and_then(|placed| placed.dispatcher.as_deref()), Some("d2"));
    assert_eq!(a.lease.as_ref().map(|lease| lease.epoch), Some(epoch));
    assert!(a.wanted.is_some());
    assert_eq!((&b.wanted, &b.placed), (&None, &None));
    assert_eq!(b.lease.as_ref().and_then(|lease| lease.holder.as_ref()), Some(&d1));
    // Another incarnation holds nothing.
    assert_eq!(first_beat(&backend, &member("d1", 9)).await.cameras, []);
    // Once it is taken by another, it is the other's alone.
    backend.take(&take(lease("a"), Some(epoch), &d2)).await.unwrap().unwrap();
    let sight = first_beat(&backend, &d1).await;
    assert_eq!(sight.cameras.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["b"]);
}

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
    assert_eq!((before.partitions, before.cameras.len()), (1, 0));
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

pub async fn changes_at_once_are_all_there(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    // The same cameras in another order.
    let names = ["a", "b", "c", "d"];
    let changes = (0..names.len()).map(|first| {
        let specs = (0..names.len()).map(|n| {
            let n = (n + first) % names.len();
            (camera(names[n]), Some(format!(r#"{{"by":{first}}}"#)))
        });
        specs.collect::<Vec<_>>()
    });
    let changes: Vec<_> = changes.collect();
    let changed = join_all(changes.iter().map(|change| backend.want(change))).await;
    assert!(changed.into_iter().all(|changed| changed.unwrap().len() == names.len()));
    let wanted = backend.wanted().await.unwrap();
    assert_eq!(wanted.len(), names.len());
    assert!(wanted.iter().all(|camera| camera.spec == wanted[0].spec), "one change is mixed with another: {wanted:?}");
}

pub async fn beats_at_once_all_count(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let d1 = member("d1", 1);
    let before = first_beat(&backend, &d1).await.members[0].renewal;
    let beats = join_all((0..8).map(|_| backend.beat(&d1, Load::default(), false))).await;
    assert!(beats.into_iter().all(|sight| sight.unwrap().is_some()));
    assert_eq!(backend.members().await.unwrap()[0].renewal, before + 8);
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

pub async fn everything_survives_a_crash(bench: &mut impl CoordinationBench) {
    let d1 = member("d1", u64::MAX);
    let before = {
        let backend = bench.backend();
        want(&backend, &["a", "b"]).await;
        let epoch = become_balancer(&backend, &d1).await;
        backend.set_partitions(4).await.unwrap();
        assert!(backend.place(epoch, &[row("a", Some("d1"), 3)], &[]).await.unwrap());
        backend.set_costs(&[(camera("a"), 250)]).await.unwrap();
        let seam = Some(Seam { at: TimeUs(5), key_frame: Some(Digest::of(b"key")) });
        backend.take(&Take { seam, ..take(lease("a"), None, &d1) }).await.unwrap().unwrap();
        backend.renew_balancer(epoch).await.unwrap();
        first_beat(&backend, &d1).await;
        everything(&backend).await
    };
    bench.crash().await;
    assert_eq!(everything(&bench.backend()).await, before);
}

async fn everything(backend: &Arc<dyn Coordination>) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        backend.wanted().await.unwrap(),
        backend.members().await.unwrap(),
        backend.leases().await.unwrap(),
        backend.balancer().await.unwrap(),
        backend.placement().await.unwrap(),
    )
}
