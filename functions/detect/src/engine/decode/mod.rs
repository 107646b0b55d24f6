//! From output tensors to boxes in input pixels.
//!
//! Every decoder first scans the scores against the threshold, in whatever form the graph leaves them, and works out a
//! box only for what passes: of EfficientDet's 1.7 million scores a picture, a few dozen.

mod anchors;
mod efficientdet;
mod yolo;

use crate::engine::cpu::Output;
use crate::engine::{EngineError, RawBox};
use crate::model::{Activation, Labels, Manifest, OutputSpec};
use anchors::Anchor;
use yolo::Cell;

/// Decodes one model's output.
pub(super) struct Decoder {
    threshold: Threshold,
    grid: Grid,
    classes: Classes,
}

/// Where each row of predictions is, worked out once.
enum Grid {
    Anchors(Vec<Anchor>),
    Cells(Vec<Cell>),
    None,
}

impl Decoder {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let (grid, activation) = match &manifest.output {
            OutputSpec::EfficientDet { anchors, activation, .. } => {
                (Grid::Anchors(anchors::anchors(anchors, &manifest.input)), *activation)
            }
            OutputSpec::Yolox { strides, activation, .. } => {
                (Grid::Cells(yolo::cells(strides, &manifest.input)), *activation)
            }
            OutputSpec::Yolov8 { activation, .. } => (Grid::None, *activation),
        };
        let threshold = Threshold::new(manifest.thresholds.store, activation);
        Self { threshold, grid, classes: Classes::new(&manifest.labels) }
    }

    /// Appends what is above the threshold to `boxes`, in input pixels; tensors in the manifest's order.
    pub(super) fn decode(
        &self,
        manifest: &Manifest,
        outputs: &[Output<'_>],
        boxes: &mut Vec<RawBox>,
    ) -> Result<(), EngineError> {
        let n = match &self.grid {
            Grid::Anchors(anchors) => anchors.len(),
            Grid::Cells(cells) => cells.len(),
            // Only the tensor knows.
            Grid::None => outputs.first().and_then(|o| o.shape.last().copied()).unwrap_or(0),
        };
        let classes = self.classes.len;
        let check = |index: usize, expected: &[usize]| check(manifest, outputs, index, expected);
        match (&manifest.output, &self.grid) {
            (OutputSpec::EfficientDet { .. }, Grid::Anchors(anchors)) => {
                let scores = check(0, &[1, n, classes])?;
                let deltas = check(1, &[1, n, 4])?;
                efficientdet::decode(scores, deltas, anchors, self, boxes);
            }
            (OutputSpec::Yolox { decoded, .. }, Grid::Cells(cells)) => {
                let parts = if outputs.len() == 1 {
                    yolo::Parts::joined(check(0, &[1, n, 5 + classes])?, classes)
                } else {
                    // One number a prediction, with an axis of its own or without.
                    let flat = outputs.get(1).is_some_and(|objectness| objectness.shape.len() == 2);
                    let objectness = if flat { check(1, &[1, n])? } else { check(1, &[1, n, 1])? };
                    yolo::Parts::split(check(0, &[1, n, 4])?, objectness, check(2, &[1, n, classes])?, classes)
                };
                yolo::decode_yolox(parts, cells, *decoded, self, boxes);
            }
            (OutputSpec::Yolov8 { .. }, _) => {
                yolo::decode_yolov8(check(0, &[1, 4 + classes, n])?, n, self, boxes);
            }
            // `new` makes the grid that goes with the output.
            (OutputSpec::EfficientDet { .. } | OutputSpec::Yolox { .. }, _) => {}
        }
        Ok(())
    }
}

fn check<'a>(
    manifest: &Manifest,
    outputs: &[Output<'a>],
    index: usize,
    expected: &[usize],
) -> Result<&'a [f32], EngineError> {
    let found = outputs.get(index).map_or(&[][..], |output| &output.shape);
    match outputs.get(index) {
        Some(output) if found == expected && output.data.len() == expected.iter().product::<usize>() => Ok(output.data),
        _ => Err(EngineError::OutputShape {
            model: manifest.name.clone(),
            tensor: manifest.output.tensors().get(index).copied().unwrap_or_default().to_owned(),
            found: found.to_vec(),
            expected: format!("{expected:?}"),
        }),
    }
}

/// Which of a model's class outputs mean something.
struct Classes {
    len: usize,
    used: Vec<bool>,
}

impl Classes {
    fn new(labels: &Labels) -> Self {
        let mut used = vec![false; labels.len()];
        labels.iter().for_each(|(class, _)| used[usize::from(class)] = true);
        Self { len: labels.len(), used }
    }
}

/// A score threshold, in the form in which the graph leaves its scores.
#[derive(Clone, Copy)]
struct Threshold {
    score: f32,
    raw: f32,
    activation: Activation,
}

impl Threshold {
    fn new(score: f32, activation: Activation) -> Self {
        let raw = match activation {
            Activation::Logits => (score / (1.0 - score)).ln(),
            Activation::Probabilities => score,
        };
        Self { score, raw, activation }
    }

    /// Whether any of `raw` passes. Counts instead of stopping at the first, since that is what compiles to SIMD.
    fn any(self, raw: &[f32]) -> bool {
        raw.iter().map(|score| u32::from(*score >= self.raw)).sum::<u32>() != 0
    }

    /// The score from 0 to 1 that a raw one stands for.
    fn score(self, raw: f32) -> f32 {
        match self.activation {
            Activation::Logits => 1.0 / (1.0 + (-raw).exp()),
            Activation::Probabilities => raw,
        }
    }
}

/// A box by its centre and size; none where it is not finite.
fn centred(class: usize, score: f32, [x, y, w, h]: [f32; 4]) -> Option<RawBox> {
    let (w, h) = (w.max(0.0) / 2.0, h.max(0.0) / 2.0);
    let b = RawBox { class: class as u16, score: score.min(1.0), x0: x - w, y0: y - h, x1: x + w, y1: y + h };
    let finite = [b.x0, b.y0, b.x1, b.y1, b.score].iter().all(|v| v.is_finite());
    finite.then_some(b)
}
