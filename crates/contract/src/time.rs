//! Capture times: integers, on one of two clocks.

use serde::{Deserialize, Serialize};

/// A capture time or a span of it, in microseconds on the segment's [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeUs(pub i64);

impl TimeUs {
    /// The time as seconds, for people and JSON.
    pub fn seconds(self) -> f64 {
        // Exact below 2^53 us, which is 285 years.
        self.0 as f64 / 1e6
    }

    /// `self - earlier`, saturating.
    pub fn since(self, earlier: TimeUs) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `self + us`, saturating.
    pub fn plus(self, us: i64) -> TimeUs {
        TimeUs(self.0.saturating_add(us))
    }
}

/// What a capture time counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// From the first frame of the source: files.
    #[default]
    Media,
    /// From the Unix epoch: live cameras.
    Unix,
}
