//! What the events API measures.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// `detektor_events_*`. Labels are routes as they are declared, never what a request says.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    pub(crate) streams: IntGauge,
    pub(crate) stream_entries: IntCounter,
    pub(crate) stream_resets: IntCounter,
    pub(crate) clip_bytes: IntCounter,
}

impl Metrics {
    /// Registers them; an error if something else has their names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("detektor_events_requests_total", "Requests answered, by route and status.");
        let seconds = HistogramOpts::new("detektor_events_request_seconds", "Time until an answer begins, by route.")
            .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]);
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["route", "status"])?,
            seconds: HistogramVec::new(seconds, &["route"])?,
            streams: IntGauge::new("detektor_events_streams_open", "Streams that are open.")?,
            stream_entries: IntCounter::new("detektor_events_stream_entries_total", "Changes told over streams.")?,
            stream_resets: IntCounter::new(
                "detektor_events_stream_resets_total",
                "Streams told to read everything anew.",
            )?,
            clip_bytes: IntCounter::new("detektor_events_clip_bytes_total", "Bytes of clips sent.")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.stream_entries.clone()))?;
        registry.register(Box::new(metrics.stream_resets.clone()))?;
        registry.register(Box::new(metrics.clip_bytes.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn request(&self, route: &str, status: StatusCode, took: Duration) {
        self.requests.with_label_values(&[route, status.as_str()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}
