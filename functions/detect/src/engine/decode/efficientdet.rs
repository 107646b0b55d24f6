use super::anchors::Anchor;
use super::{Decoder, centred};
use crate::engine::RawBox;

/// Scores `[n, classes]` and boxes `[n, 4]` as (ty, tx, th, tw) relative to n anchors.
pub(super) fn decode(scores: &[f32], deltas: &[f32], anchors: &[Anchor], to: &Decoder, boxes: &mut Vec<RawBox>) {
    let rows = scores.chunks_exact(to.classes.len).zip(deltas.as_chunks().0).zip(anchors);
    for ((row, &[ty, tx, th, tw]), a) in rows {
        if !to.threshold.any(row) {
            continue;
        }
        let place = [tx * a.w + a.x, ty * a.h + a.y, tw.exp() * a.w, th.exp() * a.h];
        for (class, raw) in row.iter().enumerate() {
            if *raw >= to.threshold.raw && to.classes.used[class] {
                boxes.extend(centred(class, to.threshold.score(*raw), place));
            }
        }
    }
}
