//! Sets of outcomes as cameras, crashes, take-overs and replays may leave them, and orders in which they may come.

#![allow(clippy::unwrap_used)]

use detektor_contract::*;
use proptest::prelude::*;

use crate::common::{Footage, STEP_US, seen};

/// What happens in a stretch of footage.
#[derive(Clone, Debug)]
enum Scene {
    Objects(Vec<(u8, f32, f32, f32)>, u8),
    Quiet,
    Shed,
    Tombstone,
    Undecodable,
    Gap(bool),
    NextEpoch { back_us: i64, end: Option<EndReason>, keyed: bool, seam: bool },
}

fn scene() -> impl Strategy<Value = Scene> {
    let object = (0u8..4, 0.0f32..1_500.0, -300.0f32..300.0, 0.1f32..1.0);
    let end = prop::option::of(prop_oneof![
        Just(EndReason::HandedOver),
        Just(EndReason::Stopped),
        Just(EndReason::SourceFailed)
    ]);
    prop_oneof![
        8 => (prop::collection::vec(object, 0..5), 1u8..5).prop_map(|(objects, s)| Scene::Objects(objects, s)),
        1 => Just(Scene::Quiet),
        1 => Just(Scene::Shed),
        1 => Just(Scene::Tombstone),
        1 => Just(Scene::Undecodable),
        1 => any::<bool>().prop_map(Scene::Gap),
        2 => (-3_000_000i64..4_000_000, end, any::<bool>(), any::<bool>())
            .prop_map(|(back_us, end, keyed, seam)| Scene::NextEpoch { back_us, end, keyed, seam }),
    ]
}

fn film(scenes: &[Scene], live: bool) -> Vec<Outcome> {
    let mut footage = if live { Footage::live() } else { Footage::file() };
    for scene in scenes {
        footage.snapshots = !footage.snapshots;
        footage.key_frame = footage.key_frame.or_else(|| Some(Digest::of(&footage.now.0.to_le_bytes())));
        match scene {
            Scene::Objects(objects, seconds) => {
                footage.looks(f32::from(*seconds), |t| {
                    let labels = ["person", "car", "truck", "dog"];
                    let boxes = objects.iter().map(|(label, x, speed, score)| {
                        seen(labels[usize::from(*label)], *score, [x + speed * t, 300.0, 120.0, 150.0])
                    });
                    boxes.collect()
                });
            }
            Scene::Quiet => drop(footage.quiet(2)),
            Scene::Shed => drop(footage.shed(1)),
            Scene::Tombstone => drop(footage.tombstone(5)),
            Scene::Undecodable => {
                let (seam, span) = (footage.seam, footage.span(5));
                footage.marker(Marker::Undecodable { span, seam, reason: Failed::BeforeKeyFrame });
            }
            Scene::Gap(open) => {
                let from = footage.now;
                footage.now = from.plus(7 * STEP_US);
                if *open {
                    footage.gap(from, None);
                }
                let until = footage.now;
                footage.gap(from, Some(until));
            }
            Scene::NextEpoch { back_us, end, keyed, seam } => {
                if let Some(reason) = end {
                    footage.end(*reason);
                }
                let at = footage.now.plus(-back_us);
                let key_frame = footage.outcomes.last().and_then(|o| o.span()?.key_frame).filter(|_| *keyed);
                footage.next_epoch(seam.then_some(Seam { at, key_frame }));
                footage.now = at;
            }
        }
    }
    footage.outcomes
}

/// A record, and deliveries of it: in any order, repeated, with replays of dead letters among them.
pub fn deliveries() -> impl Strategy<Value = (Vec<Outcome>, Vec<Outcome>)> {
    let scenes = (prop::collection::vec(scene(), 1..14), any::<bool>());
    let record = scenes.prop_map(|(scenes, live)| film(&scenes, live)).prop_filter("nothing", |o| !o.is_empty());
    let with_others = record.prop_flat_map(|record| {
        let count = record.len();
        let replaced = prop::collection::vec((0..count, 0u32..2, any::<bool>()), 0..count);
        (Just(record), replaced)
    });
    let set = with_others.prop_map(|(record, replaced)| {
        let mut set = record.clone();
        for (index, generation, failed) in replaced {
            let mut other = record[index].clone();
            let (span, seam) = (other.span().copied(), other.seam());
            if let Some(span) = span.filter(|_| failed) {
                let error = "later".to_owned();
                other.body = OutcomeBody::Tombstone(Tombstone { span, seam, error, attempts: 3, quarantine: None });
            }
            if let OutcomeBody::Result(result) = &mut other.body {
                result.frames.iter_mut().for_each(|frame| {
                    if let Fate::Detected(seen) = &mut frame.fate {
                        seen.pop();
                    }
                });
            }
            other.generation = generation;
            set.push(other);
        }
        set
    });
    set.prop_flat_map(|set| {
        let repeated = prop::collection::vec(0..set.len(), 0..set.len());
        (Just(set), repeated)
    })
    .prop_flat_map(|(set, repeated)| {
        let mut sent = set.clone();
        sent.extend(repeated.into_iter().map(|index| set[index].clone()));
        (Just(set), Just(sent).prop_shuffle())
    })
}
