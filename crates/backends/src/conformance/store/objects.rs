//! The outbox of event objects.

use std::sync::Arc;

use detektor_contract::{Clock, Event, EventChange, ObjectKey, TimeUs};

use super::merge;
use crate::conformance::Bench;
use crate::conformance::samples::{at, camera, changing, closed, event, longer};
use crate::store::{EventStore, PendingObject};

async fn tell(store: &Arc<dyn EventStore>, change: EventChange) {
    let camera = change.event().camera.clone();
    merge(store, &[], changing(&camera, at(1, 0), vec![change]), true).await;
}

async fn pending(store: &Arc<dyn EventStore>) -> Vec<PendingObject> {
    store.pending_objects(100).await.unwrap()
}

fn object(event: &Event, revision: u32, stands: bool) -> PendingObject {
    let body = stands.then(|| event.clone());
    PendingObject { event: event.id.clone(), key: ObjectKey::event(event), revision, body }
}

pub async fn closed_events_are_written_once(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let (first, second) = (event(&camera("b"), at(1, 0)), event(&camera("a"), at(1, 0)));
    for event in [&first, &second] {
        tell(&store, EventChange::Opened(event.clone())).await;
        tell(&store, EventChange::Updated(longer(event))).await;
    }
    assert!(pending(&store).await.is_empty());
    tell(&store, EventChange::Closed(closed(&first))).await;
    tell(&store, EventChange::Closed(closed(&second))).await;
    let both = pending(&store).await;
    assert_eq!(both, [object(&closed(&first), 3, true), object(&closed(&second), 3, true)]);
    assert_eq!(store.pending_objects(1).await.unwrap(), both[..1]);
    store.objects_done(&both[..1]).await.unwrap();
    assert_eq!(pending(&store).await, both[1..]);
    store.objects_done(&both).await.unwrap();
    assert!(pending(&store).await.is_empty());
    store.objects_done(&[]).await.unwrap();
}

pub async fn a_revised_event_is_written_again(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let over = closed(&event(&camera("a"), at(1, 0)));
    tell(&store, EventChange::Closed(over.clone())).await;
    store.objects_done(&pending(&store).await).await.unwrap();
    tell(&store, EventChange::Revised(longer(&over))).await;
    assert_eq!(pending(&store).await, [object(&longer(&over), 2, true)]);
    store.objects_done(&pending(&store).await).await.unwrap();
    // A late outcome shows that it went on: what is written is no longer true.
    let open = Event { state: detektor_contract::EventState::Open, ..over.clone() };
    tell(&store, EventChange::Revised(open.clone())).await;
    assert_eq!(pending(&store).await, [object(&open, 3, false)]);
    store.objects_done(&pending(&store).await).await.unwrap();
    tell(&store, EventChange::Closed(over.clone())).await;
    assert_eq!(pending(&store).await, [object(&over, 4, true)]);
}

pub async fn an_object_of_an_older_revision_is_written_over(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let over = closed(&event(&camera("a"), at(1, 0)));
    tell(&store, EventChange::Closed(over.clone())).await;
    let slow = pending(&store).await;
    tell(&store, EventChange::Revised(longer(&over))).await;
    let fast = pending(&store).await;
    assert_eq!((slow[0].revision, fast[0].revision), (1, 2));
    store.objects_done(&fast).await.unwrap();
    assert!(pending(&store).await.is_empty());
    // The slow writer comes last and may have put the old revision over the new one.
    store.objects_done(&slow).await.unwrap();
    assert_eq!(pending(&store).await, fast);
    store.objects_done(&fast).await.unwrap();
    assert!(pending(&store).await.is_empty());
}

pub async fn a_withdrawn_events_object_is_removed(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let over = closed(&event(&camera("a"), at(1, 0)));
    tell(&store, EventChange::Closed(over.clone())).await;
    store.objects_done(&pending(&store).await).await.unwrap();
    tell(&store, EventChange::Withdrawn(over.clone())).await;
    assert_eq!(pending(&store).await, [object(&over, 2, false)]);
    store.objects_done(&pending(&store).await).await.unwrap();
    assert!(pending(&store).await.is_empty());
    tell(&store, EventChange::Closed(over.clone())).await;
    assert_eq!(pending(&store).await, [object(&over, 3, true)]);
}

pub async fn an_event_that_moves_leaves_no_object_behind(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let day = |n: i64| TimeUs(n * 86_400_000_000);
    let over = Event { clock: Clock::Unix, start: day(10), end: day(11), ..closed(&event(&camera("a"), at(1, 0))) };
    let earlier = Event { start: day(9), ..over.clone() };
    tell(&store, EventChange::Closed(over.clone())).await;
    store.objects_done(&pending(&store).await).await.unwrap();
    tell(&store, EventChange::Revised(earlier.clone())).await;
    let mut moved = pending(&store).await;
    moved.sort_by_key(|object| object.key.clone());
    assert_eq!(moved, [object(&earlier, 2, true), object(&over, 2, false)]);
}

pub async fn a_reindex_writes_only_what_was_pending(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let (done, open) = (closed(&event(&camera("a"), at(1, 0))), closed(&event(&camera("b"), at(1, 0))));
    tell(&store, EventChange::Closed(done.clone())).await;
    store.objects_done(&pending(&store).await).await.unwrap();
    tell(&store, EventChange::Closed(open.clone())).await;
    assert_eq!(pending(&store).await.len(), 1);
    store.begin_reindex().await.unwrap();
    assert!(pending(&store).await.is_empty(), "nothing is known of it until the fold says so");
    for event in [&done, &open] {
        merge(&store, &[], changing(&event.camera, at(1, 0), vec![EventChange::Closed(event.clone())]), false).await;
    }
    let written = pending(&store).await;
    assert_eq!(written.iter().map(|o| (&o.event, &o.body)).collect::<Vec<_>>(), [(&open.id, &Some(open.clone()))]);
    store.objects_done(&written).await.unwrap();
    assert!(pending(&store).await.is_empty());
    tell(&store, EventChange::Revised(longer(&done))).await;
    assert_eq!(pending(&store).await.iter().map(|o| &o.event).collect::<Vec<_>>(), [&done.id]);
}
