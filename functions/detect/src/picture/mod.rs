//! A decoded picture as its planes: borrowed from the decoder, whatever the pixel format.

mod colour;
mod resample;

pub use colour::{Matrix, ToRgb};
pub use resample::Resizer;

use ffmpeg::{color, ffi, frame};

/// Why a picture's samples cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pictures of format {0} cannot be read")]
pub struct UnreadablePicture(pub String);

/// The planes of a picture in host memory.
///
/// Planar and semi-planar Y'CbCr (4:0:0 to 4:4:4, 8 to 16 bits) and planar RGB; one component never spans planes.
pub struct Picture<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Y, Cb, Cr (or R, G, B); Cb and Cr are none where the picture is grey.
    pub components: [Option<Component<'a>>; 3],
    /// Bits a sample has.
    pub depth: u8,
    /// Which colours Y'CbCr stands for.
    pub matrix: Matrix,
    /// Whether samples use all of their range, or 16 to 235 (240) of 255.
    pub full_range: bool,
}

/// One component's samples.
#[derive(Clone, Copy)]
pub struct Component<'a> {
    /// From the first row's first sample to the last row's last.
    data: &'a [u8],
    /// Bytes from row to row.
    stride: usize,
    /// Bytes from sample to sample.
    step: usize,
    /// Samples of more than 8 bits take two bytes, little endian, and may stand shifted to the left.
    wide: bool,
    shift: u8,
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// How often the picture's width is halved in this component.
    pub log2_w: u8,
    /// How often the picture's height is halved in this component.
    pub log2_h: u8,
}

impl Component<'_> {
    /// Adds `weight` times the samples of `row`, from `first` on, to `sums`, as far as both reach.
    pub fn add_row(&self, row: usize, first: usize, weight: f32, sums: &mut [f32]) {
        let samples = self.data.get(row * self.stride + first * self.step..).unwrap_or_default();
        if self.wide {
            let value = |s: &[u8]| match s {
                [low, high, ..] => f32::from(u16::from_le_bytes([*low, *high]) >> self.shift),
                _ => 0.0,
            };
            sums.iter_mut().zip(samples.chunks(self.step)).for_each(|(sum, s)| *sum += weight * value(s));
        } else if self.step == 1 {
            sums.iter_mut().zip(samples).for_each(|(sum, s)| *sum += weight * f32::from(*s));
        } else {
            let samples = samples.iter().step_by(self.step);
            sums.iter_mut().zip(samples).for_each(|(sum, s)| *sum += weight * f32::from(*s));
        }
    }
}

impl<'a> Picture<'a> {
    /// The planes of a decoded frame.
    ///
    /// # Errors
    /// Where its samples are not in host memory, or packed in a way that no video decoder answers.
    pub fn of(frame: &'a frame::Video) -> Result<Self, UnreadablePicture> {
        let format = frame.format();
        let unreadable = || UnreadablePicture(format.descriptor().map_or("unknown", |d| d.name()).to_owned());
        // SAFETY: libav's descriptors are static.
        let described = format.descriptor().and_then(|d| unsafe { d.as_ptr().as_ref() }).ok_or_else(unreadable)?;
        let flag = |bit: i32| described.flags & u64::from(bit.unsigned_abs()) != 0;
        let odd = ffi::AV_PIX_FMT_FLAG_BE
            | ffi::AV_PIX_FMT_FLAG_PAL
            | ffi::AV_PIX_FMT_FLAG_BITSTREAM
            | ffi::AV_PIX_FMT_FLAG_HWACCEL
            | ffi::AV_PIX_FMT_FLAG_FLOAT;
        let (width, height) = (frame.width(), frame.height());
        let depth = described.comp[0].depth;
        if flag(odd) || width == 0 || height == 0 || !(8..=16).contains(&depth) {
            return Err(unreadable());
        }
        let rgb = flag(ffi::AV_PIX_FMT_FLAG_RGB);
        let count = if described.nb_components >= 3 { 3 } else { 1 };
        let mut components = [None; 3];
        for (index, slot) in components.iter_mut().enumerate().take(count) {
            let halved = index > 0 && !rgb;
            let log2 = if halved { [described.log2_chroma_w, described.log2_chroma_h] } else { [0, 0] };
            let [across, down] = [(width, log2[0]), (height, log2[1])].map(|(n, log2)| n.div_ceil(1 << log2) as usize);
            let comp = described.comp[index];
            let (step, offset) = (comp.step as usize, comp.offset as usize);
            let wide = depth > 8;
            // SAFETY: `frame` is a valid frame for as long as it is borrowed.
            let raw = unsafe { &*frame.as_ptr() };
            let (start, stride) = (raw.data[comp.plane as usize], raw.linesize[comp.plane as usize]);
            let stride = usize::try_from(stride).map_err(|_| unreadable())?;
            let row = (across - 1) * step + 1 + usize::from(wide);
            if start.is_null() || comp.depth != depth || step == 0 || offset + row > stride {
                return Err(unreadable());
            }
            // SAFETY: libav allocates `stride` bytes for each of a component's rows and keeps them while the frame is
            // borrowed; the slice ends with the last row's last sample.
            let data = unsafe { std::slice::from_raw_parts(start.add(offset), (down - 1) * stride + row) };
            let shift = comp.shift as u8;
            *slot = Some(Component {
                data,
                stride,
                step,
                wide,
                shift,
                width: across,
                height: down,
                log2_w: log2[0],
                log2_h: log2[1],
            });
        }
        let matrix = if rgb { Matrix::Rgb } else { Matrix::of(frame.color_space(), width, height) };
        let full_range = rgb || frame.color_range() == color::Range::JPEG || colour::is_full_range(format);
        Ok(Self { width, height, components, depth: depth as u8, matrix, full_range })
    }

    /// How this picture's samples become RGB.
    pub fn to_rgb(&self) -> ToRgb {
        ToRgb::new(self.matrix, self.full_range, self.depth)
    }
}
