#![allow(clippy::unwrap_used)]

use ffmpeg::format::Pixel;
use ffmpeg::frame;

use super::*;

/// Noise of standard deviation `noise`, the same for the same seed.
fn picture(noise: f32, seed: u32, light: f32, paint: impl Fn(usize, usize) -> Option<f32>) -> frame::Video {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    let mut frame = frame::Video::new(Pixel::YUV420P, 640, 480);
    let stride = frame.stride(0);
    for (y, row) in frame.data_mut(0).chunks_mut(stride).enumerate() {
        for (x, v) in row.iter_mut().take(640).enumerate() {
            let scene = paint(x, y).unwrap_or(60.0 + (x / 4) as f32 * 0.5 + light);
            *v = (scene + noise * 3.46 * random()).clamp(0.0, 255.0) as u8;
        }
    }
    frame
}

/// A grey square of `side` pixels whose left edge is at `x`.
fn square(x: usize, side: usize, luma: f32) -> impl Fn(usize, usize) -> Option<f32> {
    move |px, py| ((x..x + side).contains(&px) && (200..200 + side).contains(&py)).then_some(luma)
}

fn watch(masks: &[[u16; 4]], pictures: &[frame::Video]) -> Vec<Vec<Moved>> {
    let mut watch = Watch::new(masks);
    let each = (0..).zip(pictures);
    each.map(|(i, p)| watch.next(TimeUs(i * 200_000), &Picture::of(p).unwrap())).collect()
}

#[test]
fn noise_and_a_change_of_light_are_no_motion() {
    for noise in [0.0, 3.0, 12.0] {
        let pictures: Vec<_> = (0..5).map(|i| picture(noise, i + 1, i as f32 * 4.0, |_, _| None)).collect();
        assert!(watch(&[], &pictures).iter().all(Vec::is_empty), "noise {noise}");
    }
}

#[test]
fn a_thing_that_enters_stands_out_where_it_is() {
    let pictures = [picture(3.0, 1, 0.0, |_, _| None), picture(3.0, 2, 0.0, square(300, 40, 220.0))];
    let found = watch(&[], &pictures);
    let region = found[1][0].region;
    assert!(region.x.abs_diff(300) <= 4 && region.y.abs_diff(200) <= 4, "{region:?}");
    assert!(region.w.abs_diff(40) <= 8 && region.h.abs_diff(40) <= 8, "{region:?}");
}

#[test]
fn even_a_slow_one_is_seen_within_the_segment() {
    let pictures: Vec<_> = (0..5).map(|i| picture(2.0, i + 1, 0.0, square(300 + 3 * i as usize, 60, 190.0))).collect();
    let found = watch(&[], &pictures);
    assert!(found[4].iter().any(|m| m.region.x <= 304), "{found:?}");
}

#[test]
fn masked_motion_does_not_count() {
    let pictures = [picture(0.0, 1, 0.0, |_, _| None), picture(0.0, 1, 0.0, square(300, 40, 220.0))];
    assert!(watch(&[[4_600, 4_100, 800, 1_000]], &pictures)[1].is_empty());
    assert_eq!(watch(&[[0, 0, 4_600, 10_000]], &pictures)[1].len(), 1);
    assert!(watch(&[[0, 0, 10_000, 10_000]], &pictures)[1].is_empty());
}

#[test]
fn a_change_of_size_starts_over() {
    let small = frame::Video::new(Pixel::GRAY8, 32, 32);
    let found = watch(&[], &[picture(0.0, 1, 0.0, |_, _| None), small]);
    assert!(found[1].is_empty());
}

#[test]
fn medians_are_right_to_an_eighth() {
    assert_eq!(median([1.0, 9.0, 2.0].into_iter()), 2.0);
    assert_eq!(median([-255.0; 4].into_iter()), -255.0);
}
