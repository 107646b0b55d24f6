//! The fold of a set that is at hand.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{CameraFold, Seams};
use crate::{CameraId, Event, EventId, Gap, Outcome, Position};

/// What a set of outcomes says.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The state after all of them.
    pub fold: CameraFold,
    /// Every event, open and closed, by id.
    pub events: BTreeMap<EventId, Event>,
    /// Every gap in the capture, by where it begins to be known. One that lasts is told again when it is over.
    pub gaps: BTreeMap<Position, Gap>,
}

/// Folds the whole set of a camera's outcomes, in whatever order and however often they stand in it. Other cameras'
/// outcomes are ignored.
pub fn project<'a>(camera: &CameraId, outcomes: impl IntoIterator<Item = &'a Outcome>) -> Projection {
    let mut winners: BTreeMap<Position, &Outcome> = BTreeMap::new();
    for outcome in outcomes.into_iter().filter(|outcome| outcome.id.camera == *camera) {
        match winners.entry(outcome.id.position()) {
            Entry::Vacant(free) => {
                free.insert(outcome);
            }
            Entry::Occupied(mut taken) if outcome.wins_over(taken.get()) => {
                taken.insert(outcome);
            }
            Entry::Occupied(_) => {}
        }
    }
    // Backwards, so that of several in an epoch its first record's counts.
    let seams: Seams = winners.values().rev().filter_map(|o| Some((o.id.epoch, o.seam()?))).collect();
    let fold = CameraFold::new(camera.clone());
    let mut projection = Projection { fold, events: BTreeMap::new(), gaps: BTreeMap::new() };
    for (position, outcome) in winners {
        let applied = projection.fold.apply(outcome, &seams.limit(outcome.id.epoch));
        projection.gaps.extend(applied.gap.map(|gap| (position, gap)));
        for change in applied.changes {
            let event = change.into_event();
            projection.events.insert(event.id.clone(), event);
        }
    }
    projection
}
