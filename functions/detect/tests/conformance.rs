//! What every engine has to do, each with its own tolerance.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::toy::{self, Toy};
use detektor_contract::{Label, Score};
use detektor_detect::engine::{EngineError, EngineKind, EngineOptions, Look, RawBox, Region, open};
use detektor_detect::model::Model;
use ffmpeg::format::Pixel;
use ffmpeg::frame;

for_each_engine!(
    names_itself_and_its_model,
    yolov8_output,
    yolox_output_in_one_tensor,
    yolox_output_in_three_tensors,
    efficientdet_output,
    a_batch_is_answered_in_order,
    answers_repeat_bit_for_bit,
    a_crop_is_answered_in_source_pixels,
    detections_are_filtered_and_rounded,
    an_unreadable_picture_is_refused,
    wrong_output_shapes_are_refused,
    unknown_operators_are_refused,
);

/// How far a number may be from what arithmetic says.
fn tolerance(kind: EngineKind) -> f32 {
    match kind {
        // The toys only move numbers about; the decoders are shared.
        EngineKind::Tract | EngineKind::Ort => 1e-5,
    }
}

fn assert_seen(kind: EngineKind, found: &[RawBox], expected: &[(u16, f32, [f32; 4])]) {
    assert_eq!(found.len(), expected.len(), "{kind}: {found:?}");
    for (b, (class, score, edges)) in found.iter().zip(expected) {
        assert_eq!(b.class, *class, "{kind}: {found:?}");
        let numbers = [b.score, b.x0, b.y0, b.x1, b.y1].into_iter().zip([&[*score], &edges[..]].concat());
        for (a, e) in numbers {
            assert!((a - e).abs() <= tolerance(kind), "{kind}: {a} is not {e} in {found:?}");
        }
    }
}

/// A picture that holds these numbers in an NHWC input, in tenths, row by row.
fn written(width: u32, height: u32, tenths: &[u8]) -> frame::Video {
    assert_eq!(tenths.len(), (width * height * 3) as usize);
    common::picture(width, height, |x, y| {
        let at = ((y * width + x) * 3) as usize;
        [tenths[at], tenths[at + 1], tenths[at + 2]]
    })
}

fn model(toy: Toy, size: [u32; 2], output: &str) -> Model {
    let bytes = toy.bytes();
    toy::load(&bytes, &toy::manifest(&bytes, size, "nhwc", output)).unwrap_or_else(|e| panic!("{e}"))
}

/// 4 coordinates and 3 classes for 3 boxes: 21 numbers, an input of 7 x 1.
fn yolov8_toy() -> Model {
    let toy = Toy::new(&[1, 1, 7, 3]).reshaped("out", &[1, 7, 3]);
    model(toy, [7, 1], "kind = 'yolov8'\npredictions = 'out'\nactivation = 'probabilities'")
}

#[rustfmt::skip]
const YOLOV8: [u8; 21] = [
    20, 20, 50,  // centre x
     5,  5,  5,  // centre y
    20, 18, 30,  // width
    10, 10, 10,  // height
     9,  8,  0,  // class 0
     0,  0,  9,  // class 1, unused
     0,  0,  6,  // class 2
];

fn names_itself_and_its_model(kind: EngineKind) {
    let model = yolov8_toy();
    let engine = common::engine(&model, kind);
    assert_eq!((engine.id().engine.as_str(), engine.id().model.as_str()), (kind.name(), "toy"));
    assert_eq!(engine.id().digest, model.digest());
}

fn yolov8_output(kind: EngineKind) {
    let picture = written(7, 1, &YOLOV8);
    let found = common::engine(&yolov8_toy(), kind).detect(&[Look::whole(&picture)]).unwrap();
    // The second box is covered by the first; class 1 is not used.
    assert_seen(kind, &found[0], &[(0, 0.9, [1.0, 0.0, 3.0, 1.0]), (2, 0.6, [3.5, 0.0, 6.5, 1.0])]);
}

/// Cells of 4 pixels in an input of 8 x 4, so 2 rows of 8 of its 96 numbers.
fn yolox_picture() -> frame::Video {
    let mut numbers = [0; 96];
    numbers[..8].copy_from_slice(&[5, 5, 0, 0, 10, 0, 0, 8]);
    numbers[8..16].copy_from_slice(&[0, 5, 0, 0, 9, 8, 0, 0]);
    written(8, 4, &numbers)
}

fn yolox_toy() -> Toy {
    Toy::new(&[1, 4, 8, 3]).reshaped("rows", &[1, 12, 8])
}

fn yolox_output_in_one_tensor(kind: EngineKind) {
    let toy = yolox_toy().integers("from", &[0]).integers("to", &[2]).integers("axis", &[1]);
    let toy = toy.node("Slice", &["rows", "from", "to", "axis"], "out", vec![]);
    let output = "kind = 'yolox'\npredictions = 'out'\nactivation = 'probabilities'\ndecoded = false\nstrides = [4]";
    let found = common::engine(&model(toy, [8, 4], output), kind).detect(&[Look::whole(&yolox_picture())]).unwrap();
    assert_seen(kind, &found[0], &[(2, 0.8, [0.0, 0.0, 4.0, 4.0]), (0, 0.72, [2.0, 0.0, 6.0, 4.0])]);
}

fn yolox_output_in_three_tensors(kind: EngineKind) {
    let toy = yolox_toy().integers("from", &[0]).integers("to", &[2]).integers("axis", &[1]);
    let toy = toy.node("Slice", &["rows", "from", "to", "axis"], "cells", vec![]);
    let toy = toy.columns("cells", 0, 4, "b").columns("cells", 4, 5, "o").columns("cells", 5, 8, "s");
    // Some graphs give objectness without an axis of its own.
    let toy = toy.integers("flat shape", &[1, 2]).node("Reshape", &["o", "flat shape"], "flat", vec![]);
    // What follows is cut off: neither engine could run it, and it is not the graph's output that counts.
    let toy = toy.node("NonMaxSuppression", &["b", "s"], "kept", vec![]).node("Nonsense", &["kept"], "end", vec![]);
    let bytes = toy.bytes();
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let mut numbers = [0; 96];
    numbers[..8].copy_from_slice(&[20, 20, 20, 40, 30, 0, 0, 20]);
    let picture = written(8, 4, &numbers);
    for objectness in ["o", "flat"] {
        let output = format!(
            "kind = 'yolox'\nboxes = 'b'\nobjectness = '{objectness}'\nscores = 's'\nactivation = 'logits'\n\
             decoded = true\nstrides = [4]"
        );
        let model = toy::load(&bytes, &toy::manifest(&bytes, [8, 4], "nhwc", &output)).unwrap();
        let mut found = common::engine(&model, kind).detect(&[Look::whole(&picture)]).unwrap();
        // The second row is all zeros, of which the sigmoid is a half: empty boxes, and they go.
        let found = found.remove(0);
        let place = [1.0, 0.0, 3.0, 4.0];
        let o = sigmoid(3.0);
        assert_seen(kind, &found, &[(2, o * sigmoid(2.0), place), (0, o * 0.5, place)]);
    }
}

fn efficientdet_output(kind: EngineKind) {
    // One level of 2 x 1 cells of 4 pixels, one octave, two ratios: 4 anchors of 4 deltas and 3 scores in 28 of 96.
    let toy = Toy::new(&[1, 4, 8, 3]).reshaped("rows", &[1, 12, 8]);
    let toy = toy.integers("from", &[0]).integers("to", &[4]).integers("axis", &[1]);
    let toy = toy.node("Slice", &["rows", "from", "to", "axis"], "anchors", vec![]);
    let toy = toy.columns("anchors", 0, 4, "boxes").columns("anchors", 4, 7, "scores");
    let output = "kind = 'efficientdet'\nscores = 'scores'\nboxes = 'boxes'\nactivation = 'probabilities'\n\
                  levels = [2, 2]\noctaves = 1\nratios = [1.0, 4.0]\nanchor_scale = 0.5";
    let mut numbers = [0; 96];
    // First cell, first ratio: 2 x 2 in the middle of the cell, moved down by half its height.
    numbers[..7].copy_from_slice(&[5, 0, 0, 0, 9, 0, 0]);
    // Second cell, second ratio: 4 wide and 1 high.
    numbers[24..31].copy_from_slice(&[0, 0, 0, 0, 0, 0, 7]);
    let picture = written(8, 4, &numbers);
    let found = common::engine(&model(toy, [8, 4], output), kind).detect(&[Look::whole(&picture)]).unwrap();
    assert_seen(kind, &found[0], &[(0, 0.9, [1.0, 2.0, 3.0, 4.0]), (2, 0.7, [4.0, 1.5, 8.0, 2.5])]);
}

fn driveway(frame: &str) -> frame::Video {
    common::png(&common::root().join("functions/detect/tests/data").join(frame))
}

fn a_batch_is_answered_in_order(kind: EngineKind) {
    let mut engine = common::engine(&common::bundled(), kind);
    let (a, b) = (driveway("driveway-00420.png"), driveway("driveway-00720.png"));
    let batch = engine.detect(&[Look::whole(&a), Look::whole(&b), Look::whole(&a)]).unwrap();
    assert!(batch.iter().all(|boxes| !boxes.is_empty()));
    assert_eq!(batch[0], batch[2]);
    assert_ne!(batch[0], batch[1]);
    assert_eq!(engine.detect(&[Look::whole(&b)]).unwrap()[0], batch[1]);
    assert_eq!(engine.detect(&[]).unwrap(), Vec::<Vec<RawBox>>::new());
}

fn answers_repeat_bit_for_bit(kind: EngineKind) {
    let model = common::bundled();
    let picture = driveway("driveway-00360.png");
    let look = || common::engine(&model, kind).detect(&[Look::whole(&picture)]).unwrap();
    assert_eq!(look(), look());
}

fn a_crop_is_answered_in_source_pixels(kind: EngineKind) {
    let mut engine = common::engine(&yolov8_toy(), kind);
    let mut numbers = vec![0; 20 * 10 * 3];
    let at = (4 * 20 + 10) * 3;
    numbers[at..at + 21].copy_from_slice(&YOLOV8);
    let picture = written(20, 10, &numbers);
    let region = Region { x: 10, y: 4, w: 7, h: 1 };
    let found = engine.detect(&[Look { picture: &picture, region }]).unwrap();
    assert_seen(kind, &found[0], &[(0, 0.9, [11.0, 4.0, 13.0, 5.0]), (2, 0.6, [13.5, 4.0, 16.5, 5.0])]);
}

fn detections_are_filtered_and_rounded(kind: EngineKind) {
    let mut detector = common::detector(&yolov8_toy(), kind);
    let picture = written(7, 1, &YOLOV8);
    // Two looks at the same thing are one detection.
    let looks = detector.detect(&[Look::whole(&picture), Look::whole(&picture)]).unwrap();
    let all = detector.detections(&looks, Score::default(), &[]);
    let told: Vec<_> = all.iter().map(|d| (d.label.as_str(), d.score.ten_thousandths(), d.bounds.into())).collect();
    assert_eq!(told, [("a", 9000, [10, 0, 20, 10]), ("c", 6000, [35, 0, 30, 10])]);
    assert_eq!(detector.detections(&looks, Score::from_f32(0.7), &[]), all[..1]);
    assert_eq!(detector.detections(&looks, Score::default(), &[Label::from("c")]), all[1..]);
}

fn an_unreadable_picture_is_refused(kind: EngineKind) {
    let mut engine = common::engine(&yolov8_toy(), kind);
    let grey = frame::Video::new(Pixel::GRAY8, 7, 1);
    let picture = written(7, 1, &YOLOV8);
    let error = engine.detect(&[Look::whole(&picture), Look::whole(&grey)]).unwrap_err();
    assert!(matches!(error, EngineError::Prepare(_)), "{error:?}");
    // And it goes on afterwards.
    assert_eq!(engine.detect(&[Look::whole(&picture)]).unwrap()[0].len(), 2);
}

fn refused(kind: EngineKind, model: &Model) -> EngineError {
    let made = open(model, kind, &EngineOptions::default(), Box::new(common::Copy));
    made.err().expect("this model cannot be run")
}

fn wrong_output_shapes_are_refused(kind: EngineKind) {
    // 4 + 2 classes where the manifest has three labels.
    let toy = Toy::new(&[1, 2, 3, 3]).reshaped("out", &[1, 6, 3]);
    let model = model(toy, [3, 2], "kind = 'yolov8'\npredictions = 'out'\nactivation = 'probabilities'");
    let error = refused(kind, &model);
    let expected = "model toy: output out has shape [1, 6, 3], the manifest means [1, 7, 3]";
    assert_eq!(error.to_string(), expected, "{kind}: {error:?}");
}

fn unknown_operators_are_refused(kind: EngineKind) {
    let toy = Toy::new(&[1, 1, 7, 3]).node("Nonsense", &["input"], "out", vec![]);
    let model = model(toy, [7, 1], "kind = 'yolov8'\npredictions = 'out'\nactivation = 'probabilities'");
    let error = refused(kind, &model);
    assert_eq!(error.to_string(), format!("engine {kind} cannot run model toy"), "{error:?}");
    assert!(matches!(error, EngineError::Unsuitable { .. }));
}
