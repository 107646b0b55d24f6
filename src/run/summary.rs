//! What `detektor run --json` prints at the end.

use std::collections::BTreeMap;

use detektor_contract::{Failed, Ledger, Skipped};
use detektor_merge::{Latencies, Percentiles};
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

impl LatencySummary {
    /// What merge measured.
    pub fn new(latencies: &Latencies) -> Self {
        let quantiles = |of: &Percentiles| match of.p50_ms > 0.0 {
            true => Quantiles { p50: Some(rounded(of.p50_ms)), p99: Some(rounded(of.p99_ms)) },
            false => Quantiles::default(),
        };
        Self { from_closed: quantiles(&latencies.from_closed), from_capture: quantiles(&latencies.from_captured) }
    }
}

/// To a tenth.
pub fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
