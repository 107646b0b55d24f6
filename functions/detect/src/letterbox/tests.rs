#![allow(clippy::unwrap_used, clippy::expect_used)]

use ffmpeg::format::Pixel;
use ffmpeg::{color, frame};
use proptest::prelude::*;

use super::*;
use crate::engine::{RawBox, Region};
use crate::model::Padding;
use crate::picture::Matrix;

fn spec(width: u32, height: u32) -> InputSpec {
    InputSpec {
        width,
        height,
        layout: Layout::Nhwc,
        channels: Channels::Rgb,
        mean: [0.0; 3],
        scale: [1.0; 3],
        pad_value: 0.0,
        pad: Padding::TopLeft,
    }
}

/// A picture whose samples come from `value(component, x, y)`, in units of 8 bits.
fn picture(format: Pixel, width: u32, height: u32, value: impl Fn(usize, usize, usize) -> u8) -> frame::Video {
    let mut frame = frame::Video::new(format, width, height);
    let (cw, ch) = match format {
        Pixel::YUV420P | Pixel::YUV420P10LE | Pixel::NV12 => (width.div_ceil(2), height.div_ceil(2)),
        Pixel::YUV422P => (width.div_ceil(2), height),
        _ => (width, height),
    };
    for component in 0..3 {
        let (w, h) = if component == 0 { (width, height) } else { (cw, ch) };
        for y in 0..h as usize {
            for x in 0..w as usize {
                let v = value(component, x, y);
                match format {
                    Pixel::YUV420P10LE => {
                        let at = y * frame.stride(component) + 2 * x;
                        frame.data_mut(component)[at..at + 2].copy_from_slice(&(u16::from(v) << 2).to_le_bytes());
                    }
                    Pixel::NV12 if component > 0 => {
                        let at = y * frame.stride(1) + 2 * x + component - 1;
                        frame.data_mut(1)[at] = v;
                    }
                    _ => {
                        let at = y * frame.stride(component) + x;
                        frame.data_mut(component)[at] = v;
                    }
                }
            }
        }
    }
    frame
}

/// Mid-range samples that differ everywhere, so that nothing is clamped.
fn soft(component: usize, x: usize, y: usize) -> u8 {
    (100 + 20 * component + (x * 7 + y * 13 + component * 5) % 23) as u8
}

fn prepare(frame: &frame::Video, region: Region, spec: &InputSpec) -> (Vec<f32>, ToSource) {
    let mut out = vec![f32::NAN; spec.len()];
    let to_source = Letterbox::default().prepare(&Look { picture: frame, region }, spec, &mut out).unwrap();
    (out, to_source)
}

fn whole(frame: &frame::Video) -> Region {
    Look::whole(frame).region
}

/// The slow way: every source pixel to RGB, then the mean over each output pixel's area.
fn reference(
    frame: &frame::Video,
    chroma_shift: usize,
    fit: &Fit,
    value: &dyn Fn(usize, usize, usize) -> u8,
) -> Vec<f32> {
    let to = ToRgb::new(Matrix::Bt601, false, 8);
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    let rgb = |x: usize, y: usize, c: usize| {
        let at = |k| f32::from(value(k, x >> chroma_shift, y >> chroma_shift));
        to.channel(c, f32::from(value(0, x, y)), at(1), at(2))
    };
    let overlap = |from: f64, to: f64, i: usize| (to.min(i as f64 + 1.0) - from.max(i as f64)).max(0.0);
    let (sx, sy) = (w as f64 / f64::from(fit.width), h as f64 / f64::from(fit.height));
    let mut out = Vec::new();
    for oy in 0..fit.height {
        for ox in 0..fit.width {
            for c in 0..3 {
                let (x0, y0) = (f64::from(ox) * sx, f64::from(oy) * sy);
                let (mut sum, mut area) = (0.0, 0.0);
                for y in y0 as usize..h.min((y0 + sy).ceil() as usize) {
                    for x in x0 as usize..w.min((x0 + sx).ceil() as usize) {
                        let share = overlap(x0, x0 + sx, x) * overlap(y0, y0 + sy, y);
                        sum += share * f64::from(rgb(x, y, c));
                        area += share;
                    }
                }
                out.push((sum / area) as f32);
            }
        }
    }
    out
}

#[test]
fn shrinking_agrees_with_converting_every_pixel_first() {
    for (format, shift) in [(Pixel::YUV420P, 1), (Pixel::NV12, 1), (Pixel::YUV420P10LE, 1), (Pixel::YUV444P, 0)] {
        let frame = picture(format, 94, 60, soft);
        let spec = spec(32, 20);
        let (found, _) = prepare(&frame, whole(&frame), &spec);
        let fit = Fit::new(whole(&frame), 94, 60, &spec).unwrap();
        let expected = reference(&frame, shift, &fit, &soft);
        assert_eq!((fit.width, fit.height), (31, 20));
        for y in 0..20 {
            for i in 0..31 * 3 {
                let (found, expected) = (found[y * 96 + i], expected[y * 93 + i]);
                // Ten bits are not exactly four times eight: the top of the scale is 1023, not 1020.
                assert!((found - expected).abs() < 0.02, "{format:?} row {y}, {i}: {found} for {expected}");
            }
            assert_eq!(found[y * 96 + 93..y * 96 + 96], [0.0; 3], "padding");
        }
    }
}

#[test]
fn a_picture_of_the_inputs_size_is_only_converted() {
    let frame = picture(Pixel::YUV444P, 16, 8, soft);
    let (found, to_source) = prepare(&frame, whole(&frame), &spec(16, 8));
    let to = ToRgb::new(Matrix::Bt601, false, 8);
    for (i, found) in found.iter().enumerate() {
        let (x, y) = (i / 3 % 16, i / 48);
        let [luma, cb, cr] = [0, 1, 2].map(|c| f32::from(soft(c, x, y)));
        assert!((found - to.channel(i % 3, luma, cb, cr)).abs() < 1e-3);
    }
    assert_eq!(to_source, ToSource { scale: [1.0; 2], offset: [0.0; 2] });
}

#[test]
fn enlarging_is_bilinear_and_holds_the_edges() {
    let frame = picture(Pixel::YUV444P, 2, 1, |c, x, _| if c == 0 { [51, 201][x] } else { 128 });
    let mut frame = frame;
    frame.set_color_range(color::Range::JPEG);
    let (found, _) = prepare(&frame, whole(&frame), &spec(8, 4));
    let row: Vec<f32> = found[..24].iter().step_by(3).map(|v| v.round()).collect();
    assert_eq!(row, [51.0, 51.0, 70.0, 107.0, 145.0, 182.0, 201.0, 201.0]);
}

#[test]
fn layout_channels_padding_and_normalisation_are_the_models() {
    let mut frame = picture(Pixel::YUV444P, 4, 2, |c, _, _| [76, 85, 255][c]);
    frame.set_color_range(color::Range::JPEG);
    let model = InputSpec {
        layout: Layout::Nchw,
        channels: Channels::Bgr,
        mean: [1.0, 2.0, 3.0],
        scale: [0.5, 0.25, 2.0],
        pad_value: 114.0,
        pad: Padding::Centre,
        ..spec(4, 4)
    };
    let (found, to_source) = prepare(&frame, whole(&frame), &model);
    let plane = |c: usize| &found[16 * c..16 * (c + 1)];
    assert_eq!(plane(0)[..4], [56.5; 4]);
    assert_eq!(plane(1)[12..], [28.0; 4]);
    assert_eq!(plane(2)[..4], [222.0; 4]);
    assert!(plane(0)[4..12].iter().all(|v| (v + 0.5).abs() < 0.5), "blue: {:?}", plane(0));
    assert!(plane(2)[4..12].iter().all(|v| (v - 502.0).abs() < 2.0), "red: {:?}", plane(2));
    assert_eq!(to_source.offset, [0.0, -1.0]);
}

#[test]
fn grey_pictures_and_odd_sizes_are_read() {
    let mut grey = frame::Video::new(Pixel::GRAY8, 7, 5);
    grey.data_mut(0).fill(126);
    let (found, _) = prepare(&grey, whole(&grey), &spec(4, 3));
    assert!(found.iter().all(|v| (v - 128.08).abs() < 0.1), "{found:?}");
    let odd = picture(Pixel::YUV420P, 7, 5, |_, _, _| 128);
    let (found, _) = prepare(&odd, whole(&odd), &spec(7, 5));
    assert!(found.iter().all(|v| (v - 130.4).abs() < 0.1), "{found:?}");
}

#[test]
fn packed_formats_and_foreign_regions_are_refused() {
    let packed = frame::Video::new(Pixel::MonoBlack, 8, 8);
    let spec = spec(4, 4);
    let mut out = vec![0.0; spec.len()];
    let error = Letterbox::default().prepare(&Look::whole(&packed), &spec, &mut out).unwrap_err();
    assert_eq!(error, PrepareError::Format("monob".to_owned()));
    let frame = picture(Pixel::YUV420P, 8, 8, soft);
    for region in [[0, 0, 9, 8], [8, 0, 1, 1], [0, 0, 0, 4], [u32::MAX, 0, 2, 2]] {
        let [x, y, w, h] = region;
        let look = Look { picture: &frame, region: Region { x, y, w, h } };
        assert!(Letterbox::default().prepare(&look, &spec, &mut out).is_err(), "{region:?}");
    }
}

proptest! {
    /// Whatever the region and the input: what lies in the region comes back from the input to where it was.
    #[test]
    fn boxes_find_their_way_back(
        (w, h) in (1u32..4000, 1u32..4000), (a, b, c, d) in (0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0),
        (to_w, to_h) in (1u32..700, 1u32..700), centre: bool,
    ) {
        let x = (a * f64::from(w)) as u32;
        let y = (b * f64::from(h)) as u32;
        let region = Region {
            x,
            y,
            w: ((c * f64::from(w - x)) as u32).max(1),
            h: ((d * f64::from(h - y)) as u32).max(1),
        };
        let spec = InputSpec { pad: if centre { Padding::Centre } else { Padding::TopLeft }, ..spec(to_w, to_h) };
        let fit = Fit::new(region, w, h, &spec).unwrap();
        prop_assert!(fit.left + fit.width <= to_w && fit.top + fit.height <= to_h);
        prop_assert!(fit.width == to_w || fit.height == to_h);
        let (left, top) = (fit.left as f32, fit.top as f32);
        let inside = RawBox {
            class: 0, score: 1.0, x0: left, y0: top, x1: left + fit.width as f32, y1: top + fit.height as f32,
        };
        let back = fit.to_source().map(inside);
        let [rx, ry, rw, rh] = [region.x, region.y, region.w, region.h].map(|v| v as f32);
        prop_assert!((back.x0 - rx).abs() < 0.05 && (back.y0 - ry).abs() < 0.05, "{back:?}");
        prop_assert!((back.x1 - rx - rw).abs() < 0.05 && (back.y1 - ry - rh).abs() < 0.05, "{back:?}");
    }

    /// A flat picture stays flat, wherever the region lies: weights sum to one and no sample is read beside the planes.
    #[test]
    fn flat_stays_flat(
        (w, h) in (1u32..90, 1u32..90), (x, y) in (0u32..90, 0u32..90), (to_w, to_h) in (1u32..40, 1u32..40),
    ) {
        let frame = picture(Pixel::YUV420P, w, h, |c, _, _| [180, 128, 128][c]);
        let (x, y) = (x % w, y % h);
        let region = Region { x, y, w: w - x, h: h - y };
        let spec = InputSpec { pad_value: 190.95, ..spec(to_w, to_h) };
        let (found, _) = prepare(&frame, region, &spec);
        prop_assert!(found.iter().all(|v| (v - 190.95).abs() < 0.1), "{:?}", found);
    }
}
