use super::{Decoder, centred};
use crate::engine::RawBox;
use crate::model::InputSpec;

/// A cell of a YOLOX grid: its left top corner in cells, and its side in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    column: f32,
    row: f32,
    stride: f32,
}

/// The cells of all grids in the order of the model's outputs: stride, row, column.
pub(super) fn cells(strides: &[u32], input: &InputSpec) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &stride in strides {
        for row in 0..input.height.div_ceil(stride) {
            cells.extend((0..input.width.div_ceil(stride)).map(|column| Cell {
                column: column as f32,
                row: row as f32,
                stride: stride as f32,
            }));
        }
    }
    cells
}

/// YOLOX's predictions, a row a cell, out of one tensor or of three.
pub(super) struct Parts<'a> {
    boxes: (&'a [f32], usize),
    objectness: (&'a [f32], usize),
    scores: (&'a [f32], usize),
}

impl<'a> Parts<'a> {
    /// Rows of box, objectness, scores.
    pub(super) fn joined(all: &'a [f32], classes: usize) -> Self {
        let step = 5 + classes;
        let from = |offset: usize| (all.get(offset..).unwrap_or_default(), step);
        Self { boxes: from(0), objectness: from(4), scores: from(5) }
    }

    pub(super) fn split(boxes: &'a [f32], objectness: &'a [f32], scores: &'a [f32], classes: usize) -> Self {
        Self { boxes: (boxes, 4), objectness: (objectness, 1), scores: (scores, classes) }
    }
}

/// A score is objectness times class score, so objectness alone below the threshold ends it.
pub(super) fn decode_yolox(parts: Parts<'_>, cells: &[Cell], decoded: bool, to: &Decoder, boxes: &mut Vec<RawBox>) {
    for (i, cell) in cells.iter().enumerate() {
        let raw = parts.objectness.0[i * parts.objectness.1];
        if raw < to.threshold.raw {
            continue;
        }
        let objectness = to.threshold.score(raw);
        let at = i * parts.boxes.1;
        let [x, y, w, h] = [0, 1, 2, 3].map(|k| parts.boxes.0[at + k]);
        let place = if decoded {
            [x, y, w, h]
        } else {
            let Cell { column, row, stride } = *cell;
            [(x + column) * stride, (y + row) * stride, w.exp() * stride, h.exp() * stride]
        };
        let at = i * parts.scores.1;
        for (class, raw) in parts.scores.0[at..at + to.classes.len].iter().enumerate() {
            let score = objectness * to.threshold.score(*raw);
            if score >= to.threshold.score && to.classes.used[class] {
                boxes.extend(centred(class, score, place));
            }
        }
    }
}

/// `[4 + classes, n]`: one row a coordinate or class.
pub(super) fn decode_yolov8(all: &[f32], n: usize, to: &Decoder, boxes: &mut Vec<RawBox>) {
    if n == 0 {
        return;
    }
    for (class, scores) in all[4 * n..].chunks_exact(n).enumerate() {
        if !to.classes.used[class] || !to.threshold.any(scores) {
            continue;
        }
        for (i, raw) in scores.iter().enumerate().filter(|(_, raw)| **raw >= to.threshold.raw) {
            let place = [0, 1, 2, 3].map(|k| all[k * n + i]);
            boxes.extend(centred(class, to.threshold.score(*raw), place));
        }
    }
}
