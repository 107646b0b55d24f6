//! Which segments can be spared first: those whose packet sizes say that nothing moves.
//!
//! A camera's predicted pictures cost least where nothing moves, and how little that is depends on camera and light. So a
//! segment is held against the quieter tenth of the camera's own recent ones. The median would not do: on a busy road
//! it is the price of traffic, and before a lonely door that of nothing.

use std::collections::VecDeque;

/// About four minutes: light changes more slowly.
const RECENT: usize = 256;
/// With fewer, nobody can tell.
const FEWEST: usize = 16;

/// Judges one camera's segments.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuietLevel {
    recent: VecDeque<u32>,
}

impl QuietLevel {
    /// Takes the sizes of a segment's predicted pictures; whether nothing moved. Where it cannot tell, something did.
    pub(crate) fn judge(&mut self, predicted: impl IntoIterator<Item = usize>) -> bool {
        let (count, bytes) = predicted.into_iter().fold((0_usize, 0_usize), |(n, sum), bytes| (n + 1, sum + bytes));
        let Some(mean) = bytes.checked_div(count) else { return false };
        let mean = u32::try_from(mean).unwrap_or(u32::MAX);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(mean);
        let mut sizes: Vec<u32> = self.recent.iter().copied().collect();
        let tenth = sizes.len() / 10;
        let (_, level, _) = sizes.select_nth_unstable(tenth);
        self.recent.len() >= FEWEST && u64::from(mean) * 2 <= u64::from(*level) * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How each of `means` was judged, in order.
    fn judged(means: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut level = QuietLevel::default();
        means.into_iter().map(|mean| level.judge([mean - 10, mean + 10])).collect()
    }

    #[test]
    fn a_visitor_at_a_lonely_door_is_not_quiet_and_a_pause_on_a_busy_road_is() {
        let door = judged((0..100).map(|n| if n >= 90 { 900 } else { 150 + n % 7 * 5 }));
        assert_eq!(door[FEWEST..], std::array::from_fn::<bool, 84, _>(|n| n < 74));
        let road = judged((0..100).map(|n| if n % 6 == 5 { 200 } else { 1_500 + n % 7 * 50 }));
        assert_eq!(road[FEWEST..], std::array::from_fn::<bool, 84, _>(|n| (n + FEWEST) % 6 == 5));
    }

    #[test]
    fn where_nobody_can_tell_something_moved() {
        assert!(!judged([100; FEWEST - 1]).contains(&true));
        let mut level = QuietLevel::default();
        assert!(!(0..100).any(|_| level.judge([])));
    }
}
