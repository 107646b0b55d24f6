//! Resizing a component. Shrinking averages areas (every source sample counts), enlarging is bilinear.

use super::Component;
use crate::engine::Region;

/// Resizes a region of a component row by row, with scratch memory that is kept from picture to picture.
#[derive(Default)]
pub struct Resizer {
    across: Axis,
    down: Axis,
    /// One output row's sums over source rows, not yet resized across.
    sums: Vec<f32>,
}

impl Resizer {
    /// Plans to resize what `region`, in pixels of the whole picture, covers of `component` to `width` x `height`.
    pub fn plan(&mut self, component: &Component<'_>, region: Region, width: usize, height: usize) {
        let (across, down) = (1.0 / f64::from(1 << component.log2_w), 1.0 / f64::from(1 << component.log2_h));
        let (x, w) = (f64::from(region.x) * across, f64::from(region.w) * across);
        let (y, h) = (f64::from(region.y) * down, f64::from(region.h) * down);
        self.across.plan(x, w, width, component.width);
        self.down.plan(y, h, height, component.height);
    }

    /// Writes output row `y` of the component that was planned for.
    pub fn row(&mut self, component: &Component<'_>, y: usize, out: &mut [f32]) {
        let Self { across, down, sums } = self;
        sums.clear();
        sums.resize(across.end - across.first, 0.0);
        down.taps(y).for_each(|(row, weight)| component.add_row(row, across.first, weight, sums));
        across.gather(sums, out);
    }
}

/// For each output sample, which source samples it is made of, and how much of each.
#[derive(Default)]
struct Axis {
    /// Each output sample's first source sample, and where its weights begin in `weights`; one entry more at the end.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
    first: usize,
    end: usize,
    /// Whether every output sample is one source sample, and they stand in a row: what a copy at full size does.
    same: bool,
}

impl Axis {
    /// Plans to make `to` samples of the stretch of source samples that begins at `from` and is `length` long, in
    /// continuous coordinates (sample i covers i to i + 1). Samples outside 0 to `limit` are its edge's.
    fn plan(&mut self, from: f64, length: f64, to: usize, limit: usize) {
        self.starts.clear();
        self.weights.clear();
        (self.first, self.end) = (limit, 0);
        let scale = length / to as f64;
        for i in 0..to {
            let start = if scale > 1.0 {
                self.area(from + i as f64 * scale, scale, limit)
            } else {
                self.between(from + (i as f64 + 0.5) * scale, limit)
            };
            let begin = start.1;
            self.starts.push(start);
            self.first = self.first.min(start.0);
            self.end = self.end.max(start.0 + self.weights.len() - begin);
        }
        self.same = self.weights.len() == to && self.weights.iter().all(|w| *w == 1.0) && self.end - self.first == to;
        self.starts.push((0, self.weights.len()));
        self.first = self.first.min(self.end);
    }

    /// The mean over `[from, from + length)`.
    fn area(&mut self, from: f64, length: f64, limit: usize) -> (usize, usize) {
        let begin = self.weights.len();
        let last = limit.saturating_sub(1);
        let first = (from.floor().max(0.0) as usize).min(last);
        let end = (((from + length).ceil()) as usize).clamp(first + 1, limit.max(first + 1));
        for at in first..end {
            let (left, right) = (at as f64, at as f64 + 1.0);
            self.weights.push((right.min(from + length) - left.max(from)).max(0.0) as f32);
        }
        self.normalise(begin);
        (first, begin)
    }

    /// Between the two samples whose middles lie around `at`.
    fn between(&mut self, at: f64, limit: usize) -> (usize, usize) {
        let begin = self.weights.len();
        let last = limit.saturating_sub(1);
        let left = (at - 0.5).clamp(0.0, last as f64);
        let first = (left.floor() as usize).min(last);
        let share = left - first as f64;
        self.weights.push((1.0 - share) as f32);
        if share > 0.0 {
            self.weights.push(share as f32);
        }
        (first, begin)
    }

    fn normalise(&mut self, begin: usize) {
        let weights = &mut self.weights[begin..];
        let sum: f32 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|w| *w /= sum);
        } else if let Some(first) = weights.first_mut() {
            *first = 1.0;
        }
    }

    /// The source samples of output sample `i`, with their weights.
    fn taps(&self, i: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let (first, begin) = self.starts[i];
        self.weights[begin..self.starts[i + 1].1].iter().enumerate().map(move |(k, w)| (first + k, *w))
    }

    /// Resizes: `source` begins at the first sample that any output needs.
    fn gather(&self, source: &[f32], out: &mut [f32]) {
        if self.same {
            return out.copy_from_slice(&source[..out.len()]);
        }
        for (out, pair) in out.iter_mut().zip(self.starts.windows(2)) {
            let (first, begin) = pair[0];
            let weights = &self.weights[begin..pair[1].1];
            let samples = &source[first - self.first..];
            *out = weights.iter().zip(samples).map(|(w, s)| w * s).sum();
        }
    }
}
