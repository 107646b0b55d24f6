//! What merge measures.

use detektor_backends::store::Put;
use detektor_runtime::Metrics;
use detektor_runtime::metrics::{Family, LATENCIES, MetricsError};
use prometheus::{Histogram, IntCounter};

use crate::advance::{Step, Told};
use crate::latency::{STAGES, Way};

#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    outcomes: Family<IntCounter>,
    applied: IntCounter,
    refolded: IntCounter,
    passed: IntCounter,
    events: Family<IntCounter>,
    closed_to_merged: Histogram,
    captured_to_merged: Histogram,
    stages: Family<Histogram>,
}

impl Numbers {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let part = metrics.part("merge");
        Ok(Self {
            outcomes: part.counters(
                "recorded_outcomes_total",
                "Outcomes taken in, by what they were: new, one that wins over another, known, or of pruned history.",
                "result",
                &["new", "replaced", "ignored", "pruned"],
            )?,
            applied: part.counter("applied_outcomes_total", "Outcomes folded into events and ledger.")?,
            refolded: part.counter("refolded_outcomes_total", "Outcomes folded again because one came late.")?,
            passed: part.counter("passed_holes_total", "Missing outcomes that were waited for in vain.")?,
            events: part.counters(
                "changed_events_total",
                "Events that began, ended, or were not as was said before.",
                "change",
                &["opened", "closed", "revised", "withdrawn"],
            )?,
            closed_to_merged: part.histogram(
                "closed_to_merged_seconds",
                "From a segment's end until its events can be read.",
                LATENCIES,
            )?,
            captured_to_merged: part.histogram(
                "captured_to_merged_seconds",
                "From a segment's last frame until its events can be read.",
                LATENCIES,
            )?,
            stages: part.histograms(
                "stage_seconds",
                "Where a segment's time went from its end until its events could be read. `handling`: all but `look`.",
                LATENCIES,
                "stage",
                &STAGES,
            )?,
        })
    }

    pub(crate) fn count_put(&self, put: &Put) {
        let result = match put {
            Put::New => "new",
            Put::Replaced => "replaced",
            Put::Ignored => "ignored",
            Put::Pruned => "pruned",
        };
        self.outcomes.get(result).inc();
    }

    pub(crate) fn observe(&self, way: &Way) {
        way.closed.iter().for_each(|seconds| self.closed_to_merged.observe(*seconds));
        way.captured.iter().for_each(|seconds| self.captured_to_merged.observe(*seconds));
        for (stage, seconds) in STAGES.iter().zip(way.stages.iter().flatten()) {
            self.stages.get(stage).observe(*seconds);
        }
    }

    pub(crate) fn count_step(&self, step: &Step) {
        self.applied.inc_by(step.applied - step.refolded);
        self.refolded.inc_by(step.refolded);
        self.passed.inc_by(step.passed);
        let Told { opened, closed, revised, withdrawn } = step.told;
        for (change, count) in [("opened", opened), ("closed", closed), ("revised", revised), ("withdrawn", withdrawn)]
        {
            self.events.get(change).inc_by(count);
        }
    }
}
