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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channels, Layout, Padding};

    #[test]
    fn order_and_sizes_are_those_of_the_published_model() {
        let input = InputSpec {
            width: 320,
            height: 320,
            layout: Layout::Nhwc,
            channels: Channels::Rgb,
            mean: [0.0; 3],
            scale: [1.0; 3],
            pad_value: 0.0,
            pad: Padding::TopLeft,
        };
        let spec = AnchorSpec { levels: [3, 7], octaves: 3, ratios: vec![1.0, 2.0, 0.5], scale: 3.0 };
        let all = anchors(&spec, &input);
        assert_eq!(all.len(), 19206);
        assert_eq!(all[0], Anchor { x: 4.0, y: 4.0, w: 24.0, h: 24.0 });
        // Ratio goes fastest, then octave, then column.
        let wide = all[1];
        assert!((wide.w / wide.h - 2.0).abs() < 1e-5 && (wide.w * wide.h - 576.0).abs() < 1e-2, "{wide:?}");
        assert!((all[3].w - 24.0 * 1.259_921).abs() < 1e-3, "{:?}", all[3]);
        assert_eq!((all[9].x, all[9].y), (12.0, 4.0));
        // The last level's cells of 128 pixels reach over the input's edge: 3 of them cover 320.
        assert_eq!((all[19205].x, all[19205].y), (320.0, 320.0));
    }
}
