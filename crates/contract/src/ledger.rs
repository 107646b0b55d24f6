//! The frame ledger's arithmetic: every captured frame is detected, skipped or failed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Clock, Failed, GapCause, Skipped, TimeUs};

/// What became of a camera's frames, over all epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Frames that the slicer counted.
    pub captured: u64,
    /// Frames that were looked at.
    pub detected: u64,
    /// Frames left out on purpose, by reason.
    pub skipped: BTreeMap<Skipped, u64>,
    /// Frames that gave no picture, by reason.
    pub failed: BTreeMap<Failed, u64>,
    /// Segments accounted for (those that hold frames).
    pub segments: u64,
    /// Sequence numbers passed over because their outcome was missing.
    pub holes: u64,
    /// Frames by which an epoch's running count and our own sum differ where no hole explains it. 0, or a mistake.
    #[serde(default)]
    pub miscounted: u64,
    /// Gaps in the capture.
    pub gaps: u64,
}

/// A time in which nothing was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the last frame before it ended.
    pub from: TimeUs,
    /// When the next frame came; none while the camera is away.
    pub until: Option<TimeUs>,
    /// What both count from.
    pub clock: Clock,
    /// Why.
    pub cause: GapCause,
}

impl Ledger {
    /// Frames left out on purpose.
    pub fn skipped_total(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Frames that gave no picture.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Whether every captured frame is accounted for, no outcome is missing, and the count agrees with the slicer's.
    pub fn closes(&self) -> bool {
        self.holes == 0
            && self.miscounted == 0
            && self.captured == self.detected + self.skipped_total() + self.failed_total()
    }
}
