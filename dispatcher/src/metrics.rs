//! What an operator sees of the dispatcher.

use std::time::Duration;

use detektor_runtime::Metrics;
use detektor_runtime::metrics::{MetricsError, SECONDS};
use prometheus::{Histogram, IntCounter, IntGauge};

use crate::record::Record;

/// The dispatcher's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Numbers {
    captured: IntCounter,
    segments: IntCounter,
    bytes: IntCounter,
    reconnects: IntCounter,
    taken: IntCounter,
    publish: Histogram,
    pub(crate) running: IntGauge,
    spool_records: IntGauge,
    spool_bytes: IntGauge,
    pub(crate) spool_limit: IntGauge,
    spool_shed: IntCounter,
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
            taken: part.counter("taken_leases_total", "Cameras' leases that this dispatcher took.")?,
            publish: part.histogram("publish_seconds", "From a batch at hand to its confirmation.", SECONDS)?,
            running: part.gauge("running_cameras", "Cameras whose frames are coming.")?,
            spool_records: part.gauge("spool_records", "Segments and markers that wait on the disk for the queue.")?,
            spool_bytes: part.gauge("spool_bytes", "Bytes of the spool on the disk.")?,
            spool_limit: part.gauge("spool_limit_bytes", "The most bytes that the spool holds; 0 without one.")?,
            spool_shed: part
                .counter("spool_shed_total", "Segments that markers replaced because the spool was full.")?,
        })
    }

    pub(crate) fn captured(&self, frames: u64) {
        self.captured.inc_by(frames);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.inc();
    }

    pub(crate) fn took(&self) {
        self.taken.inc();
    }

    pub(crate) fn spooled(&self, records: u64, bytes: u64, newly_shed: u64) {
        self.spool_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.spool_shed.inc_by(newly_shed);
    }

    pub(crate) fn published(&self, records: &[Record], took: Duration) {
        self.segments.inc_by(records.len() as u64);
        self.bytes.inc_by(records.iter().map(|record| record.body.len() as u64).sum());
        self.publish.observe(took.as_secs_f64());
    }
}
