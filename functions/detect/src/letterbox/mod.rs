//! From a decoder's planes to a model's input in one pass: resize, pad, colours, channel order, layout, normalisation.
//!
//! Resizing and the matrix are both linear, so the planes are resized as they are and only the pixels of the input are
//! converted, never those of the source.
//! Chroma is taken to lie in the middle of the luma samples it belongs to: the quarter of a pixel that some streams
//! place it to the left is below what a model sees.

mod fit;

pub use fit::Fit;

use crate::engine::{Look, Prepare, PrepareError, ToSource};
use crate::model::{Channels, InputSpec, Layout};
use crate::picture::{Picture, Resizer, ToRgb};

/// Makes a model's input on the CPU, with scratch memory that is kept from picture to picture.
#[derive(Default)]
pub struct Letterbox {
    /// Y, Cb, Cr.
    planes: [Scratch; 3],
}

#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    /// One output row.
    row: Vec<f32>,
}

impl Prepare for Letterbox {
    fn prepare(&mut self, look: &Look<'_>, spec: &InputSpec, out: &mut [f32]) -> Result<ToSource, PrepareError> {
        let picture = Picture::of(look.picture).map_err(|e| PrepareError::Format(e.0))?;
        let fit = Fit::new(look.region, picture.width, picture.height, spec)?;
        for (scratch, component) in self.planes.iter_mut().zip(&picture.components) {
            scratch.row.clear();
            scratch.row.resize(fit.width as usize, ToRgb::grey(picture.depth));
            if let Some(component) = component {
                scratch.resizer.plan(component, look.region, fit.width as usize, fit.height as usize);
            }
        }
        let writer = Writer::new(spec, picture.to_rgb());
        for y in 0..spec.height {
            let inside = y.checked_sub(fit.top).filter(|row| *row < fit.height);
            let Some(row) = inside else {
                writer.pad(out, y, 0, spec.width);
                continue;
            };
            for (scratch, component) in self.planes.iter_mut().zip(&picture.components) {
                if let Some(component) = component {
                    scratch.resizer.row(component, row as usize, &mut scratch.row);
                }
            }
            let [luma, cb, cr] = &self.planes;
            writer.pad(out, y, 0, fit.left);
            writer.row(out, y, fit.left, [&luma.row, &cb.row, &cr.row]);
            writer.pad(out, y, fit.left + fit.width, spec.width);
        }
        Ok(fit.to_source())
    }
}

/// Puts pixels where the input's layout has them.
struct Writer<'a> {
    spec: &'a InputSpec,
    to_rgb: ToRgb,
    /// Floats from a pixel to the next, and from a channel to the next.
    pixel: usize,
    channel: usize,
}

impl<'a> Writer<'a> {
    fn new(spec: &'a InputSpec, to_rgb: ToRgb) -> Self {
        let (pixel, channel) = match spec.layout {
            Layout::Nhwc => (3, 1),
            Layout::Nchw => (1, spec.width as usize * spec.height as usize),
        };
        Self { spec, to_rgb, pixel, channel }
    }

    fn slots<'o>(
        &self,
        out: &'o mut [f32],
        y: u32,
        x: u32,
        channel: usize,
        count: usize,
    ) -> impl Iterator<Item = &'o mut f32> + use<'o> {
        let first = (y as usize * self.spec.width as usize + x as usize) * self.pixel + channel * self.channel;
        // Behind the last pixel there is nothing to index.
        out.get_mut(first..).unwrap_or_default().iter_mut().step_by(self.pixel).take(count)
    }

    fn pad(&self, out: &mut [f32], y: u32, from: u32, to: u32) {
        for channel in 0..3 {
            let value = self.spec.normalise(channel, self.spec.pad_value);
            self.slots(out, y, from, channel, (to - from) as usize).for_each(|slot| *slot = value);
        }
    }

    fn row(&self, out: &mut [f32], y: u32, x: u32, [luma, cb, cr]: [&[f32]; 3]) {
        for channel in 0..3 {
            let colour = match self.spec.channels {
                Channels::Rgb => channel,
                Channels::Bgr => 2 - channel,
            };
            let slots = self.slots(out, y, x, channel, luma.len());
            for (((slot, y), cb), cr) in slots.zip(luma).zip(cb).zip(cr) {
                *slot = self.spec.normalise(channel, self.to_rgb.channel(colour, *y, *cb, *cr));
            }
        }
    }
}

#[cfg(test)]
mod tests;
