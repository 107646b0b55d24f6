//! What every coordination does.
#![allow(missing_docs)] // Each case's name says what holds.

mod leases;
mod members;
mod placement;
mod wanted;

pub use leases::*;
pub use members::*;
pub use placement::*;
pub use wanted::*;

use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Digest, Epoch, Position, Seam, TimeUs};

use super::Bench;
use super::samples::{camera, result};
use crate::coordination::{Coordination, LeaseName, Load, Member, Placed, Sight, Take};
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
                names_that_look_like_something_else_are_names,
                a_camera_changes_only_if_it_is_as_expected,
                of_changes_at_once_that_expect_the_same_one_is_made,
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
