//! What `detektor run --json` prints at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use detektor_contract::{Failed, Ledger, Skipped};
use serde::Serialize;

/// A run in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Each camera by name.
    pub cameras: BTreeMap<String, CameraSummary>,
    /// Events in the store.
    pub events: u64,
    /// How long the run took, in seconds.
    pub wall_s: f64,
    /// Frames accounted for a second of this run.
    pub fps: f64,
    /// How long results took, in milliseconds.
    pub latency_ms: LatencySummary,
}

/// What became of one camera's frames.
#[derive(Clone, Debug, Serialize)]
pub struct CameraSummary {
    /// Frames that were captured.
    pub captured: u64,
    /// Frames that were looked at.
    pub detected: u64,
    /// Frames left out on purpose, by reason.
    pub skipped: BTreeMap<Skipped, u64>,
    /// Frames that gave no picture, by reason.
    pub failed: BTreeMap<Failed, u64>,
    /// Segments accounted for.
    pub segments: u64,
    /// Why its source failed; none if it did not.
    pub error: Option<String>,
}

/// Latencies of this run, in milliseconds; none where nothing was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LatencySummary {
    /// From a segment closed to its events readable.
    #[serde(flatten)]
    pub from_closed: Quantiles,
    /// From a segment's last frame captured to its events readable. Live cameras only.
    pub from_capture: Quantiles,
}

/// Two quantiles.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

impl CameraSummary {
    /// A camera's ledger, and what its source said.
    pub fn new(ledger: &Ledger, error: Option<String>) -> Self {
        Self {
            captured: ledger.captured,
            detected: ledger.detected,
            skipped: ledger.skipped.clone(),
            failed: ledger.failed.clone(),
            segments: ledger.segments,
            error,
        }
    }
}

impl Quantiles {
    /// The quantiles of what was measured, by the nearest rank.
    pub fn of(mut measured: Vec<Duration>) -> Self {
        measured.sort_unstable();
        let at = |percent: usize| {
            let rank = (measured.len() * percent).div_ceil(100).max(1);
            measured.get(rank - 1).map(|d| (d.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Self { p50: at(50), p99: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let ms = |n| Duration::from_millis(n);
        let of = Quantiles::of((1..=200).map(ms).rev().collect());
        assert_eq!((of.p50, of.p99), (Some(100.0), Some(198.0)));
        let one = Quantiles::of(vec![ms(7)]);
        assert_eq!((one.p50, one.p99), (Some(7.0), Some(7.0)));
        assert_eq!(Quantiles::of(Vec::new()).p50, None);
    }
}
