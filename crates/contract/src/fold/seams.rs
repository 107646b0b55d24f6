//! Where epochs begin to rule, and what they leave of older ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Epoch, Gap, Seam, Span, TimeUs};

/// Where each of a camera's epochs begins to rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seams(BTreeMap<Epoch, Seam>);

/// From where on an epoch's frames are superseded by newer epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Frames captured from here on.
    pub at: Option<TimeUs>,
    /// What nobody captured from here on: a newer epoch did.
    pub gaps_at: Option<TimeUs>,
    /// Segments that open with one of these, captured about then, and all behind them. A camera that sees nothing new may send
    /// the same key frame again and again.
    pub key_frames: Vec<(Digest, TimeUs)>,
}

impl Seams {
    /// How far two dispatchers' capture times of one key frame may lie apart, in microseconds. A seam that names a key
    /// frame cuts there; by time it cuts only this much later, should the older epoch never have had that key frame.
    pub const KEY_FRAME_GRACE_US: i64 = 2_000_000;

    /// Notes the seam of `epoch`. Says whether that is news.
    pub fn insert(&mut self, epoch: Epoch, seam: Seam) -> bool {
        self.0.insert(epoch, seam) != Some(seam)
    }

    /// What newer epochs leave of `epoch`.
    pub fn limit(&self, epoch: Epoch) -> Limit {
        use std::ops::Bound::{Excluded, Unbounded};
        let newer = || self.0.range((Excluded(epoch), Unbounded)).map(|(_, seam)| seam);
        let cut = |seam: &Seam| match seam.key_frame {
            Some(_) => seam.at.plus(Self::KEY_FRAME_GRACE_US),
            None => seam.at,
        };
        Limit {
            at: newer().map(cut).min(),
            gaps_at: newer().map(|seam| seam.at).min(),
            key_frames: newer().filter_map(|seam| Some((seam.key_frame?, seam.at))).collect(),
        }
    }
}

impl FromIterator<(Epoch, Seam)> for Seams {
    fn from_iter<I: IntoIterator<Item = (Epoch, Seam)>>(seams: I) -> Self {
        Self(seams.into_iter().collect())
    }
}

impl Limit {
    /// Whether a frame captured at `at` is superseded.
    pub fn covers(&self, at: TimeUs) -> bool {
        self.at.is_some_and(|limit| at >= limit)
    }

    /// What is left of a gap; none where it begins behind a newer epoch's seam. One that lasts until there is closed by that epoch.
    pub fn of_gap(&self, gap: Gap) -> Option<Gap> {
        match self.gaps_at {
            Some(at) if gap.from >= at => None,
            Some(at) => Some(Gap { until: gap.until.map(|until| until.min(at)), ..gap }),
            None => Some(gap),
        }
    }

    /// Whether a segment opens with a seam's key frame, at about its time.
    pub fn opens(&self, span: &Span) -> bool {
        let near = |at: TimeUs| span.start.since(at).unsigned_abs() <= Seams::KEY_FRAME_GRACE_US.unsigned_abs();
        self.key_frames.iter().any(|(digest, at)| span.key_frame == Some(*digest) && near(*at))
    }

    /// How many of a span's frames are superseded, where their times are not known one by one: taken as evenly spaced.
    pub fn covered(&self, span: &Span) -> u32 {
        let Some(limit) = self.at else { return 0 };
        let length = i128::from(span.end.since(span.start)).max(0);
        let lead = i128::from(limit.since(span.start));
        let frames = i128::from(span.frames);
        let before = if lead <= 0 {
            0
        } else if length == 0 {
            frames
        } else {
            // Frame i is at start + length * i / frames; those with length * i < lead * frames come before the limit.
            ((lead * frames + length - 1) / length).min(frames)
        };
        (frames - before) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    #[test]
    fn a_span_is_cut_frame_by_frame() {
        let span = Span {
            first_frame: 0,
            frames: 10,
            start: TimeUs(1_000),
            end: TimeUs(2_000),
            clock: Clock::Unix,
            key_frame: None,
        };
        let covered = |at| Limit { at: Some(TimeUs(at)), ..Limit::default() }.covered(&span);
        assert_eq!(covered(500), 10);
        assert_eq!(covered(1_000), 10);
        assert_eq!(covered(1_001), 9);
        assert_eq!(covered(1_500), 5);
        assert_eq!(covered(1_900), 1);
        assert_eq!(covered(1_901), 0);
        assert_eq!(Limit::default().covered(&span), 0);
        assert_eq!(Limit { at: Some(TimeUs(i64::MIN)), ..Limit::default() }.covered(&span), 10);
    }

    #[test]
    fn a_key_frame_cuts_before_the_clock_does() {
        let mut seams = Seams::default();
        let seam = Seam { at: TimeUs(5_000_000), key_frame: Some(Digest::of(b"k")) };
        assert!(seams.insert(Epoch(2), seam));
        assert!(!seams.insert(Epoch(2), seam));
        let limit = seams.limit(Epoch(1));
        let opens = |start: i64, key_frame: &[u8]| {
            let (start, end) = (TimeUs(start), TimeUs(start + 1_000_000));
            let key_frame = Some(Digest::of(key_frame));
            limit.opens(&Span { first_frame: 0, frames: 10, start, end, clock: Clock::Unix, key_frame })
        };
        assert!(opens(4_000_000, b"k") && opens(6_000_000, b"k"));
        assert!(!opens(4_000_000, b"other"));
        assert!(!opens(2_000_000, b"k"), "a camera that sees nothing new sent the same one before");
        assert!(!limit.covers(TimeUs(6_999_999)) && limit.covers(TimeUs(7_000_000)));
        assert_eq!(seams.limit(Epoch(2)), Limit::default());
    }
}
