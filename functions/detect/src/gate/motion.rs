//! What moved between two pictures.

use detektor_contract::TimeUs;

use super::thumb::Thumb;
use crate::engine::Region;
use crate::picture::{Picture, Resizer};

/// A cell has changed when its luma did by this much at least, in 1/255.
const MIN_STEP: f32 = 7.0;
/// And by so many times the noise, measured as the standard deviation over all cells.
const NOISE_FACTOR: f32 = 6.0;
/// Fewer connected cells than these are noise. At 640x480 a cell is 4x4 pixels.
const MIN_CELLS: usize = 4;
/// Pictures closer together than this differ too little to tell motion from noise.
const MIN_APART_US: i64 = 180_000;

/// Something that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where, in pixels of the picture: what it covers now and what it covered before.
    pub region: Region,
    /// How many cells changed.
    pub cells: usize,
}

/// Watches a segment's pictures, in presentation order, for motion.
///
/// Each is compared with the segment's first, against which even the slowest thing stands out in the end, and with the
/// latest one some way back, against which whatever moves right now does.
pub struct Watch {
    masks: Vec<[u16; 4]>,
    resizer: Resizer,
    seen: Vec<(TimeUs, Thumb)>,
}

impl Watch {
    /// Motion within `masks` does not count: rectangles in ten-thousandths of the picture, `[x, y, w, h]`.
    pub fn new(masks: &[[u16; 4]]) -> Self {
        Self { masks: masks.to_vec(), resizer: Resizer::default(), seen: Vec::new() }
    }

    /// Whether there were two pictures of one size to compare.
    pub fn can_tell(&self) -> bool {
        self.seen.len() > 1
    }

    /// What moved up to this picture, most cells first. The first picture, and the first after the size changed, tells
    /// nothing.
    pub fn next(&mut self, at: TimeUs, picture: &Picture<'_>) -> Vec<Moved> {
        let now = Thumb::of(picture, &mut self.resizer);
        if self.seen.first().is_some_and(|(_, first)| (first.width, first.height) != (now.width, now.height)) {
            self.seen.clear();
        }
        let mut changed = vec![false; now.luma.len()];
        let back = self.seen.iter().rposition(|(then, _)| at.since(*then) >= MIN_APART_US).unwrap_or(0);
        let references = self.seen.iter().take(1).chain(self.seen.get(back).filter(|_| back > 0));
        for (_, before) in references {
            mark_changed(before, &now, &mut changed);
        }
        mask(&self.masks, &now, &mut changed);
        let moved = connected(&mut changed, now.width, picture.width, picture.height);
        self.seen.push((at, now));
        moved
    }
}

/// Marks the cells that changed by more than noise and by more than all of the picture did (light, exposure).
fn mark_changed(before: &Thumb, now: &Thumb, changed: &mut [bool]) {
    let shift = median(before.luma.iter().zip(&now.luma).map(|(a, b)| b - a));
    let step = |a: &f32, b: &f32| (b - a - shift).abs();
    // Of a normal distribution, the median distance from the middle is 1 / 1.4826 standard deviations.
    let noise = 1.4826 * median(before.luma.iter().zip(&now.luma).map(|(a, b)| step(a, b)));
    let limit = MIN_STEP.max(NOISE_FACTOR * noise);
    for (changed, (a, b)) in changed.iter_mut().zip(before.luma.iter().zip(&now.luma)) {
        *changed |= step(a, b) >= limit;
    }
}

/// The median of numbers from -256 to 256, to within 1/8, by counting.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut counts = [0u32; 4097];
    let mut total = 0;
    for value in values {
        counts[((value * 8.0).round() as i32 + 2048).clamp(0, 4096) as usize] += 1;
        total += 1;
    }
    let mut below = 0;
    let middle = counts.iter().position(|count| {
        below += count;
        2 * below >= total
    });
    (middle.unwrap_or(2048) as f32 - 2048.0) / 8.0
}

fn mask(masks: &[[u16; 4]], thumb: &Thumb, changed: &mut [bool]) {
    for [x, y, w, h] in masks.iter().map(|mask| mask.map(usize::from)) {
        // Cells that a mask only touches are masked too.
        let range = |from: usize, length: usize, cells: usize| {
            let from_cell = (from * cells / 10_000).min(cells);
            from_cell..((from + length) * cells).div_ceil(10_000).clamp(from_cell, cells)
        };
        for row in range(y, h, thumb.height) {
            for column in range(x, w, thumb.width) {
                changed[row * thumb.width + column] = false;
            }
        }
    }
}

/// Groups changed cells that touch, corners included. Empties `changed`.
fn connected(changed: &mut [bool], width: usize, picture_w: u32, picture_h: u32) -> Vec<Moved> {
    let height = changed.len() / width.max(1);
    let mut found = Vec::new();
    let mut open = Vec::new();
    for start in 0..changed.len() {
        if !std::mem::take(&mut changed[start]) {
            continue;
        }
        let (mut cells, mut left, mut right, mut top, mut bottom) = (0, width, 0, height, 0);
        open.push(start);
        while let Some(cell) = open.pop() {
            let (x, y) = (cell % width, cell / width);
            cells += 1;
            (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    if std::mem::take(&mut changed[ny * width + nx]) {
                        open.push(ny * width + nx);
                    }
                }
            }
        }
        if cells >= MIN_CELLS {
            let pixel =
                |cell: usize, cells: usize, pixels: u32| (cell as u64 * u64::from(pixels) / cells as u64) as u32;
            let (x, y) = (pixel(left, width, picture_w), pixel(top, height, picture_h));
            let (end_x, end_y) = (pixel(right + 1, width, picture_w), pixel(bottom + 1, height, picture_h));
            let region = Region { x, y, w: (end_x - x).max(1), h: (end_y - y).max(1) };
            found.push(Moved { region, cells });
        }
    }
    found.sort_by_key(|moved| (std::cmp::Reverse(moved.cells), moved.region.y, moved.region.x));
    found
}

#[cfg(test)]
mod tests;
