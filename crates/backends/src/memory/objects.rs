//! The outbox of event objects, and the feed that fills it.

use std::collections::BTreeMap;

use detektor_contract::{EventId, ObjectKey};

use super::database::Tables;
use super::events::{Standing, Told, is_over};
use crate::columns::now_ms;
use crate::store::{FeedEntry, FeedPosition, PendingObject};

/// What an object ought to be, and what was last done about it.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) event: EventId,
    revision: u32,
    done: u32,
    /// Its place in the outbox.
    turn: u64,
}

impl Object {
    /// Whether it is not yet as this event says.
    pub(super) fn waits_for(&self, event: &EventId) -> bool {
        self.event == *event && self.done != self.revision
    }
}

impl Tables {
    pub(super) fn head(&self) -> FeedPosition {
        FeedPosition { generation: self.feed.generation, position: self.feed.pruned + self.feed.entries.len() as u64 }
    }

    /// Adds to the feed, and notes the objects that are no longer as their events say.
    pub(super) fn tell(&mut self, told: Vec<Told>) {
        // Of several changes to one object the last counts.
        let mut noted: BTreeMap<ObjectKey, (EventId, u32, u64)> = BTreeMap::new();
        for Told { revision, change, objects } in told {
            let at = FeedPosition { position: self.head().position + 1, ..self.head() };
            let event = change.event().id.clone();
            noted.extend(objects.into_iter().map(|key| (key, (event.clone(), revision, at.position))));
            self.feed.entries.push((now_ms(), FeedEntry { at, revision, change }));
        }
        for (key, (event, revision, turn)) in noted {
            let done = self.objects.get(&key).map_or(0, |known| known.done);
            self.objects.insert(key, Object { event, revision, done, turn });
        }
    }

    /// Objects to write or remove, oldest first. An event that a reindex has not confirmed yet says nothing about its own.
    pub(super) fn pending(&self, limit: u32) -> Vec<PendingObject> {
        let mut open: Vec<_> = self.objects.iter().filter(|(_, object)| object.done != object.revision).collect();
        open.sort_by_key(|(_, object)| object.turn);
        let pending = open.into_iter().filter_map(|(key, object)| {
            let stored = self.stored(&object.event).filter(|stored| stored.standing != Standing::Unconfirmed)?;
            let event = &stored.event;
            let stands = stored.standing == Standing::Listed && is_over(event) && ObjectKey::event(event) == *key;
            let body = stands.then(|| event.clone());
            Some(PendingObject { event: event.id.clone(), key: key.clone(), revision: object.revision, body })
        });
        pending.take(limit as usize).collect()
    }

    /// Notes what was done last.
    pub(super) fn done(&mut self, done: &PendingObject) {
        if let Some(object) = self.objects.get_mut(&done.key) {
            object.done = done.revision;
        }
    }

    /// Before a reindex: revisions are counted anew, and what is pending stays so.
    pub(super) fn restart_objects(&mut self) {
        for object in self.objects.values_mut() {
            (object.revision, object.done) = (u32::from(object.done != object.revision), 0);
        }
    }
}
