//! What a refold changed.

use std::collections::BTreeMap;

use crate::{Event, EventChange, EventId, EventState};

/// What a refold changed. `before`: the stored events that outcomes behind the checkpoint had touched. `open`: those open
/// in the checkpoint. `changes`: what applying everything behind the checkpoint again said. The answer holds what to
/// store and to tell, in the order of the changes: for what was known before `Revised` or `Withdrawn`, or `Continued`
/// where it came out the same (nothing to tell, but another outcome may be the last that touched it); and for what is
/// new that it opened, or that it is over.
pub fn diff(before: &[Event], open: &[Event], changes: Vec<EventChange>) -> Vec<EventChange> {
    let mut known: BTreeMap<&EventId, &Event> = before.iter().map(|event| (&event.id, event)).collect();
    let at_checkpoint: BTreeMap<&EventId, &Event> = open.iter().map(|event| (&event.id, event)).collect();
    let last: BTreeMap<EventId, usize> =
        changes.iter().enumerate().map(|(index, change)| (change.event().id.clone(), index)).collect();
    let mut answer = Vec::new();
    for (index, change) in changes.into_iter().enumerate() {
        if last.get(&change.event().id) != Some(&index) {
            continue;
        }
        match known.remove(&change.event().id) {
            Some(stored) => answer.push(again(stored, change.into_event())),
            // Stored as it was at the checkpoint, and not touched since: it goes on from there.
            None if at_checkpoint.contains_key(&change.event().id) => answer.push(change),
            None => {
                let event = change.into_event();
                let opens = event.state == EventState::Open;
                answer.push(if opens { EventChange::Opened(event) } else { EventChange::Closed(event) });
            }
        }
    }
    // What nothing touches any more is as it was at the checkpoint, or never was.
    for (id, stored) in known {
        match at_checkpoint.get(id) {
            Some(event) => answer.push(again(stored, (*event).clone())),
            None => answer.push(EventChange::Withdrawn(stored.clone())),
        }
    }
    answer
}

fn again(stored: &Event, event: Event) -> EventChange {
    if *stored == event { EventChange::Continued(event) } else { EventChange::Revised(event) }
}
