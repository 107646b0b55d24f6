//! What a host counts.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::HostReport;
use crate::metrics::{COUNTS, Family, MetricsError, Part, SECONDS};

pub(super) struct Numbers {
    pub(super) batch_seconds: Histogram,
    pub(super) batch_messages: Histogram,
    running_batches: IntGauge,
    pub(super) outputs: IntCounter,
    pub(super) repeats: Family<IntCounter>,
    settled: Family<IntCounter>,
    done: AtomicU64,
    dead: AtomicU64,
    not_held: AtomicU64,
}

/// What became of a message that left the host.
#[derive(Clone, Copy)]
pub(super) enum Settled {
    Done,
    Dead,
    NotHeld,
}

/// A batch is being worked on.
pub(super) struct Running<'n>(&'n IntGauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Numbers {
    pub(super) fn new(part: &Part) -> Result<Self, MetricsError> {
        Ok(Self {
            batch_seconds: part.histogram("batch_seconds", "Time the handler took over a batch.", SECONDS)?,
            batch_messages: part.histogram("batch_messages", "Messages in a batch.", COUNTS)?,
            running_batches: part.gauge("running_batches", "Batches being worked on.")?,
            outputs: part.counter("published_messages_total", "Output messages published and confirmed.")?,
            repeats: part.counters(
                "repeated_messages_total",
                "Messages tried again in place.",
                "cause",
                &["transient", "panic", "deadline", "reply", "neighbour"],
            )?,
            settled: part.counters(
                "settled_messages_total",
                "Messages that left this part for good.",
                "outcome",
                &["done", "dead", "not_held"],
            )?,
            done: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            not_held: AtomicU64::new(0),
        })
    }

    /// Counts a batch as running until the guard is dropped.
    pub(super) fn running(&self) -> Running<'_> {
        self.running_batches.inc();
        Running(&self.running_batches)
    }

    pub(super) fn settled(&self, outcome: Settled) {
        let (name, count) = match outcome {
            Settled::Done => ("done", &self.done),
            Settled::Dead => ("dead", &self.dead),
            Settled::NotHeld => ("not_held", &self.not_held),
        };
        self.settled.get(name).inc();
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self, received: u64) -> HostReport {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (done, dead, not_held) = (load(&self.done), load(&self.dead), load(&self.not_held));
        HostReport { done, dead, not_held, given_back: received.saturating_sub(done + dead + not_held) }
    }
}
