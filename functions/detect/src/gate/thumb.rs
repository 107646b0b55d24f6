//! A picture's luma in little.

use crate::engine::Region;
use crate::picture::{Picture, Resizer};

/// The longer side of a thumbnail, in cells.
const LONG_SIDE: u32 = 160;

/// Mean luma by cell, in units of 1/255 of the range from black to white.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thumb {
    /// Cells across.
    pub(super) width: usize,
    /// Cells down.
    pub(super) height: usize,
    /// Row by row.
    pub(super) luma: Vec<f32>,
}

impl Thumb {
    /// Cells across and down for a picture of this size, about 160 x 90. Small pictures are not enlarged.
    pub(super) fn size(width: u32, height: u32) -> (usize, usize) {
        let long = width.max(height).max(1);
        let cells = LONG_SIDE.min(long);
        let scaled = |side: u32| ((side * cells + long / 2) / long).max(1) as usize;
        (scaled(width), scaled(height))
    }

    /// Shrinks a picture.
    pub(super) fn of(picture: &Picture<'_>, resizer: &mut Resizer) -> Self {
        let (width, height) = Self::size(picture.width, picture.height);
        let mut luma = vec![0.0; width * height];
        if let Some(component) = &picture.components[0] {
            let whole = Region { x: 0, y: 0, w: picture.width, h: picture.height };
            resizer.plan(component, whole, width, height);
            let unit = 1.0 / f32::from(1u16 << (picture.depth.clamp(8, 16) - 8));
            for (y, row) in luma.chunks_exact_mut(width).enumerate() {
                resizer.row(component, y, row);
                row.iter_mut().for_each(|v| *v *= unit);
            }
        }
        Self { width, height, luma }
    }
}
