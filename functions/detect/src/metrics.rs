//! Numbers of the detect function.

use std::time::{Duration, Instant};

use detektor_contract::{Failed, Fate, Frame, Skipped};
use detektor_runtime::metrics::{Family, Metrics, MetricsError, SECONDS};
use prometheus::{Histogram, IntCounter};

/// The detect function's metrics.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// What a segment's parts took, one observation a segment: `decode`, `gate`, `inference`, `snapshot`.
    decode: Histogram,
    gate: Histogram,
    inference: Histogram,
    snapshot: Histogram,
    /// Pictures and parts of pictures that were looked at.
    looks: IntCounter,
    /// Segments by how the gate judged them.
    verdicts: Family<IntCounter>,
    /// Frames by what became of them.
    frames: Family<IntCounter>,
}

/// How long the parts of one segment's work took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Decoding.
    pub decode: Duration,
    /// Judging packet sizes and motion.
    pub gate: Duration,
    /// Letterboxing, running the model, reading its output.
    pub inference: Duration,
    /// Copying and encoding snapshots.
    pub snapshot: Duration,
}

/// Does something and adds the time that it took.
pub fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}

impl Numbers {
    /// Registers them.
    ///
    /// # Errors
    /// Where they are registered already.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let part = metrics.part("detect");
        Ok(Self {
            decode: part.histogram("decode_seconds", "Decoding, by segment", SECONDS)?,
            gate: part.histogram("gate_seconds", "Looking for motion, by segment", SECONDS)?,
            inference: part.histogram("inference_seconds", "Running the model, by segment", SECONDS)?,
            snapshot: part.histogram("snapshot_seconds", "Making snapshots, by segment", SECONDS)?,
            looks: part.counter("looked_regions_total", "Pictures, and parts of pictures, that were looked at")?,
            verdicts: part.counters(
                "judged_segments_total",
                "Segments by the gate's verdict",
                "verdict",
                &["open", "still", "due"],
            )?,
            frames: part.counters(
                "settled_frames_total",
                "Frames by what became of them",
                "fate",
                &["detected", "quiet", "sampling", "second_field", "failed"],
            )?,
        })
    }

    pub(crate) fn segment(&self, spent: &Spent, looks: u64, verdict: &str, frames: &[Frame]) {
        self.decode.observe(spent.decode.as_secs_f64());
        self.gate.observe(spent.gate.as_secs_f64());
        self.inference.observe(spent.inference.as_secs_f64());
        self.snapshot.observe(spent.snapshot.as_secs_f64());
        self.looks.inc_by(looks);
        self.verdicts.get(verdict).inc();
        frames.iter().for_each(|frame| self.frames.get(fate(&frame.fate)).inc());
    }
}

fn fate(fate: &Fate) -> &'static str {
    match fate {
        Fate::Detected(_) => "detected",
        Fate::Skipped(Skipped::Quiet) => "quiet",
        Fate::Skipped(Skipped::Sampling) => "sampling",
        Fate::Skipped(Skipped::SecondField) => "second_field",
        Fate::Skipped(Skipped::Superseded | Skipped::Shed) => "other",
        Fate::Failed(Failed::Decode | Failed::BeforeKeyFrame | Failed::DeadLettered) => "failed",
    }
}
