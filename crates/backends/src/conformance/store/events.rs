//! Events: revisions and listing.

use std::sync::Arc;

use detektor_contract::{Event, EventChange, Label, Position, Score, TimeUs};

use super::{begin, merge};
use crate::conformance::Bench;
use crate::conformance::samples::{SECOND, at, camera, changing, closed, event, longer};
use crate::store::{EventCursor, EventFilter, EventStore, Order, StoredEvent};

/// Applies one change by the outcome at `at` and returns how often readers were told, and the event as stored.
async fn change(store: &Arc<dyn EventStore>, at: Position, change: EventChange) -> (u64, Option<StoredEvent>) {
    let before = store.feed_head().await.unwrap().position;
    let event = change.event().clone();
    merge(store, &[], changing(&event.camera, at, vec![change]), true).await;
    (store.feed_head().await.unwrap().position - before, store.event(&event.id).await.unwrap())
}

pub async fn a_change_raises_the_revision(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let opened = event(&camera("gate"), at(1, 0));
    let going_on = longer(&opened);
    let updated = Event { stationary: true, ..longer(&going_on) };
    let over = closed(&updated);
    let revised = Event { looks: 9, ..over.clone() };
    let stored = |event: &Event, revision| Some(StoredEvent { event: event.clone(), revision });
    assert_eq!(change(&store, at(1, 0), EventChange::Opened(opened.clone())).await, (1, stored(&opened, 1)));
    assert_eq!(change(&store, at(1, 1), EventChange::Continued(going_on.clone())).await, (0, stored(&going_on, 1)));
    assert_eq!(change(&store, at(1, 2), EventChange::Updated(updated.clone())).await, (1, stored(&updated, 2)));
    assert_eq!(change(&store, at(1, 3), EventChange::Closed(over.clone())).await, (1, stored(&over, 3)));
    assert_eq!(change(&store, at(1, 3), EventChange::Revised(revised.clone())).await, (1, stored(&revised, 4)));
}

pub async fn what_says_nothing_new_is_no_change(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let over = closed(&event(&camera("gate"), at(1, 0)));
    let stored = Some(StoredEvent { event: over.clone(), revision: 1 });
    assert_eq!(change(&store, at(1, 0), EventChange::Closed(over.clone())).await, (1, stored.clone()));
    for same in [EventChange::Closed, EventChange::Revised, EventChange::Opened, EventChange::Continued] {
        assert_eq!(change(&store, at(1, 0), same(over.clone())).await, (0, stored.clone()));
    }
    let never = event(&camera("gate"), at(7, 7));
    assert_eq!(change(&store, at(1, 0), EventChange::Withdrawn(never)).await, (0, None));
}

pub async fn a_withdrawn_event_is_gone_and_may_come_back(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let opened = event(&camera("gate"), at(1, 0));
    change(&store, at(1, 0), EventChange::Opened(opened.clone())).await;
    assert_eq!(change(&store, at(1, 0), EventChange::Withdrawn(opened.clone())).await, (1, None));
    assert_eq!(change(&store, at(1, 0), EventChange::Withdrawn(opened.clone())).await, (0, None));
    assert!(store.events(&EventFilter::default(), Order::Ascending, None, 9).await.unwrap().is_empty());
    let back = change(&store, at(1, 0), EventChange::Opened(opened.clone())).await;
    assert_eq!(back, (1, Some(StoredEvent { event: opened, revision: 3 })));
}

/// Events of two cameras: at second 0 to 4 a car each, and a person where the second is odd.
async fn some_events(store: &Arc<dyn EventStore>) -> Vec<Event> {
    let mut all = Vec::new();
    for name in ["b", "a"] {
        for sequence in 0..5 {
            let mut event = event(&camera(name), at(1, sequence));
            if sequence % 2 == 1 {
                event.label = Label::from("person");
                event.best_score = Score::from_f32(0.6);
            }
            change(store, at(1, sequence), EventChange::Opened(event.clone())).await;
            all.push(event);
        }
    }
    all.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
    all
}

pub async fn events_are_filtered(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let all = some_events(&store).await;
    let check = async |filter: EventFilter, keep: &dyn Fn(&Event) -> bool| {
        let listed = store.events(&filter, Order::Ascending, None, 100).await.unwrap();
        let listed: Vec<Event> = listed.into_iter().map(|stored| stored.event).collect();
        let expected: Vec<Event> = all.iter().filter(|event| keep(event)).cloned().collect();
        assert_eq!(listed, expected, "{filter:?}");
        listed.len()
    };
    assert_eq!(check(EventFilter::default(), &|_| true).await, 10);
    let b = EventFilter { camera: Some(camera("b")), ..EventFilter::default() };
    assert_eq!(check(b, &|e| e.camera == camera("b")).await, 5);
    let people = EventFilter { labels: vec![Label::from("person"), Label::from("dog")], ..EventFilter::default() };
    assert_eq!(check(people, &|e| e.label.as_str() == "person").await, 4);
    let from = TimeUs(2 * SECOND + SECOND / 2);
    assert_eq!(check(EventFilter { from: Some(from), ..EventFilter::default() }, &|e| e.end >= from).await, 6);
    let until = TimeUs(2 * SECOND);
    assert_eq!(check(EventFilter { until: Some(until), ..EventFilter::default() }, &|e| e.start < until).await, 4);
    let sure = Score::from_f32(0.8);
    let filter = EventFilter {
        min_score: Some(sure),
        camera: Some(camera("a")),
        from: Some(TimeUs(SECOND)),
        ..EventFilter::default()
    };
    assert_eq!(check(filter, &|e| e.best_score >= sure && e.camera == camera("a") && e.end >= TimeUs(SECOND)).await, 2);
}

pub async fn events_are_paged_in_both_orders(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let mut all = some_events(&store).await;
    for order in [Order::Ascending, Order::Descending] {
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = store.events(&EventFilter::default(), order, cursor.as_ref(), 3).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 3);
            cursor = Some(EventCursor { start: last.event.start, id: last.event.id.clone() });
            seen.extend(page.into_iter().map(|stored| stored.event));
        }
        assert_eq!(seen, all, "{order:?}");
        all.reverse();
    }
}

pub async fn touched_events_are_found(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let (first, second, gone) = (event(&gate, at(1, 0)), event(&gate, at(1, 1)), event(&gate, at(1, 2)));
    change(&store, at(1, 0), EventChange::Opened(first.clone())).await;
    change(&store, at(1, 1), EventChange::Opened(second.clone())).await;
    change(&store, at(1, 2), EventChange::Opened(gone.clone())).await;
    change(&store, at(1, 2), EventChange::Withdrawn(gone)).await;
    let first = longer(&first);
    change(&store, at(2, 0), EventChange::Continued(first.clone())).await;
    change(&store, at(1, 0), EventChange::Opened(event(&camera("other"), at(1, 0)))).await;
    let mut merge = begin(&store, &gate).await;
    let mut touched = async |after| merge.events_touched_after(&gate, after).await.unwrap();
    assert_eq!(touched(None).await, [first.clone(), second.clone()]);
    assert_eq!(touched(Some(at(1, 0))).await, [first.clone(), second]);
    assert_eq!(touched(Some(at(1, 1))).await, [first]);
    assert!(touched(Some(at(2, 0))).await.is_empty());
}
