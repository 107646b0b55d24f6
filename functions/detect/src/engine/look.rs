//! What an engine is asked to look at, and what it answers.

use ffmpeg::frame;

use crate::model::InputSpec;

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width, at least 1.
    pub w: u32,
    /// Height, at least 1.
    pub h: u32,
}

/// A rectangle of a decoded picture to look at.
///
/// The picture is libav's own frame, since that describes every picture there can be: planes in host memory in the
/// decoder's pixel format with matrix and range, or a surface that stays on the GPU. An engine takes it as it is,
/// and refuses what it cannot read.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The picture.
    pub picture: &'a frame::Video,
    /// What part of it; lies within the picture.
    pub region: Region,
}

impl<'a> Look<'a> {
    /// A look at a whole picture.
    pub fn whole(picture: &'a frame::Video) -> Self {
        Self { picture, region: Region { x: 0, y: 0, w: picture.width(), h: picture.height() } }
    }
}

/// Where a letterboxed region came from: `source = input * scale + offset`, per axis, in pixels of the whole source
/// picture. Coordinates are continuous: pixel i covers i to i + 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToSource {
    /// Source pixels an input pixel, across and down.
    pub scale: [f32; 2],
    /// Where the input's left top corner lies in the source; negative with centred padding.
    pub offset: [f32; 2],
}

impl ToSource {
    /// The rectangle in source pixels.
    pub fn map(&self, b: RawBox) -> RawBox {
        let [sx, sy] = self.scale;
        let [dx, dy] = self.offset;
        RawBox { x0: b.x0 * sx + dx, y0: b.y0 * sy + dy, x1: b.x1 * sx + dx, y1: b.y1 * sy + dy, ..b }
    }
}

/// Something seen, before rounding. Edges in pixels, `x0 <= x1` and `y0 <= y1`, all finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawBox {
    /// Index into the model's labels.
    pub class: u16,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

/// Why a picture could not be made into a model's input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The engine cannot read this kind of picture.
    #[error("pictures of format {0} cannot be read")]
    Format(String),
    /// The region is empty or not within the picture.
    #[error("region {region:?} of a picture of {width}x{height}")]
    Region {
        /// What was asked for.
        region: Region,
        /// The picture's width.
        width: u32,
        /// The picture's height.
        height: u32,
    },
}

/// Makes a model's input out of pictures in host memory: what an engine that runs on the CPU does first.
pub trait Prepare: Send {
    /// Fills `out` (of [`InputSpec::len`], laid out and normalised as `spec` says, padding included) and says where
    /// it came from.
    fn prepare(&mut self, look: &Look<'_>, spec: &InputSpec, out: &mut [f32]) -> Result<ToSource, PrepareError>;
}

impl RawBox {
    /// The part of it that lies within `region`; none where that is empty.
    pub fn clipped(self, region: Region) -> Option<Self> {
        let [left, top] = [region.x, region.y].map(|edge| edge as f32);
        let (right, bottom) = (left + region.w as f32, top + region.h as f32);
        let clipped = Self {
            x0: self.x0.clamp(left, right),
            y0: self.y0.clamp(top, bottom),
            x1: self.x1.clamp(left, right),
            y1: self.y1.clamp(top, bottom),
            ..self
        };
        (clipped.x0 < clipped.x1 && clipped.y0 < clipped.y1).then_some(clipped)
    }
}
