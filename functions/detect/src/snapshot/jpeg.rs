//! JPEG out of a decoder's planes.
//!
//! JPEG stores Y'CbCr too (JFIF: BT.601, full range), so a picture only changes its matrix and range, plane by plane;
//! it never becomes RGB.

use bytes::Bytes;
use detektor_contract::{Fault, Faulty};
use ffmpeg::format::Pixel;
use ffmpeg::{Rational, codec, color, ffi, frame};

use crate::engine::Region;
use crate::picture::{Picture, Resizer, ToRgb};

/// libav's scale of quantisers: 1 is the finest. 3 is about what others call a quality of 85.
const QUANTISER: i32 = 3;

/// Why a snapshot was not made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// libav was built without a JPEG encoder.
    #[error("libav has no JPEG encoder")]
    NoEncoder,
    /// The encoder refused, or found no memory.
    #[error("encoding a JPEG of {width}x{height}")]
    Encode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// libav's answer.
        source: ffmpeg::Error,
    },
}

impl Faulty for SnapshotError {
    fn fault(&self) -> Fault {
        match self {
            Self::NoEncoder => Fault::Transient,
            // A picture that decoded can be encoded, whatever its size: it is the surroundings that lack something.
            Self::Encode { .. } => Fault::Transient,
        }
    }
}

/// Copies a picture into planes as JPEG has them (4:2:0, BT.601, full range), so that the decoder's own can go back to it.
pub fn jpeg_planes(picture: &Picture<'_>) -> frame::Video {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let (half_w, half_h) = (width.div_ceil(2), height.div_ceil(2));
    let mut copy = frame::Video::new(Pixel::YUVJ420P, picture.width, picture.height);
    copy.set_color_range(color::Range::JPEG);
    let to = ToJpeg::new(picture.to_rgb());
    let whole = Region { x: 0, y: 0, w: picture.width, h: picture.height };
    let mut resizers = [Resizer::default(), Resizer::default(), Resizer::default()];
    let mut plan = |sizes: [(usize, usize); 3]| {
        for ((resizer, component), (w, h)) in resizers.iter_mut().zip(&picture.components).zip(sizes) {
            if let Some(component) = component {
                resizer.plan(component, whole, w, h);
            }
        }
    };
    plan([(width, height), (half_w, half_h), (half_w, half_h)]);
    let grey = ToRgb::grey(picture.depth);
    let (mut luma, mut cb, mut cr) = (vec![0.0; width], vec![grey; half_w], vec![grey; half_w]);
    let strides = [0, 1, 2].map(|plane| copy.stride(plane));
    for y in 0..height {
        let halved = y / 2;
        for (index, row) in [&mut luma, &mut cb, &mut cr].into_iter().enumerate() {
            let (at, due) = if index == 0 { (y, true) } else { (halved, y % 2 == 0) };
            if let (Some(component), true) = (&picture.components[index], due) {
                resizers[index].row(component, at, row);
            }
        }
        let target = &mut copy.data_mut(0)[y * strides[0]..];
        to.luma(&luma, &cb, &cr, target);
        if y % 2 == 0 {
            for (plane, row) in [(1, to.cb), (2, to.cr)] {
                let target = &mut copy.data_mut(plane)[halved * strides[plane]..];
                target.iter_mut().zip(cb.iter().zip(&cr)).for_each(|(out, (cb, cr))| *out = row.of(*cb, *cr));
            }
        }
    }
    copy
}

/// From a stream's Y'CbCr to JPEG's.
struct ToJpeg {
    /// What luma's own share is.
    y: f32,
    /// What chroma adds to luma.
    from_chroma: Row,
    cb: Row,
    cr: Row,
}

#[derive(Clone, Copy)]
struct Row {
    cb: f32,
    cr: f32,
    offset: f32,
}

impl Row {
    fn value(&self, cb: f32, cr: f32) -> f32 {
        self.cb * cb + self.cr * cr + self.offset
    }

    fn of(&self, cb: f32, cr: f32) -> u8 {
        // Saturates.
        (self.value(cb, cr) + 0.5) as u8
    }
}

impl ToJpeg {
    /// JFIF 1.02's matrix behind the stream's own. Grey stays grey in both, so chroma depends on chroma alone.
    fn new(to_rgb: ToRgb) -> Self {
        let jfif = [[0.299, 0.587, 0.114], [-0.168_736, -0.331_264, 0.5], [0.5, -0.418_688, -0.081_312]];
        let (rows, offsets) = to_rgb.affine();
        let [y, cb, cr] = jfif.map(|row: [f32; 3]| {
            let through = |column: usize| (0..3).map(|rgb| row[rgb] * rows[rgb][column]).sum::<f32>();
            let offset = (0..3).map(|rgb| row[rgb] * offsets[rgb]).sum::<f32>();
            (through(0), Row { cb: through(1), cr: through(2), offset })
        });
        let centred = |row: Row| Row { offset: row.offset + 128.0, ..row };
        Self { y: y.0, from_chroma: y.1, cb: centred(cb.1), cr: centred(cr.1) }
    }

    fn luma(&self, luma: &[f32], cb: &[f32], cr: &[f32], out: &mut [u8]) {
        for ((pair, out), (cb, cr)) in luma.chunks(2).zip(out.chunks_mut(2)).zip(cb.iter().zip(cr)) {
            let chroma = self.from_chroma.value(*cb, *cr) + 0.5;
            pair.iter().zip(out).for_each(|(y, out)| *out = (self.y * y + chroma) as u8);
        }
    }
}

/// Encodes JPEGs; keeps its encoder while pictures have one size.
#[derive(Default)]
pub struct JpegEncoder {
    open: Option<codec::encoder::Video>,
    count: i64,
}

impl JpegEncoder {
    /// Encodes what [`jpeg_planes`] made.
    ///
    /// # Errors
    /// Where libav lacks the encoder or memory.
    pub fn encode(&mut self, planes: &mut frame::Video) -> Result<Bytes, SnapshotError> {
        let (width, height) = (planes.width(), planes.height());
        let fits = self.open.as_ref().is_some_and(|open| (open.width(), open.height()) == (width, height));
        let mut encoder = match self.open.take() {
            Some(open) if fits => open,
            _ => open_encoder(width, height)?,
        };
        let failed = |source| SnapshotError::Encode { width, height, source };
        self.count += 1;
        planes.set_pts(Some(self.count));
        // SAFETY: the frame is ours; these are plain fields of it.
        unsafe { (*planes.as_mut_ptr()).quality = QUANTISER * ffi::FF_QP2LAMBDA };
        let mut packet = ffmpeg::Packet::empty();
        encoder.send_frame(planes).map_err(failed)?;
        encoder.receive_packet(&mut packet).map_err(failed)?;
        self.open = Some(encoder);
        Ok(Bytes::copy_from_slice(packet.data().unwrap_or_default()))
    }
}

fn open_encoder(width: u32, height: u32) -> Result<codec::encoder::Video, SnapshotError> {
    let failed = |source| SnapshotError::Encode { width, height, source };
    let found = codec::encoder::find(codec::Id::MJPEG).ok_or(SnapshotError::NoEncoder)?;
    let mut context = codec::Context::new_with_codec(found);
    context.set_flags(codec::Flags::QSCALE);
    context.set_threading(codec::threading::Config { count: 1, ..Default::default() });
    let mut video = context.encoder().video().map_err(failed)?;
    video.set_width(width);
    video.set_height(height);
    video.set_format(Pixel::YUVJ420P);
    video.set_color_range(color::Range::JPEG);
    video.set_time_base(Rational::new(1, 1));
    video.set_global_quality(QUANTISER * ffi::FF_QP2LAMBDA);
    video.open_as(found).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::decode::silence_libav;

    fn flat(format: Pixel, samples: [u8; 3], space: color::Space, range: color::Range) -> frame::Video {
        let mut frame = frame::Video::new(format, 50, 34);
        (0..3).for_each(|plane| frame.data_mut(plane).fill(samples[plane]));
        frame.set_color_space(space);
        frame.set_color_range(range);
        frame
    }

    #[test]
    fn red_stays_red_whatever_the_streams_colours() {
        let streams = [
            (Pixel::YUV420P, [81, 90, 240], color::Space::BT470BG, color::Range::MPEG),
            (Pixel::YUV420P, [63, 102, 240], color::Space::BT709, color::Range::MPEG),
            (Pixel::YUVJ420P, [76, 85, 255], color::Space::BT470BG, color::Range::JPEG),
            (Pixel::YUV422P, [81, 90, 240], color::Space::BT470BG, color::Range::MPEG),
        ];
        for (format, samples, space, range) in streams {
            let frame = flat(format, samples, space, range);
            let copy = jpeg_planes(&Picture::of(&frame).unwrap());
            for (plane, expected) in [76u8, 85, 255].into_iter().enumerate() {
                let found = copy.data(plane)[copy.stride(plane) * 3 + 7];
                assert!(found.abs_diff(expected) <= 1, "{format:?} plane {plane}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn a_jpeg_decodes_to_what_went_in() {
        silence_libav();
        let mut encoder = JpegEncoder::default();
        for (width, height) in [(50, 34), (50, 34), (7, 5), (640, 360)] {
            let mut frame = frame::Video::new(Pixel::YUVJ420P, width, height);
            (0..3).for_each(|plane| frame.data_mut(plane).fill([180, 90, 140][plane]));
            let mut copy = jpeg_planes(&Picture::of(&frame).unwrap());
            let jpeg = encoder.encode(&mut copy).unwrap();
            assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]));
            let found = codec::decoder::find(codec::Id::MJPEG).unwrap();
            let mut decoder = codec::Context::new_with_codec(found).decoder().open_as(found).unwrap().video().unwrap();
            decoder.send_packet(&ffmpeg::Packet::copy(&jpeg)).unwrap();
            let mut back = frame::Video::empty();
            decoder.receive_frame(&mut back).unwrap();
            assert_eq!((back.width(), back.height()), (width, height));
            let middle = back.data(0)[back.stride(0) * (height as usize / 2) + 3];
            assert!(middle.abs_diff(180) <= 2, "{middle}");
        }
    }
}
