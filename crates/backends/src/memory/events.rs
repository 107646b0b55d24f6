//! What a change does to a stored event.

use std::sync::Arc;

use detektor_contract::{Event, EventChange, EventState, ObjectKey, Position};

use super::database::Merged;

/// An event, and what readers know of it.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) event: Event,
    pub(super) standing: Standing,
    pub(super) revision: u32,
    /// Changes that a reindex counted.
    steps: u32,
    /// The last outcome that touched it.
    pub(super) touched: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Listed,
    Withdrawn,
    /// A reindex has not come to it yet.
    Unconfirmed,
}

/// A change that readers are told of.
pub(super) struct Told {
    pub(super) revision: u32,
    pub(super) change: EventChange,
    /// Keys whose object may have to be written or removed.
    pub(super) objects: Vec<ObjectKey>,
}

pub(super) fn is_over(event: &Event) -> bool {
    matches!(event.state, EventState::Closed(_))
}

impl Merged {
    /// Writes a change made by the outcome at `at`. Says what to tell readers, if anything.
    pub(super) fn apply(&mut self, at: Position, change: EventChange, tell: bool) -> Option<Told> {
        let event = change.event().clone();
        let standing = if matches!(change, EventChange::Withdrawn(_)) { Standing::Withdrawn } else { Standing::Listed };
        let known = self.events.get(&event.id).cloned();
        let nothing_new = match known.as_deref() {
            None => standing == Standing::Withdrawn,
            Some(known) => known.standing == standing && (standing == Standing::Withdrawn || known.event == event),
        };
        if nothing_new {
            if let Some(known) = self.events.get_mut(&event.id) {
                Arc::make_mut(known).touched = at;
            }
            return None;
        }
        let (revision, steps) = known.as_ref().map_or((0, 0), |known| (known.revision, known.steps));
        let listed = known.as_ref().filter(|known| known.standing == Standing::Listed);
        // It goes on: kept, not told. If nobody has heard of the event yet, this is how they do.
        let goes_on = matches!(change, EventChange::Continued(_)) && listed.is_some();
        let (revision, steps) = match (goes_on, tell) {
            (true, _) => (revision, steps),
            (false, true) => (revision + 1, steps),
            (false, false) => (revision.max(steps + 1), steps + 1),
        };
        let stored = Stored { event: event.clone(), standing, revision, steps, touched: at };
        self.events.insert(event.id.clone(), Arc::new(stored));
        if goes_on || !tell {
            return None;
        }
        let before = listed.map(|known| &known.event).filter(|event| is_over(event));
        let mut objects: Vec<ObjectKey> = before.into_iter().map(ObjectKey::event).collect();
        if standing == Standing::Listed && is_over(&event) && !objects.contains(&ObjectKey::event(&event)) {
            objects.push(ObjectKey::event(&event));
        }
        let change = match change {
            EventChange::Continued(event) => EventChange::Opened(event),
            told => told,
        };
        Some(Told { revision, change, objects })
    }

    /// All events wait to be confirmed, but for those that no outcome above the floor has touched. Their revisions stay.
    pub(super) fn unconfirm(&mut self) {
        let floor = self.floor.as_ref().map(|floor| floor.floor.at());
        for stored in self.events.values_mut().filter(|stored| Some(stored.touched) > floor) {
            let stored = Arc::make_mut(stored);
            (stored.standing, stored.steps) = (Standing::Unconfirmed, 0);
        }
    }
}
