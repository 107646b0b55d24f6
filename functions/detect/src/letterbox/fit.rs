//! Where a region comes to lie in a model's input.

use crate::engine::{PrepareError, Region, ToSource};
use crate::model::{InputSpec, Padding};

/// A region's place in the input, in input pixels. The aspect ratio is kept to within a pixel's rounding, which the
/// way back takes into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    region: Region,
    /// Left edge.
    pub left: u32,
    /// Top edge.
    pub top: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

impl Fit {
    /// Fits `region` of a picture of `width` x `height` into the input, as large as it goes.
    ///
    /// # Errors
    /// A region that is empty or not within the picture.
    pub fn new(region: Region, width: u32, height: u32, spec: &InputSpec) -> Result<Self, PrepareError> {
        let within = |start: u32, length: u32, whole: u32| length > 0 && start < whole && length <= whole - start;
        if !within(region.x, region.w, width) || !within(region.y, region.h, height) {
            return Err(PrepareError::Region { region, width, height });
        }
        let (w, h) = (u64::from(region.w), u64::from(region.h));
        let (to_w, to_h) = (u64::from(spec.width), u64::from(spec.height));
        // The axis that fills the input; the other is rounded to the nearest pixel.
        let (fit_w, fit_h) = if to_w * h <= to_h * w {
            (to_w, ((2 * h * to_w + w) / (2 * w)).clamp(1, to_h))
        } else {
            (((2 * w * to_h + h) / (2 * h)).clamp(1, to_w), to_h)
        };
        let (fit_w, fit_h) = (fit_w as u32, fit_h as u32);
        let (left, top) = match spec.pad {
            Padding::TopLeft => (0, 0),
            Padding::Centre => ((spec.width - fit_w) / 2, (spec.height - fit_h) / 2),
        };
        Ok(Self { region, left, top, width: fit_w, height: fit_h })
    }

    /// The way back from the input to the source.
    pub fn to_source(&self) -> ToSource {
        let back = |from: u32, length: u32, place: u32, to: u32| {
            let scale = f64::from(length) / f64::from(to);
            (scale as f32, (f64::from(from) - f64::from(place) * scale) as f32)
        };
        let (sx, dx) = back(self.region.x, self.region.w, self.left, self.width);
        let (sy, dy) = back(self.region.y, self.region.h, self.top, self.height);
        ToSource { scale: [sx, sy], offset: [dx, dy] }
    }
}
