use crate::model::{AnchorSpec, InputSpec};

/// A box that predictions are relative to, in input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anchor {
    /// Centre.
    pub(super) x: f32,
    /// Centre.
    pub(super) y: f32,
    /// Width.
    pub(super) w: f32,
    /// Height.
    pub(super) h: f32,
}

/// EfficientDet's anchors (Tan, Pang, Le: EfficientDet, 2020; section 5.1 and the reference implementation) in the
/// order of the model's outputs: level, row, column, octave, ratio. A ratio is width over height at equal area.
pub(super) fn anchors(spec: &AnchorSpec, input: &InputSpec) -> Vec<Anchor> {
    let [first, last] = spec.levels;
    let mut anchors = Vec::new();
    for level in first..=last {
        let stride = f32::from(1u16 << level);
        let cells = |pixels: u32| pixels.div_ceil(1 << level);
        for row in 0..cells(input.height) {
            for column in 0..cells(input.width) {
                for octave in 0..spec.octaves {
                    let side = spec.scale * stride * (octave as f32 / spec.octaves as f32).exp2();
                    anchors.extend(spec.ratios.iter().map(|ratio| Anchor {
                        x: (column as f32 + 0.5) * stride,
                        y: (row as f32 + 0.5) * stride,
                        w: side * ratio.sqrt(),
                        h: side / ratio.sqrt(),
                    }));
                }
            }
        }
    }
    anchors
}
