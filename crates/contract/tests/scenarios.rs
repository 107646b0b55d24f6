//! What happens in front of cameras, and the events that it must become.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Footage, seen};
use detektor_contract::*;

/// A walker: 80 x 200 pixels, at so many pixels a second.
fn walker(t: f32, from: f32, speed: f32) -> [f32; 4] {
    [from + speed * t, 400.0, 80.0, 200.0]
}

/// A number from -1 to 1 that looks random and repeats.
fn noise(t: f32, salt: u32) -> f32 {
    let mut x = ((t * 1_000.0) as u32).wrapping_mul(0x9E37_79B9) ^ salt.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 15;
    x = x.wrapping_mul(0x2C1B_3C6D);
    x ^= x >> 12;
    (x % 2_001) as f32 / 1_000.0 - 1.0
}

#[test]
fn somebody_walks_through() {
    let mut footage = Footage::live();
    footage.looks(1.0, |_| vec![]);
    let from = footage.now;
    footage.looks(5.0, |t| vec![seen("person", 0.8, walker(t, 100.0, 150.0))]);
    let last = footage.now.plus(-common::STEP_US);
    footage.looks(4.0, |_| vec![]);
    let [event] = footage.events().try_into().unwrap();
    assert_eq!(event.state, EventState::Closed(CloseReason::Left));
    assert_eq!((event.start, event.end, event.looks), (from, last, 25));
    assert_eq!((event.label.as_str(), event.stationary), ("person", false));
    assert_eq!(event.id, EventId::new(&"gate/1/1".parse().unwrap(), 0, 0));
    assert_eq!(event.last_segment, "gate/1/5".parse().unwrap());
}

#[test]
fn a_parked_car_is_one_event() {
    let parked = |t: f32| {
        let [dx, dy, dw] = [1, 2, 3].map(|salt| noise(t, salt) * 6.0);
        [600.0 + dx, 500.0 + dy, 300.0 + dw, 180.0]
    };
    let mut footage = Footage::live();
    footage.looks(3.0, |t| vec![seen("car", 0.8, [1_500.0 - 300.0 * t, 500.0, 300.0, 180.0])]);
    // It stands: taken for a truck at times, often dim, at times not seen at all; people pass in front.
    footage.looks(120.0, |t| {
        let mut all = Vec::new();
        if noise(t, 4) > -0.6 {
            let label = if noise(t, 5) > 0.4 { "truck" } else { "car" };
            all.push(seen(label, 0.35 + 0.3 * noise(t, 6), parked(t)));
        }
        if t % 20.0 < 8.0 {
            all.push(seen("person", 0.8, walker(t % 20.0, 300.0, 120.0)));
        }
        all
    });
    footage.quiet(600);
    footage.looks(10.0, |t| vec![seen("car", 0.7, parked(t))]);
    let events = footage.events();
    let cars: Vec<&Event> = events.iter().filter(|e| e.label.as_str() == "car").collect();
    let [car] = cars[..] else { panic!("{cars:#?}") };
    assert_eq!(events.len(), 7, "one car, six people");
    assert!(car.stationary && car.state == EventState::Open);

    // It leaves, and is seen to the end; or it is gone, which several looks must say.
    footage.looks(2.0, |t| vec![seen("car", 0.7, [600.0 + 250.0 * t, 500.0, 300.0, 180.0])]);
    let left = footage.now.plus(-common::STEP_US);
    footage.looks(4.0, |_| vec![]);
    let car = footage.events().into_iter().find(|e| e.label.as_str() == "car").unwrap();
    assert_eq!((car.state, car.end), (EventState::Closed(CloseReason::Left), left));
    assert!(!car.stationary);
}

#[test]
fn a_stationary_event_outlives_a_few_misses_but_not_many() {
    let mut footage = Footage::live();
    let car = |_| vec![seen("car", 0.8, [600.0, 500.0, 300.0, 180.0])];
    footage.looks(12.0, car).looks(2.8, |_| vec![]);
    assert_eq!(footage.events()[0].state, EventState::Open);
    footage.looks(0.2, |_| vec![]);
    assert_eq!(footage.events()[0].state, EventState::Closed(CloseReason::Left));
}

#[test]
fn a_pole_hides_a_person_for_half_a_second() {
    for hidden in [0.4, 0.6, 0.8, 1.0] {
        let mut footage = Footage::live();
        footage.looks(6.0, |t| {
            let behind_pole = t >= 2.6 && t < 2.6 + hidden;
            if behind_pole { vec![] } else { vec![seen("person", 0.8, walker(t, 100.0, 150.0))] }
        });
        assert_eq!(footage.events().len(), 1, "hidden for {hidden} s");
    }
}

#[test]
fn somebody_comes_out_where_he_went_in() {
    let mut footage = Footage::live();
    // Walks behind a van, turns round, and comes back the same way.
    footage.looks(2.0, |t| vec![seen("person", 0.8, walker(t, 100.0, 150.0))]).looks(1.4, |_| vec![]);
    footage.looks(2.0, |t| vec![seen("person", 0.8, walker(t, 370.0, -150.0))]);
    assert_eq!(footage.events().len(), 1);
}

#[test]
fn people_who_cross_stay_who_they_are() {
    for apart in [0.0, 60.0] {
        let mut footage = Footage::live();
        footage.looks(6.0, |t| {
            // The best look of each is where he ends up.
            let quality = 0.6 + 0.05 * t;
            let mut all = vec![seen("person", quality, walker(t, 100.0, 200.0))];
            let [x, y, w, h] = walker(t, 1_300.0, -200.0);
            let hidden = (x - (100.0 + 200.0 * t)).abs() < 70.0 && apart == 0.0;
            if !hidden {
                all.push(seen("person", quality, [x, y + apart, w, h]));
            }
            all
        });
        let events = footage.events();
        assert_eq!(events.len(), 2, "{apart}: {events:#?}");
        let ends: Vec<i32> = events.iter().map(|e| e.best.bounds.x / 10).collect();
        assert_eq!(ends, [1_260, 140], "{apart}");
    }
}

#[test]
fn a_fast_car_moves_further_than_its_length_between_looks() {
    let mut footage = Footage::live();
    footage.looks(2.0, |t| vec![seen("car", 0.8, [20.0 + 850.0 * t, 500.0, 160.0, 90.0])]);
    assert_eq!(footage.events().len(), 1);
}

#[test]
fn two_boxes_on_one_van_are_one_van() {
    let mut footage = Footage::live();
    footage.looks(4.0, |t| {
        let x = 100.0 + 100.0 * t;
        vec![
            seen("car", 0.7, [x, 500.0, 300.0, 200.0]),
            seen("truck", 0.6, [x + 10.0, 495.0, 300.0, 200.0]),
            seen("car", 0.55, [x + 10.0, 510.0, 150.0, 150.0]),
        ]
    });
    let [event] = footage.events().try_into().unwrap();
    assert_eq!(event.label.as_str(), "car");
}

#[test]
fn what_is_dim_goes_on_but_never_begins() {
    let mut footage = Footage::live();
    footage.looks(4.0, |t| vec![seen("person", 0.2, walker(t, 100.0, 100.0))]);
    assert_eq!(footage.events().len(), 0);
    footage.looks(1.0, |t| vec![seen("person", 0.8, walker(t, 500.0, 100.0))]);
    footage.looks(4.0, |t| vec![seen("person", 0.15, walker(t, 600.0, 100.0))]);
    let [event] = footage.events().try_into().unwrap();
    assert_eq!((event.looks, event.state), (25, EventState::Open));
}

#[test]
fn it_takes_three_good_looks_of_five() {
    let scores = |pattern: &'static [f32]| {
        let mut footage = Footage::live();
        footage.looks(pattern.len() as f32 / 5.0, |t| {
            vec![seen("person", pattern[(t * 5.0).round() as usize], walker(t, 100.0, 100.0))]
        });
        footage.events().len()
    };
    assert_eq!(scores(&[0.6, 0.6, 0.4, 0.4, 0.4]), 0);
    assert_eq!(scores(&[0.6, 0.4, 0.4, 0.6, 0.4, 0.6]), 0);
    assert_eq!(scores(&[0.6, 0.4, 0.6, 0.4, 0.6]), 1);
    assert_eq!(scores(&[0.6, 0.6, 0.6]), 1);
}

#[test]
fn only_looks_age_a_track() {
    let person = |t: f32| vec![seen("person", 0.8, walker(t, 500.0, 5.0))];
    let mut footage = Footage::live();
    footage.looks(2.0, person).quiet(300).shed(60).tombstone(100);
    let gap = footage.now;
    footage.now = gap.plus(3_600_000_000);
    let until = footage.now;
    footage.gap(gap, Some(until)).looks(2.0, person);
    let [event] = footage.events().try_into().unwrap();
    assert_eq!((event.state, event.looks), (EventState::Open, 20));
    let ledger = footage.project().fold.ledger().clone();
    assert!(ledger.closes(), "{ledger:?}");
    assert_eq!(ledger.skipped, [(Skipped::Shed, 300), (Skipped::Quiet, 1_500)].into());
    assert_eq!((ledger.failed[&Failed::DeadLettered], ledger.gaps), (100, 1));
}

#[test]
fn an_end_closes_events_with_its_reason() {
    let ends = [
        (EndReason::EndOfFile, EventState::Closed(CloseReason::CameraEnded)),
        (EndReason::SourceFailed, EventState::Closed(CloseReason::CameraEnded)),
        (EndReason::Stopped, EventState::Closed(CloseReason::CameraStopped)),
        (EndReason::HandedOver, EventState::Open),
    ];
    for (reason, state) in ends {
        let mut footage = Footage::live();
        footage.looks(2.0, |t| vec![seen("person", 0.8, walker(t, 100.0, 100.0))]).end(reason);
        assert_eq!(footage.events()[0].state, state, "{reason:?}");
    }
}

#[test]
fn a_lost_camera_closes_its_events_and_its_gap_counts_once() {
    let mut footage = Footage::live();
    footage.looks(2.0, |t| vec![seen("person", 0.8, walker(t, 100.0, 100.0))]);
    let from = footage.now;
    footage.gap(from, None);
    assert_eq!(footage.events()[0].state, EventState::Closed(CloseReason::CameraLost));
    footage.now = from.plus(30_000_000);
    let until = footage.now;
    footage.gap(from, Some(until)).looks(2.0, |t| vec![seen("person", 0.8, walker(t, 300.0, 100.0))]);
    assert_eq!(footage.project().fold.ledger().gaps, 1);
    assert_eq!(footage.events().len(), 2);
    let from = footage.now;
    footage.gap(from, Some(from.plus(1)));
    assert_eq!(footage.project().fold.ledger().gaps, 2);
}

#[test]
fn what_nobody_attended_is_a_gap_too() {
    let person = |t: f32| vec![seen("person", 0.8, walker(t, 100.0, 100.0))];
    let restarted_after = |pause: i64, marked: bool, key_frame: Option<Digest>| {
        let mut footage = Footage::live();
        footage.looks(2.0, person);
        let from = footage.now;
        if marked {
            footage.gap(from, None);
        }
        let at = from.plus(pause);
        footage.next_epoch(Some(Seam { at, key_frame }));
        footage.now = at;
        footage.looks(2.0, person).end(EndReason::Stopped);
        let projection = footage.project();
        let ledger = projection.fold.ledger().clone();
        assert!(ledger.closes(), "{ledger:?}");
        let gaps: Vec<_> = projection.gaps.into_values().map(|gap| (gap.from, gap.until, gap.cause)).collect();
        (from, ledger.gaps, gaps)
    };
    let killed = restarted_after(5_000_000, false, None);
    assert_eq!(killed.1, 1);
    assert_eq!(killed.2, [(killed.0, Some(killed.0.plus(5_000_000)), GapCause::Unattended)]);
    // Within a frame or two the next one began where the last one was.
    assert_eq!(restarted_after(2 * common::STEP_US, false, None).1, 0);
    assert_eq!(restarted_after(2 * common::STEP_US + 1, false, None).1, 1);
    // Two dispatchers stamp one key frame each by its own clock.
    let key_frame = Some(Digest::of(b"key"));
    assert_eq!(restarted_after(2_000_000, false, key_frame).1, 0);
    assert_eq!(restarted_after(2_000_001, false, key_frame).1, 1);
    // The camera was away before, and is back now: one gap, with the cause that was known.
    let away = restarted_after(9_000_000, true, None);
    assert_eq!(away.1, 1);
    let until = away.0.plus(9_000_000);
    let cause = GapCause::Disconnected;
    assert_eq!(away.2, [(away.0, None, cause), (away.0, Some(until), cause)]);
}

#[test]
fn a_gap_that_is_over_is_not_told_again_by_the_next_epoch() {
    let mut footage = Footage::live();
    footage.looks(2.0, |_| vec![]);
    let from = footage.now;
    footage.now = from.plus(4_000_000);
    let back = footage.now;
    // Killed after the camera was back, before its first segment was whole.
    footage.gap(from, Some(back));
    let at = back.plus(3_000_000);
    footage.next_epoch(Some(Seam { at, key_frame: None }));
    footage.now = at;
    footage.looks(2.0, |_| vec![]);
    let gaps: Vec<_> = footage.project().gaps.into_values().map(|gap| (gap.from, gap.until)).collect();
    assert_eq!(gaps, [(from, Some(back)), (back, Some(at))]);
}

#[test]
fn a_gap_ends_where_a_newer_epoch_has_the_camera() {
    // A dispatcher that is cut off is back after a minute, and tells of it; another one has had the camera since three seconds after.
    let mut footage = Footage::live();
    footage.looks(2.0, |_| vec![]);
    let from = footage.now;
    let (at, back) = (from.plus(3_000_000), from.plus(60_000_000));
    footage.gap(from, None).gap(from, Some(back));
    // Cut off again, it is of no consequence.
    footage.gap(back, None).gap(back, Some(back.plus(9_000_000))).end(EndReason::HandedOver);
    footage.next_epoch(Some(Seam { at, key_frame: None }));
    footage.now = at;
    footage.looks(57.0, |t| vec![seen("person", 0.8, walker(t, 100.0, 100.0))]);
    let projection = footage.project();
    let gaps: Vec<_> = projection.gaps.values().map(|gap| (gap.from, gap.until)).collect();
    assert_eq!(gaps, [(from, None), (from, Some(at))]);
    assert_eq!(projection.fold.ledger().gaps, 1);
    assert_eq!(projection.fold.merged_until().map(|(until, _)| until), Some(back));
    assert_eq!(footage.events().len(), 1);
}

#[test]
fn a_dispatcher_that_has_lost_its_camera_to_another_closes_no_event() {
    let person = |t: f32| vec![seen("person", 0.8, walker(t, 100.0, 100.0))];
    let mut footage = Footage::live();
    footage.looks(2.0, person);
    let at = footage.now;
    // A second later the camera is away, for this one.
    footage.looks(1.0, |t| person(t + 2.0));
    let away = footage.now;
    footage.gap(away, None).end(EndReason::HandedOver);
    footage.next_epoch(Some(Seam { at, key_frame: None }));
    footage.now = at;
    footage.looks(2.0, |t| person(t + 2.0)).end(EndReason::Stopped);
    let [event] = footage.events().try_into().unwrap();
    assert_eq!((event.looks, event.state), (20, EventState::Closed(CloseReason::CameraStopped)));
    assert!(footage.project().gaps.is_empty());
}

#[test]
fn a_new_epoch_supersedes_the_old_one_frame_by_frame() {
    let person = |t: f32| vec![seen("person", 0.8, walker(t, 100.0, 100.0))];
    let mut footage = Footage::live();
    footage.looks(3.0, person);
    // The new dispatcher begins in the middle of the old one's third segment, which has its own view of what follows.
    let at = footage.now.plus(-2 * common::STEP_US);
    footage.shed(1);
    footage.next_epoch(Some(Seam { at, key_frame: None }));
    footage.now = at;
    footage.looks(2.0, |t| person(t + 2.6)).end(EndReason::Stopped);
    let [event] = footage.events().try_into().unwrap();
    assert_eq!((event.looks, event.id.as_str()), (13 + 10, "gate.1.0.0.0"));
    let ledger = footage.project().fold.ledger().clone();
    assert_eq!((ledger.captured, ledger.detected), (30, 23));
    assert_eq!(ledger.skipped, [(Skipped::Superseded, 7)].into());
    assert!(ledger.closes());
}

#[test]
fn a_planned_hand_over_cuts_at_the_key_frame_both_have() {
    let key_frame = Some(Digest::of(b"key"));
    let mut footage = Footage::live();
    footage.looks(2.0, |t| vec![seen("person", 0.8, walker(t, 100.0, 100.0))]);
    let at = footage.now;
    footage.key_frame = key_frame;
    footage.looks(2.0, |_| vec![]).end(EndReason::HandedOver);
    // The new one stamps the same frame a little earlier; the old one's frames before it still count.
    footage.next_epoch(Some(Seam { at: at.plus(-300_000), key_frame }));
    footage.now = at.plus(-300_000);
    footage.looks(2.0, |t| vec![seen("person", 0.8, walker(t, 300.0, 100.0))]);
    let [event] = footage.events().try_into().unwrap();
    assert_eq!((event.state, event.looks), (EventState::Open, 20));
    assert_eq!(footage.project().fold.ledger().skipped, [(Skipped::Superseded, 10)].into());
}

#[test]
fn each_pass_over_a_file_has_events_of_its_own() {
    let person = |t: f32| vec![seen("person", 0.8, walker(t, 100.0, 100.0))];
    let mut footage = Footage::file();
    footage.looks(2.0, person).next_epoch(None);
    footage.now = TimeUs(0);
    footage.looks(2.0, person);
    let events = footage.events();
    assert_eq!(events.len(), 2);
    let first = events.iter().find(|e| e.first_segment.epoch == Epoch(1)).unwrap();
    assert_eq!((first.state, first.clock), (EventState::Closed(CloseReason::CameraEnded), Clock::Media));
    assert_eq!(footage.project().fold.merged_until(), Some((TimeUs(2_000_000), Clock::Media)));
}

#[test]
fn the_best_look_is_one_that_can_be_shown() {
    let mut footage = Footage::live();
    footage.snapshots = true;
    footage.looks(3.0, |t| vec![seen("person", 0.6 + 0.1 * t, [300.0 + 50.0 * t, 400.0, 80.0, 200.0])]);
    let best = footage.events()[0].best.clone();
    let last: SegmentId = "gate/1/2".parse().unwrap();
    assert_eq!((best.segment.clone(), best.frame), (last.clone(), 1));
    assert_eq!(best.snapshot, Some(ObjectKey::snapshot(&last, 1)));
    assert_eq!(footage.events()[0].best_score, common::score(0.88));
}

#[test]
fn a_look_at_the_border_shows_less() {
    let mut footage = Footage::live();
    footage.looks(2.0, |t| {
        let x = 1_300.0 + 300.0 * t;
        vec![seen("person", 0.8, [x, 400.0, 80.0, 200.0 + x / 100.0])]
    });
    let right = footage.events()[0].best.bounds;
    assert!(right.x / 10 + 80 < 1_900, "{right:?}");
}

#[test]
fn the_running_count_is_checked() {
    let mut footage = Footage::live();
    footage.looks(4.0, |_| vec![]).end(EndReason::EndOfFile);
    let mut missing = footage.project();
    assert!(missing.fold.ledger().closes());

    // A hole explains what is missing...
    let lost = footage.outcomes.remove(2);
    missing = footage.project();
    let ledger = missing.fold.ledger();
    assert_eq!((ledger.holes, ledger.captured, ledger.detected, ledger.miscounted), (1, 20, 15, 0));
    assert!(!ledger.closes());

    // ...and without one, a difference is a mistake that shows.
    footage.outcomes.insert(2, lost);
    let OutcomeBody::Result(result) = &mut footage.outcomes[3].body else { panic!() };
    result.span.first_frame += 2;
    let ledger = footage.project().fold.ledger().clone();
    assert_eq!((ledger.holes, ledger.miscounted), (0, 4));
    assert!(!ledger.closes());
}

#[test]
fn changes_tell_an_events_life() {
    let mut footage = Footage::live();
    footage.looks(1.0, |t| vec![seen("car", 0.8, [600.0 + t, 500.0, 300.0, 180.0])]);
    footage.looks(11.0, |_| vec![seen("car", 0.8, [600.0, 500.0, 300.0, 180.0])]);
    footage.looks(5.0, |_| vec![]);
    let mut fold = fold::CameraFold::new(common::camera());
    let mut told = Vec::new();
    for outcome in &footage.outcomes {
        for change in fold.apply(outcome, &fold::Limit::default()).changes {
            told.push(match change {
                EventChange::Opened(_) => "opened",
                EventChange::Continued(_) => "continued",
                EventChange::Updated(_) => "updated",
                EventChange::Closed(_) => "closed",
                EventChange::Revised(_) | EventChange::Withdrawn(_) => "late",
            });
        }
    }
    told.dedup();
    assert_eq!(told, ["opened", "continued", "updated", "continued", "closed"]);
    assert!(fold.open_events().is_empty());
    assert!(fold.to_bytes().len() < 200, "closed events leave the state");
}
