//! What is measured of the calls to the servers.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::metrics::{Family, Metrics, MetricsError, SECONDS};

const SERVERS: &[&str] = &["rabbitmq", "s3", "postgres"];

/// `detektor_servers_*`. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    seconds: Family<Histogram>,
    failed: Family<IntCounter>,
    open: Family<IntGauge>,
}

impl Calls {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let part = metrics.part("servers");
        Ok(Self {
            seconds: part.histograms(
                "call_seconds",
                "Calls to a server, until its answer.",
                SECONDS,
                "server",
                SERVERS,
            )?,
            failed: part.counters(
                "failed_calls_total",
                "Calls that found a server away, or got no answer in time.",
                "server",
                SERVERS,
            )?,
            open: part.gauges(
                "open_breakers",
                "Circuit breakers that are open: most calls fail.",
                "server",
                SERVERS,
            )?,
        })
    }

    pub(super) fn made(&self, server: &str, took: Duration, away: bool) {
        self.seconds.get(server).observe(took.as_secs_f64());
        self.failed.get(server).inc_by(u64::from(away));
    }

    pub(super) fn breaker(&self, server: &str, open: bool) {
        self.open.get(server).add(if open { 1 } else { -1 });
    }
}
