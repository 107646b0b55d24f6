//! Timestamps as they come, onto one continuous timeline.
//!
//! Stamps wrap (32 bits in RTP, 33 in MPEG-TS), repeat, are missing, or jump when a camera sets its clock. Out of here
//! come presentation times that are unique, near those before them, and in the order that the stream meant.

use std::collections::VecDeque;

/// An access unit's own timestamps, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// When it is shown.
    pub pts: Option<i64>,
    /// When it is decoded.
    pub dts: Option<i64>,
    /// When it arrived, in ticks of any steady clock of ours. Live sources only.
    pub arrival: Option<i64>,
}

/// Where an access unit stands on the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its presentation time in ticks.
    pub pts: i64,
    /// The stream's own clock jumped just before it, and by more than time went by.
    pub jumped: bool,
}

/// Which steps are believed.
#[derive(Clone, Copy, Debug)]
pub struct TimelineLimits {
    /// Ticks a second.
    pub time_scale: i64,
    /// The length of a frame in ticks, until the stream shows its own.
    pub frame: i64,
    /// A step ahead that is longer, in seconds, is a jump; for live sources beyond the time that went by meanwhile.
    pub ahead_s: i64,
}

/// A step back in presentation time that reordering explains, in seconds. Decoding times never step back.
const REORDER_S: i64 = 2;
/// Presentation times kept to tell repeated ones: more than any stream reorders.
const RECENT: usize = 64;
const WRAPS: [i64; 5] = [0, 1 << 32, -(1 << 32), 1 << 33, -(1 << 33)];

/// Places one access unit after another.
#[derive(Debug)]
pub struct Timeline {
    limits: TimelineLimits,
    /// The last unit's leading stamp (its decoding time, or else its presentation time) as it came, and its arrival.
    last: Option<(i64, Option<i64>, bool)>,
    /// What is added to stamps.
    offset: i64,
    newest: Option<i64>,
    recent: VecDeque<i64>,
    frame: i64,
    /// The next stamps have nothing to do with the last.
    broken_off: bool,
}

impl Timeline {
    /// An empty timeline.
    pub fn new(limits: TimelineLimits) -> Self {
        Self {
            limits,
            last: None,
            offset: 0,
            newest: None,
            recent: VecDeque::new(),
            frame: limits.frame.max(1),
            broken_off: false,
        }
    }

    /// The stream began anew: whatever its next stamps are, they go on where the last ended, as much later as time went by.
    pub fn break_off(&mut self) {
        self.broken_off = true;
    }

    /// Places the next access unit in decode order.
    pub fn place(&mut self, stamps: Stamps) -> Placed {
        let (wanted, jumped) = self.follow(stamps);
        let mut pts = wanted;
        while self.recent.contains(&pts) {
            pts = pts.saturating_add(1);
        }
        if let Some(newest) = self.newest
            && pts > newest
        {
            self.frame = pts.saturating_sub(newest).clamp(1, self.limits.time_scale.max(1));
        }
        self.newest = Some(self.newest.map_or(pts, |newest| newest.max(pts)));
        self.recent.push_back(pts);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        Placed { pts, jumped }
    }

    fn follow(&mut self, stamps: Stamps) -> (i64, bool) {
        let next = self.newest.map_or(0, |newest| newest.saturating_add(self.frame));
        let Some(stamp) = stamps.dts.or(stamps.pts) else {
            return (next, false);
        };
        let decoding = stamps.dts.is_some();
        // Stamps far outside any clock's range would overflow what follows.
        let stamp = stamp.clamp(-(1 << 60), 1 << 60);
        let Some((last, last_arrival, last_decoding)) = self.last else {
            self.last = Some((stamp, stamps.arrival, decoding));
            self.offset = 0;
            return (self.shown(stamp, &stamps), false);
        };
        let step = WRAPS.map(|wrap| stamp - last + wrap).into_iter().min_by_key(|step| step.abs()).unwrap_or(0);
        self.offset += step - (stamp - last);
        self.last = Some((stamp, stamps.arrival, decoding));

        let elapsed = stamps.arrival.zip(last_arrival).map_or(0, |(now, then)| (now - then).max(0));
        let scale = self.limits.time_scale.max(1);
        let back = if decoding && last_decoding { scale / 2 } else { REORDER_S * scale };
        let broken_off = std::mem::take(&mut self.broken_off);
        if broken_off || step < -back || step > elapsed.saturating_add(self.limits.ahead_s.saturating_mul(scale)) {
            // The leading stamp goes on where the newest picture ended, or later if time went by.
            let placed = next.max(self.newest.unwrap_or(0).saturating_add(elapsed));
            let shown = self.shown(stamp, &stamps);
            self.offset = self.offset.saturating_add(placed.saturating_sub(shown));
            return (placed, !broken_off);
        }
        (self.shown(stamp, &stamps), false)
    }

    /// The presentation time of a unit whose leading stamp is `stamp`.
    fn shown(&self, stamp: i64, stamps: &Stamps) -> i64 {
        let far = REORDER_S * 5 * self.limits.time_scale.max(1);
        let reorder = stamps.pts.zip(stamps.dts).map_or(0, |(pts, dts)| {
            WRAPS
                .map(|wrap| pts.saturating_sub(dts).saturating_add(wrap))
                .into_iter()
                .min_by_key(|d| d.unsigned_abs())
                .unwrap_or(0)
        });
        // A presentation time that is nowhere near its decoding time is not believed.
        let reorder = if (-far..=far).contains(&reorder) { reorder } else { 0 };
        stamp.saturating_add(self.offset).saturating_add(reorder)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    const LIVE: TimelineLimits = TimelineLimits { time_scale: 90_000, frame: 3_000, ahead_s: 5 };

    fn pts(stamp: i64) -> Stamps {
        Stamps { pts: Some(stamp), ..Stamps::default() }
    }

    fn place_all(stamps: impl IntoIterator<Item = Stamps>) -> Vec<Placed> {
        let mut timeline = Timeline::new(LIVE);
        stamps.into_iter().map(|stamps| timeline.place(stamps)).collect()
    }

    #[test]
    fn stamps_of_32_and_33_bits_are_unwrapped() {
        for bits in [32, 33] {
            let wrap = 1_i64 << bits;
            let stamps = (0..10).map(|n| pts((wrap - 5 * 3_000 + n * 3_000) % wrap));
            let placed = place_all(stamps);
            assert!(placed.iter().all(|p| !p.jumped));
            assert!(placed.windows(2).all(|w| w[1].pts - w[0].pts == 3_000), "{placed:?}");
        }
    }

    #[test]
    fn a_jump_either_way_goes_on_one_frame_later() {
        for to in [5_i64, 1 << 40] {
            let placed = place_all([900_000, 903_000, 906_000, to, to + 3_000].map(pts));
            let steps: Vec<i64> = placed.windows(2).map(|w| w[1].pts - w[0].pts).collect();
            assert_eq!(steps, [3_000; 4]);
            assert_eq!(placed.iter().map(|p| p.jumped).collect::<Vec<_>>(), [false, false, false, true, false]);
        }
    }

    #[test]
    fn a_stream_that_begins_anew_goes_on_as_much_later_as_time_went_by() {
        let mut timeline = Timeline::new(LIVE);
        let mut place = |pts, arrival| timeline.place(Stamps { pts: Some(pts), dts: None, arrival: Some(arrival) });
        assert_eq!([place(500, 0).pts, place(3_500, 3_000).pts], [500, 3_500]);
        timeline.break_off();
        let mut place = |pts, arrival| timeline.place(Stamps { pts: Some(pts), dts: None, arrival: Some(arrival) });
        assert_eq!(place(3_600, 903_000), Placed { pts: 903_500, jumped: false });
        assert_eq!(place(6_600, 906_000).pts, 906_500);
    }

    #[test]
    fn a_long_wait_is_no_jump_if_as_much_time_went_by() {
        let at = |n: i64| Stamps { pts: Some(n), dts: None, arrival: Some(n + 77) };
        assert!(place_all([at(0), at(3_000), at(90_000 * 60)]).iter().all(|p| !p.jumped));
        let early = Stamps { arrival: Some(6_077), ..at(90_000 * 60) };
        assert!(place_all([at(0), at(3_000), early])[2].jumped);
    }

    #[test]
    fn reordered_pictures_keep_their_times_and_repeated_ones_are_told_apart() {
        let placed = place_all([0, 9_000, 6_000, 3_000, 12_000, 12_000].map(pts));
        assert_eq!(placed.iter().map(|p| p.pts).collect::<Vec<_>>(), [0, 9_000, 6_000, 3_000, 12_000, 12_001]);
    }

    #[test]
    fn missing_stamps_are_one_frame_apart() {
        let placed = place_all([pts(0), pts(1_800), Stamps::default(), Stamps::default()]);
        assert_eq!(placed.iter().map(|p| p.pts).collect::<Vec<_>>(), [0, 1_800, 3_600, 5_400]);
    }

    proptest! {
        #[test]
        fn whatever_comes_times_stay_unique_and_near(
            stamps in prop::collection::vec((any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<u32>>()), 1..200)
        ) {
            let mut timeline = Timeline::new(LIVE);
            let mut seen = Vec::new();
            for (pts, dts, arrival) in stamps {
                let placed = timeline.place(Stamps { pts, dts, arrival: arrival.map(i64::from) });
                prop_assert!(!seen.iter().rev().take(RECENT).any(|p| *p == placed.pts));
                seen.push(placed.pts);
            }
        }
    }
}
