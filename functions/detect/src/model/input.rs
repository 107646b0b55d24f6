//! What a model wants to be fed.

use serde::Deserialize;

/// The order of a tensor's axes; the batch axis always comes first and is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Rows of pixels, each with its channels side by side.
    Nhwc,
    /// One plane a channel.
    Nchw,
}

/// The order of a pixel's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Where a picture goes that does not have the input's aspect ratio; it is never stretched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// In the top left corner, padding at the right or below.
    TopLeft,
    /// In the middle, padding on both sides.
    Centre,
}

/// A model's input: 32-bit floats, one picture of three channels, `value = (pixel - mean) * scale` with pixels from 0
/// to 255 (full range).
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Order of the axes.
    pub layout: Layout,
    /// Order of the channels, also in `mean` and `scale`.
    pub channels: Channels,
    /// Subtracted from each channel's pixels.
    pub mean: [f32; 3],
    /// Multiplied with what is left.
    pub scale: [f32; 3],
    /// What padding holds, in pixel units, the same in each channel: it is normalised like a pixel.
    pub pad_value: f32,
    /// Where the picture goes.
    pub pad: Padding,
}

impl InputSpec {
    /// How many floats one picture takes.
    pub fn len(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    /// Whether there is nothing to fill; never so for a manifest that loaded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's shape, batch axis included.
    pub fn shape(&self) -> [usize; 4] {
        let (w, h) = (self.width as usize, self.height as usize);
        match self.layout {
            Layout::Nhwc => [1, h, w, 3],
            Layout::Nchw => [1, 3, h, w],
        }
    }

    /// What the model is fed for a pixel of the given channel (0 to 2, in the order of `channels`).
    pub fn normalise(&self, channel: usize, pixel: f32) -> f32 {
        (pixel - self.mean[channel]) * self.scale[channel]
    }
}
