//! Each engine agrees with ONNX Runtime and an independent decoder (scripts/models/make_references.py) on real frames.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use detektor_contract::{Box2, Score};
use detektor_detect::engine::{EngineKind, Look};
use serde::Deserialize;

for_each_engine!(agrees_with_the_references);

/// In pixels of a frame as the model sees it.
const BOX_TOLERANCE: f64 = 1.0;
const SCORE_TOLERANCE: f64 = 0.01;

#[derive(Deserialize)]
struct References {
    model: String,
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    frame: String,
    detections: Vec<Expected>,
}

#[derive(Deserialize, Debug)]
struct Expected {
    label: String,
    score: f64,
    #[serde(rename = "box")]
    bounds: [f64; 4],
}

fn agrees_with_the_references(kind: EngineKind) {
    let folder = common::root().join("functions/detect/tests/data");
    let references: References =
        serde_json::from_slice(&std::fs::read(folder.join("references.json")).unwrap()).unwrap();
    let model = common::bundled();
    assert_eq!(references.model, model.manifest().name);
    assert!(references.references.len() >= 5);
    let mut detector = common::detector(&model, kind);
    for Reference { frame, detections: expected } in references.references {
        let picture = common::png(&folder.join(&frame));
        let looks = detector.detect(&[Look::whole(&picture)]).unwrap();
        let mut found = detector.detections(&looks, Score::default(), &[]);
        for e in &expected {
            let [x, y, w, h] = e.bounds.map(|v| v as f32);
            let place = Box2::from_pixels(x, y, w, h);
            let same = |d: &detektor_contract::Detection| {
                let sides = d.bounds.pixels().into_iter().zip(e.bounds);
                d.label.as_str() == e.label
                    && (d.score.to_f64() - e.score).abs() <= SCORE_TOLERANCE
                    && sides.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) <= BOX_TOLERANCE
            };
            // The best match by place, among those of the label.
            let best = found
                .iter()
                .enumerate()
                .filter(|(_, d)| d.label.as_str() == e.label)
                .max_by_key(|(_, d)| d.bounds.iou(place))
                .map(|(i, _)| i);
            match best {
                Some(i) if same(&found[i]) => drop(found.remove(i)),
                // What is within the tolerance of the threshold may fall on either side of it.
                _ if e.score < 0.1 + SCORE_TOLERANCE => {}
                _ => panic!("{kind}: {frame}: no match for {e:?} in {found:?}"),
            }
        }
        found.retain(|d| d.score.to_f64() >= 0.1 + SCORE_TOLERANCE);
        assert!(found.is_empty(), "{kind}: {frame}: not in the reference: {found:?}");
    }
}
