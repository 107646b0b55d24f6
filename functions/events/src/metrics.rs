//! What the events API measures.

use std::time::Duration;

use axum::http::StatusCode;
use detektor_runtime::metrics::{Family, Metrics as Registry, MetricsError, SECONDS};
use prometheus::{Histogram, IntCounter, IntGauge};

use crate::limits::Excess;

/// `detektor_events_*`.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<IntCounter>,
    refused: Family<IntCounter>,
    seconds: Family<Histogram>,
    pub(crate) streams: IntGauge,
    pub(crate) changes: IntCounter,
    pub(crate) resets: IntCounter,
    pub(crate) clip_bytes: IntCounter,
}

impl Metrics {
    /// Registers them. `routes` are the paths as they are declared: never what a request says.
    pub(crate) fn new(registry: &Registry, routes: &[&str]) -> Result<Self, MetricsError> {
        let part = registry.part("events");
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        Ok(Self {
            requests: part.counters("answered_requests_total", "Requests answered.", "status", &classes)?,
            refused: part.counters(
                "refused_requests_total",
                "Requests refused because a client asked for too much.",
                "excess",
                &[Excess::Requests, Excess::WrongTokens, Excess::Streams].map(Excess::name),
            )?,
            seconds: part.histograms("request_seconds", "Until an answer begins.", SECONDS, "route", routes)?,
            streams: part.gauge("open_streams", "Streams of changes that are open.")?,
            changes: part.counter("streamed_changes_total", "Changes told over streams.")?,
            resets: part.counter("stream_resets_total", "Streams told to read everything anew.")?,
            clip_bytes: part.counter("sent_clip_bytes_total", "Bytes of clips sent.")?,
        })
    }

    pub(crate) fn refused(&self, what: Excess) {
        self.refused.get(what.name()).inc();
    }

    pub(crate) fn request(&self, route: &str, status: StatusCode, took: Duration) {
        self.requests.get(&format!("{}xx", status.as_u16() / 100)).inc();
        self.seconds.get(route).observe(took.as_secs_f64());
    }
}
