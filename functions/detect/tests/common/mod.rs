//! What the engines' tests share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod toy;

use std::path::{Path, PathBuf};

use detektor_detect::engine::{
    Detector, Engine, EngineKind, EngineOptions, Look, Prepare, PrepareError, ToSource, open,
};
use detektor_detect::model::{Channels, InputSpec, Layout, Model};
use ffmpeg::format::Pixel;
use ffmpeg::frame;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn bundled() -> Model {
    Model::load(root().join("models/efficientdet-lite0.toml")).expect("the bundled model")
}

/// A packed RGB picture.
pub fn picture(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> frame::Video {
    let mut picture = frame::Video::new(Pixel::RGB24, width, height);
    let stride = picture.stride(0);
    let data = picture.data_mut(0);
    for y in 0..height {
        for x in 0..width {
            let at = y as usize * stride + x as usize * 3;
            data[at..at + 3].copy_from_slice(&pixel(x, y));
        }
    }
    picture
}

pub fn png(path: &Path) -> frame::Video {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let found = ffmpeg::decoder::find(ffmpeg::codec::Id::PNG).unwrap();
    let mut decoder = ffmpeg::codec::Context::new_with_codec(found).decoder().open_as(found).unwrap().video().unwrap();
    decoder.send_packet(&ffmpeg::Packet::copy(&bytes)).unwrap();
    let mut picture = frame::Video::empty();
    decoder.receive_frame(&mut picture).unwrap();
    assert_eq!(picture.format(), Pixel::RGB24, "{}", path.display());
    picture
}

/// Copies packed RGB pixel by pixel, unscaled, into the input's left top corner, so that an engine is fed exactly the
/// values that a test means.
pub struct Copy;

impl Prepare for Copy {
    fn prepare(&mut self, look: &Look<'_>, spec: &InputSpec, out: &mut [f32]) -> Result<ToSource, PrepareError> {
        let (picture, region) = (look.picture, look.region);
        if picture.format() != Pixel::RGB24 {
            return Err(PrepareError::Format(format!("{:?}", picture.format())));
        }
        let (data, stride) = (picture.data(0), picture.stride(0));
        let (width, height) = (spec.width as usize, spec.height as usize);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for channel in 0..3 {
                let source = if spec.channels == Channels::Rgb { channel } else { 2 - channel };
                let inside = x < region.w as usize && y < region.h as usize;
                let at = (region.y as usize + y) * stride + (region.x as usize + x) * 3 + source;
                let pixel = if inside { f32::from(data[at]) } else { spec.pad_value };
                let to = match spec.layout {
                    Layout::Nhwc => (y * width + x) * 3 + channel,
                    Layout::Nchw => (channel * height + y) * width + x,
                };
                out[to] = spec.normalise(channel, pixel);
            }
        }
        Ok(ToSource { scale: [1.0, 1.0], offset: [region.x as f32, region.y as f32] })
    }
}

pub fn engine(model: &Model, kind: EngineKind) -> Box<dyn Engine> {
    open(model, kind, &EngineOptions::default(), Box::new(Copy)).unwrap_or_else(|e| panic!("{e}: {e:?}"))
}

pub fn detector(model: &Model, kind: EngineKind) -> Detector {
    Detector::with(model, kind, &EngineOptions::default(), Box::new(Copy)).unwrap_or_else(|e| panic!("{e}: {e:?}"))
}

/// Makes one module of tests an engine, so that each runs the same cases.
#[macro_export]
macro_rules! for_each_engine {
    ($($case:ident),* $(,)?) => {
        mod tract {
            $(#[test] fn $case() { super::$case(detektor_detect::engine::EngineKind::Tract); })*
        }
        mod ort {
            $(#[test] fn $case() { super::$case(detektor_detect::engine::EngineKind::Ort); })*
        }
    };
}
