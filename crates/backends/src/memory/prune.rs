//! Removing what lies at or below a camera's floor.

use std::sync::Arc;

use detektor_contract::{CameraId, EventId, Position};

use super::database::{Merged, Tables};
use super::events::{Standing, is_over};
use crate::store::Pruned;

impl Tables {
    /// The events at or below a place that are over or withdrawn, and whose objects are as they say.
    fn settled(&self, camera: &CameraId, floor: Position) -> Vec<EventId> {
        let merged = self.cameras.get(camera).map(|camera| Arc::clone(&camera.merged)).unwrap_or_default();
        let settled = merged.events.values().filter(|stored| {
            let history = match stored.standing {
                Standing::Listed => is_over(&stored.event),
                Standing::Withdrawn => true,
                Standing::Unconfirmed => false,
            };
            history
                && stored.touched <= floor
                && !self.objects.values().any(|object| object.waits_for(&stored.event.id))
        });
        settled.map(|stored| stored.event.id.clone()).collect()
    }

    /// How much lies at or below a place.
    pub(super) fn prunable(&self, camera: &CameraId, floor: Position) -> Pruned {
        let merged = self.cameras.get(camera).map(|camera| Arc::clone(&camera.merged)).unwrap_or_default();
        let events = self.settled(camera, floor);
        Pruned {
            outcomes: merged.outcomes.range(..=floor).count() as u64,
            checkpoints: merged.checkpoints.range(..=floor).count() as u64,
            gaps: merged.gaps.range(..=floor).count() as u64,
            events: events.len() as u64,
            objects: self.objects.values().filter(|object| events.contains(&object.event)).count() as u64,
        }
    }

    /// Removes it.
    pub(super) fn prune(&mut self, camera: &CameraId) -> Pruned {
        let floor =
            self.cameras.get(camera).and_then(|camera| camera.merged.floor.as_ref()).map(|floor| floor.floor.at());
        let Some(floor) = floor else { return Pruned::default() };
        let (pruned, events) = (self.prunable(camera, floor), self.settled(camera, floor));
        self.objects.retain(|_, object| !events.contains(&object.event));
        if let Some(camera) = self.cameras.get_mut(camera) {
            let merged: &mut Merged = Arc::make_mut(&mut camera.merged);
            merged.outcomes.retain(|at, _| *at > floor);
            merged.checkpoints.retain(|at, _| *at > floor);
            merged.gaps.retain(|at, _| *at > floor);
            merged.events.retain(|id, _| !events.contains(id));
        }
        pruned
    }

    /// How many of the feed's entries, from its beginning on, are older than a time.
    pub(super) fn old_entries(&self, before_ms: i64) -> u64 {
        let newest = self.feed.entries.iter().rposition(|(told_ms, _)| *told_ms < before_ms);
        newest.map_or(0, |index| index as u64 + 1)
    }

    /// Removes them.
    pub(super) fn prune_feed(&mut self, before_ms: i64) -> u64 {
        let old = self.old_entries(before_ms);
        self.feed.entries.drain(..old as usize);
        self.feed.pruned += old;
        old
    }
}
