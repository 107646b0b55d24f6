//! What packet sizes alone say.

use crate::segment::Timeline;

/// In a segment where nothing moves, predicted pictures are next to nothing: they take at most this share of the key
/// frame on average (1/160) and each (1/40: a clock's digits may change).
const MEAN_SHARE: u64 = 160;
const LARGEST_SHARE: u64 = 40;

/// Whether nothing can have moved. `false` says nothing: it may be noise, or a stream that spends its bits anyway.
///
/// Pictures that others refer to count alone, since those that nothing refers to are coarser and smaller whatever moves.
/// They are held against the segment's own key frame, which costs what the scene's detail costs at the stream's quality.
pub fn still(timeline: &Timeline) -> bool {
    let Some(key) = timeline.infos.iter().position(|info| info.border.is_some()) else { return false };
    let size = |ordinal: usize| timeline.samples[ordinal].data.len() as u64;
    let predicted: Vec<u64> = (key + 1..timeline.samples.len())
        .filter(|ordinal| timeline.infos[*ordinal].border.is_none() && timeline.infos[*ordinal].reference)
        .map(size)
        .collect();
    shares_are_small(size(key), &predicted)
}

fn shares_are_small(key: u64, predicted: &[u64]) -> bool {
    let count = predicted.len() as u64;
    let largest = predicted.iter().max().copied().unwrap_or(u64::MAX);
    count > 0 && predicted.iter().sum::<u64>() * MEAN_SHARE <= key * count && largest <= key / LARGEST_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_driveway_with_a_clock_is_still_and_a_passing_car_is_not() {
        // Sizes as a real camera at 640x480 made them.
        assert!(shares_are_small(35_900, &[150, 140, 160, 355, 130, 175]));
        assert!(!shares_are_small(37_600, &[700, 650, 972, 800, 742]));
        assert!(!shares_are_small(35_900, &[100, 100, 100, 2_000]));
    }

    #[test]
    fn a_key_frame_alone_says_nothing() {
        assert!(!shares_are_small(35_900, &[]));
    }
}
