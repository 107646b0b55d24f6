//! What an operator sees of the dispatcher.

use std::time::Duration;

use detektor_runtime::Metrics;
use detektor_runtime::metrics::{MetricsError, SECONDS};
use prometheus::{Histogram, IntCounter, IntGauge};

/// The dispatcher's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Numbers {
    captured: IntCounter,
    segments: IntCounter,
    bytes: IntCounter,
    reconnects: IntCounter,
    publish: Histogram,
    pub(crate) running: IntGauge,
}

impl Numbers {
    /// Registers them.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let part = metrics.part("dispatcher");
        Ok(Self {
            captured: part.counter("captured_frames_total", "Frames that the slicer counted.")?,
            segments: part.counter("published_segments_total", "Segments and markers confirmed by the queue.")?,
            bytes: part.counter("published_bytes_total", "Bytes confirmed by the queue.")?,
            reconnects: part.counter("camera_reconnects_total", "Times that a lost camera was back.")?,
            publish: part.histogram("publish_seconds", "From a batch at hand to its confirmation.", SECONDS)?,
            running: part.gauge("running_cameras", "Cameras whose frames are coming.")?,
        })
    }

    pub(crate) fn captured(&self, frames: u64) {
        self.captured.inc_by(frames);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.inc();
    }

    pub(crate) fn published(&self, records: usize, bytes: usize, took: Duration) {
        self.segments.inc_by(records as u64);
        self.bytes.inc_by(bytes as u64);
        self.publish.observe(took.as_secs_f64());
    }
}
