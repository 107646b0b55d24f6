//! What an outcome did to events, told one change an event.

use std::collections::BTreeMap;

use crate::{Event, EventChange, EventId, EventState};

/// Compares the events that were open before an outcome with those that it closed (in order) and those open after it.
pub(super) fn changes(before: Vec<Event>, closed: Vec<Event>, open: Vec<Event>) -> Vec<EventChange> {
    let before: BTreeMap<EventId, Event> = before.into_iter().map(|event| (event.id.clone(), event)).collect();
    let mut changes = Vec::new();
    for event in closed {
        if !before.contains_key(&event.id) {
            changes.push(EventChange::Opened(Event { state: EventState::Open, ..event.clone() }));
        }
        changes.push(EventChange::Closed(event));
    }
    for event in open {
        match before.get(&event.id) {
            None => changes.push(EventChange::Opened(event)),
            Some(known) if *known == event => {}
            Some(known) if shows(known) == shows(&event) => changes.push(EventChange::Continued(event)),
            Some(_) => changes.push(EventChange::Updated(event)),
        }
    }
    changes
}

/// What people care about in an event that goes on.
fn shows(event: &Event) -> (&crate::Label, bool, Option<&crate::ObjectKey>) {
    (&event.label, event.stationary, event.best.snapshot.as_ref())
}
