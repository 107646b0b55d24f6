//! Prometheus metrics, named `detektor_<part>_<thing>_<unit>[_total]`.
//!
//! A label's values are declared when the metric is made; anything else counts as `other`. So no label can grow without
//! bound, whatever cameras and peers send.

use std::collections::BTreeMap;

use detektor_contract::names::METRIC_PREFIX;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry, TextEncoder};

/// How many values a label may have.
const VALUES_MAX: usize = 64;
/// What a value that was not declared counts as.
const OTHER: &str = "other";

/// Bucket borders for durations, in seconds: from a millisecond to five minutes.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Bucket borders for latencies, in seconds: finer where promises are made, at 50 ms and 200 ms.
pub const LATENCIES: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25,
    0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// Bucket borders for small numbers of things, as batch sizes.
pub const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Bucket borders for sizes, in bytes: from 1 KiB to 64 MiB.
pub const BYTES: &[f64] = &[1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0];

/// A metric that breaks the rules: a mistake in the program, found when it starts.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A name that is not lower-case words with a unit, or a unit that does not suit the kind of metric.
    #[error("metric name {name:?}: expected {expected}")]
    Name {
        /// The name.
        name: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// A label without values, or with too many.
    #[error("metric {name:?}: label {label:?} has {values} values (expected 1 to {VALUES_MAX})")]
    Label {
        /// The metric.
        name: String,
        /// Its label.
        label: String,
        /// How many.
        values: usize,
    },
    /// The registry refuses it: there is one of that name.
    #[error("metric {name:?} cannot be registered")]
    Register {
        /// The metric.
        name: String,
        /// Why.
        source: prometheus::Error,
    },
}

type Result<T> = std::result::Result<T, MetricsError>;

/// Every metric of a process. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

/// Makes one part's metrics.
#[derive(Clone, Debug)]
pub struct Part {
    registry: Registry,
    prefix: String,
}

/// One metric for each value of a label.
#[derive(Clone, Debug)]
pub struct Family<M> {
    by_value: BTreeMap<String, M>,
    other: M,
}

impl<M> Family<M> {
    /// The metric of a label's value; that of `other` where the value was not declared.
    pub fn get(&self, value: &str) -> &M {
        self.by_value.get(value).unwrap_or(&self.other)
    }
}

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The metrics of a part, as `detect` or `http`.
    pub fn part(&self, part: &str) -> Part {
        Part { registry: self.registry.clone(), prefix: format!("{METRIC_PREFIX}_{part}") }
    }

    /// All of them in Prometheus's text format.
    pub fn text(&self) -> String {
        // Fails only for a family without metrics, which the registry does not gather.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Part {
    /// A counter; `name` is `<thing>_<unit>_total`, as `settled_messages_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.register(Kind::Counter, name, help, IntCounter::with_opts)
    }

    /// A counter for each of a label's values.
    pub fn counters(&self, name: &str, help: &str, label: &str, values: &[&str]) -> Result<Family<IntCounter>> {
        self.family(Kind::Counter, name, help, label, values, IntCounter::with_opts)
    }

    /// A gauge; `name` is `<thing>_<unit>`, as `held_messages`.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register(Kind::Other, name, help, IntGauge::with_opts)
    }

    /// A gauge for each of a label's values.
    pub fn gauges(&self, name: &str, help: &str, label: &str, values: &[&str]) -> Result<Family<IntGauge>> {
        self.family(Kind::Other, name, help, label, values, IntGauge::with_opts)
    }

    /// A histogram; `name` is `<thing>_<unit>`, as `batch_seconds`. `buckets`: [`SECONDS`], [`COUNTS`] or [`BYTES`].
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.register(Kind::Other, name, help, |opts| histogram(opts, buckets))
    }

    /// A histogram for each of a label's values.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        label: &str,
        values: &[&str],
    ) -> Result<Family<Histogram>> {
        self.family(Kind::Other, name, help, label, values, |opts| histogram(opts, buckets))
    }

    fn family<M: Collector + Clone + 'static>(
        &self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
        make: impl Fn(Opts) -> prometheus::Result<M>,
    ) -> Result<Family<M>> {
        if values.is_empty() || values.len() > VALUES_MAX {
            let (name, label) = (self.full_name(name), label.to_owned());
            return Err(MetricsError::Label { name, label, values: values.len() });
        }
        let one = |value: &str| self.register(kind, name, help, |opts| make(opts.const_label(label, value)));
        let mut by_value = BTreeMap::new();
        for value in values.iter().filter(|value| **value != OTHER) {
            by_value.insert((*value).to_owned(), one(value)?);
        }
        Ok(Family { by_value, other: one(OTHER)? })
    }

    fn register<M: Collector + Clone + 'static>(
        &self,
        kind: Kind,
        name: &str,
        help: &str,
        make: impl FnOnce(Opts) -> prometheus::Result<M>,
    ) -> Result<M> {
        let full = self.full_name(name);
        kind.check(&full, name)?;
        let refused = |source| MetricsError::Register { name: full.clone(), source };
        let metric = make(Opts::new(&full, help)).map_err(refused)?;
        self.registry.register(Box::new(metric.clone())).map_err(refused)?;
        Ok(metric)
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }
}

fn histogram(opts: Opts, buckets: &[f64]) -> prometheus::Result<Histogram> {
    let histogram = HistogramOpts { common_opts: opts, buckets: buckets.to_vec() };
    Histogram::with_opts(histogram)
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Other,
}

impl Kind {
    fn check(self, full: &str, name: &str) -> Result<()> {
        let (stem, expected) = match self {
            Self::Counter => (name.strip_suffix("_total"), "<thing>_<unit>_total in lower case"),
            Self::Other => (Some(name).filter(|n| !n.ends_with("_total")), "<thing>_<unit> in lower case"),
        };
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let words_ok = full.split('_').all(word);
        let has_unit = stem.is_some_and(|stem| stem.contains('_'));
        if words_ok && has_unit { Ok(()) } else { Err(MetricsError::Name { name: full.to_owned(), expected }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_hold_to_the_form() {
        let part = Metrics::new().part("detect");
        assert!(part.counter("settled_messages_total", "x").is_ok());
        assert!(part.gauge("held_messages", "x").is_ok());
        for bad in ["messages_total", "settled_messages", "Settled_messages_total", "settled__messages_total", "_total"]
        {
            assert!(part.counter(bad, "x").is_err(), "{bad}");
        }
        for bad in ["held", "held_messages_total", "held-up_messages", ""] {
            assert!(part.gauge(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let metrics = Metrics::new();
        metrics.part("detect").gauge("held_messages", "x").unwrap();
        assert!(matches!(metrics.part("detect").gauge("held_messages", "x"), Err(MetricsError::Register { .. })));
        assert!(metrics.part("merge").gauge("held_messages", "x").is_ok());
    }

    #[test]
    fn labels_cannot_grow() {
        let metrics = Metrics::new();
        let settled =
            metrics.part("detect").counters("settled_messages_total", "x", "outcome", &["done", "dead"]).unwrap();
        settled.get("done").inc();
        settled.get("gate-7").inc();
        settled.get("gate-8").inc();
        let text = metrics.text();
        assert!(text.contains("detektor_detect_settled_messages_total{outcome=\"done\"} 1"), "{text}");
        assert!(text.contains("detektor_detect_settled_messages_total{outcome=\"other\"} 2"), "{text}");
        assert!(text.contains("{outcome=\"dead\"} 0"), "{text}");
        assert!(!text.contains("gate"), "{text}");
        let many = vec!["x"; 65];
        assert!(matches!(
            metrics.part("detect").gauges("held_messages", "x", "kind", &many),
            Err(MetricsError::Label { .. })
        ));
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let metrics = Metrics::new();
        metrics.part("detect").histogram("batch_seconds", "x", SECONDS).unwrap().observe(0.3);
        let text = metrics.text();
        assert!(text.contains("detektor_detect_batch_seconds_bucket{le=\"0.25\"} 0"), "{text}");
        assert!(text.contains("detektor_detect_batch_seconds_bucket{le=\"0.5\"} 1"), "{text}");
    }
}
