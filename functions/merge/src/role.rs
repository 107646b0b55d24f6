//! The merge function as a process of its own: outcomes from `merge.NN` and dead letters in; events, ledger and tombstones
//! out. As many as one likes run side by side: the database's locks keep their order.

use std::sync::Arc;
use std::time::Duration;

use detektor_contract::names::{Queue, Work};
use detektor_runtime::HostConfig;
use detektor_runtime::fields::settings::{Settings, Visitor};
use detektor_runtime::fields::{Mistakes, whole};
use detektor_runtime::role::{Configured, Held, HeldKind, Process, ProcessSettings, Role, Servers, Truth, until_made};
use detektor_runtime::task::BoxError;

use crate::{DeadLetters, Merge, MergeConfig};

/// The merge role, as it is told to be.
#[derive(Clone, Debug, Default)]
pub struct MergeRole {
    servers: Servers,
    own: Own,
}

#[derive(Clone, Debug)]
struct Own {
    process: ProcessSettings,
    hole_wait: Duration,
    batches: u32,
    batch_max: u32,
    batch_linger: Duration,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            process: ProcessSettings::default(),
            hole_wait: MergeConfig::default().hole_wait,
            batches: 2,
            batch_max: 64,
            // Long enough to share a transaction, too short to be noticed.
            batch_linger: Duration::from_millis(5),
        }
    }
}

impl Settings for MergeRole {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.servers.visit(visitor);
        visitor.section(Self::SECTION, &mut self.own);
    }
}

impl Settings for Own {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.process.visit(visitor);
        let milliseconds = |most: u64| whole(0..=most).map(Duration::from_millis);
        visitor.field(
            "hole_wait_ms",
            &mut self.hole_wait,
            milliseconds(3_600_000),
            "How long to wait for a missing outcome before its camera goes on without it.",
        );
        visitor.field("batches", &mut self.batches, whole(1..=64), "Batches merged at once.");
        visitor.field("batch_max", &mut self.batch_max, whole(1..=1024), "Outcomes that one transaction takes in.");
        visitor.field(
            "batch_linger_ms",
            &mut self.batch_linger,
            milliseconds(1_000),
            "How long a batch waits for more outcomes.",
        );
    }
}

impl Configured for MergeRole {
    const SECTION: &'static str = "merge";

    fn mistakes(&self, mistakes: &mut Mistakes) {
        self.servers.all_mistakes(mistakes);
    }
}

impl Role for MergeRole {
    const ABOUT: &'static str = "Merge outcomes into events and the frame ledger, and keep what failed for good.";

    const STATE: &'static [Held] = &[
        Held::new(
            "outcomes",
            HeldKind::InFlight,
            Truth::Broker,
            "batches that are merged; settled once the transaction is committed. Tracks and ledgers are read and written in it",
        ),
        Held::new(
            "dead letters",
            HeldKind::InFlight,
            Truth::Broker,
            "what failed for good, until it is kept in the bucket",
        ),
        Held::new(
            "stopwatch",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "when outcomes came that wait for others, to measure latency by",
        ),
    ];

    fn process(&self) -> ProcessSettings {
        self.own.process.clone()
    }

    async fn start(self, process: &mut Process) -> Result<(), BoxError> {
        let Servers { rabbitmq, s3, postgres } = &self.servers;
        let store = postgres.connect(process).await?.store;
        let bucket = s3.open_to_tell(process, rabbitmq).await?;
        let queues = rabbitmq.connect(process).await?;
        until_made(process, &*store, &*bucket).await?;
        let config = MergeConfig { hole_wait: self.own.hole_wait, ..MergeConfig::default() };
        let merge = Arc::new(Merge::new(store, Arc::clone(&bucket), config, &process.metrics)?);
        let letters = Arc::new(DeadLetters::new(bucket));

        let Own { batches, batch_max, batch_linger, .. } = self.own;
        let batched = HostConfig { permits: batches, batch_max, batch_linger, ..HostConfig::new(Work::Merge) };
        let single = |work| HostConfig::new(vec![Queue::Dead(work)]);
        process.host(Self::SECTION, merge.handler(), &queues, batched)?;
        process.host("dead_detect", Arc::clone(&letters).jobs(), &queues, single(Work::Detect))?;
        process.host("dead_merge", letters.outcomes(), &queues, single(Work::Merge))
    }
}
