//! The ledger's side of the fold: every captured frame counted once.
//!
//! Counts saturate: what an outcome or a checkpoint claims may be absurd, and must not cost more than its own camera.

use serde::{Deserialize, Serialize};

use super::Limit;
use crate::{Epoch, Failed, Fate, Frame, Gap, Ledger, Position, Skipped, Span};

/// What the books need to know between two outcomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    /// The epoch that is being counted.
    epoch: Epoch,
    /// Frames of it so far.
    counted: u64,
    /// Whether a sequence number of it is missing that may explain a difference.
    hole: bool,
    /// Whether a newer epoch's key frame came by, so that the rest is superseded.
    cut: bool,
    /// The gap that lasts.
    open_gap: Option<Gap>,
}

impl Books {
    /// Moves to the next outcome's place; counts the numbers that are missing before it. `ended`: the last outcome
    /// ended its epoch.
    pub(super) fn advance(&mut self, last: Option<Position>, next: Position) {
        let missing = match last {
            Some(last) if last.epoch == next.epoch => next.sequence.saturating_sub(last.sequence).saturating_sub(1),
            // How far the older epoch went is not known; its last records are no hole until they come.
            Some(_) | None => next.sequence,
        };
        if last.is_none_or(|last| last.epoch != next.epoch) {
            (self.epoch, self.counted, self.hole, self.cut) = (next.epoch, 0, false, false);
        }
        self.ledger.holes = self.ledger.holes.saturating_add(missing);
        self.hole |= missing > 0;
    }

    /// Counts a span's frames as captured and checks them against the epoch's running count.
    pub(super) fn capture(&mut self, span: &Span, limit: &Limit) {
        self.cut |= limit.opens(span);
        self.check(span.first_frame);
        let frames = u64::from(span.frames);
        self.counted = span.first_frame.saturating_add(frames);
        self.ledger.captured = self.ledger.captured.saturating_add(frames);
        self.ledger.segments = self.ledger.segments.saturating_add(1);
    }

    /// The epoch says that it had captured so many frames here. Those that a hole explains were captured, and are
    /// missing; any other difference is a mistake that must show.
    pub(super) fn check(&mut self, captured: u64) {
        let missing = captured.saturating_sub(self.counted);
        if self.hole {
            self.ledger.captured = self.ledger.captured.saturating_add(missing);
            self.hole = false;
        } else {
            self.ledger.miscounted = self.ledger.miscounted.saturating_add(missing);
        }
        self.ledger.miscounted = self.ledger.miscounted.saturating_add(self.counted.saturating_sub(captured));
    }

    /// Whether a frame of this epoch belongs to a newer one.
    pub(super) fn superseded(&self, frame: &Frame, limit: &Limit) -> bool {
        self.cut || limit.covers(frame.at)
    }

    /// Counts a frame of a result.
    pub(super) fn frame(&mut self, frame: &Frame, superseded: bool) {
        match &frame.fate {
            _ if superseded => self.skip(Skipped::Superseded, 1),
            Fate::Detected(_) => self.ledger.detected = self.ledger.detected.saturating_add(1),
            Fate::Skipped(why) => self.skip(*why, 1),
            Fate::Failed(why) => self.fail(*why, 1),
        }
    }

    /// How many frames of a span without results a newer epoch covers; counts them.
    fn supersede(&mut self, span: &Span, limit: &Limit) -> u32 {
        let covered = if self.cut { span.frames } else { limit.covered(span) };
        self.skip(Skipped::Superseded, covered);
        span.frames - covered
    }

    /// Counts a span that was left out.
    pub(super) fn skip_span(&mut self, span: &Span, limit: &Limit, why: Skipped) {
        let rest = self.supersede(span, limit);
        self.skip(why, rest);
    }

    /// Counts a span that failed.
    pub(super) fn fail_span(&mut self, span: &Span, limit: &Limit, why: Failed) {
        let rest = self.supersede(span, limit);
        self.fail(why, rest);
    }

    /// The gap that lasts.
    pub(super) fn open_gap(&self) -> Option<Gap> {
        self.open_gap
    }

    /// Counts a gap, unless it completes the one that is open.
    pub(super) fn gap(&mut self, gap: Gap) {
        if self.open_gap.is_none_or(|open| open.from != gap.from) {
            self.ledger.gaps = self.ledger.gaps.saturating_add(1);
        }
        self.open_gap = Some(gap).filter(|gap| gap.until.is_none());
    }

    fn skip(&mut self, why: Skipped, frames: u32) {
        if frames > 0 {
            let count = self.ledger.skipped.entry(why).or_default();
            *count = count.saturating_add(u64::from(frames));
        }
    }

    fn fail(&mut self, why: Failed, frames: u32) {
        if frames > 0 {
            let count = self.ledger.failed.entry(why).or_default();
            *count = count.saturating_add(u64::from(frames));
        }
    }
}
