//! How a host works, and what makes no sense.

use std::time::Duration;

use detektor_contract::names::{Queue, Work};

use crate::retry::Policy;

/// No call to the queue waits longer; then it counts as unavailable.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// These queues.
    Queues(Vec<Queue>),
    /// Every partition that there is of a kind of work, also while they come and go.
    Partitions(Work),
}

impl From<Vec<Queue>> for Source {
    fn from(queues: Vec<Queue>) -> Self {
        Self::Queues(queues)
    }
}

impl From<Work> for Source {
    fn from(work: Work) -> Self {
        Self::Partitions(work)
    }
}

/// How a host works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Where messages come from.
    pub source: Source,
    /// How often a host looks which partitions there are. Whoever opens one waits for longer before work goes there.
    pub look_every: Duration,
    /// How many batches are worked on at once.
    pub permits: u32,
    /// How many messages a batch holds at most.
    pub batch_max: u32,
    /// How long a batch waits for more messages after its first.
    pub batch_linger: Duration,
    /// How long the handler may take over a batch without showing that it gets on.
    pub deadline: Duration,
    /// How often a message may panic or overrun alone until it is a dead letter.
    pub attempts_max: u32,
    /// How long finishing what is held may take at shutdown.
    pub drain_deadline: Duration,
    /// How to wait while the surroundings are away. It never gives up: `give_up_after` must be none.
    pub retry: Policy,
}

/// A mistake in a host's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found} (expected {expected})")]
pub struct InvalidHostConfig {
    /// Which field.
    pub field: &'static str,
    /// What it says.
    pub found: String,
    /// What it may say.
    pub expected: String,
}

impl HostConfig {
    /// One message at a time.
    pub fn new(source: impl Into<Source>) -> Self {
        Self {
            source: source.into(),
            look_every: Duration::from_secs(5),
            permits: 1,
            batch_max: 1,
            batch_linger: Duration::from_millis(50),
            deadline: Duration::from_secs(20),
            attempts_max: 3,
            drain_deadline: Duration::from_secs(25),
            retry: Policy::default(),
        }
    }

    /// With deadlines that a drain of this length covers: held work fits it, with a fifth to spare.
    #[must_use]
    pub fn drained_within(mut self, drain: Duration) -> Self {
        self.drain_deadline = drain;
        self.deadline = (drain * 4 / 5).saturating_sub(self.batch_linger);
        self
    }

    /// How many messages may be held unsettled: what the permits can work on.
    pub(super) fn prefetch(&self) -> u32 {
        self.permits.saturating_mul(self.batch_max)
    }

    /// Every mistake.
    pub fn mistakes(&self) -> Vec<InvalidHostConfig> {
        let mut mistakes = Vec::new();
        let mut expect = |good: bool, field, found: String, expected: &str| {
            if !good {
                mistakes.push(InvalidHostConfig { field, found, expected: expected.to_owned() });
            }
        };
        if let Source::Queues(queues) = &self.source {
            let unique: std::collections::BTreeSet<_> = queues.iter().collect();
            let names = queues.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let good = !queues.is_empty() && unique.len() == queues.len();
            expect(good, "source", format!("[{names}]"), "at least one queue, each once");
        }
        expect(!self.look_every.is_zero(), "look_every", format!("{:?}", self.look_every), "more than nothing");
        expect((1..=1024).contains(&self.permits), "permits", self.permits.to_string(), "1 to 1024");
        expect((1..=1024).contains(&self.batch_max), "batch_max", self.batch_max.to_string(), "1 to 1024");
        expect(self.attempts_max >= 1, "attempts_max", self.attempts_max.to_string(), "at least 1");
        expect(!self.deadline.is_zero(), "deadline", format!("{:?}", self.deadline), "more than nothing");
        expect(
            self.retry.give_up_after.is_none(),
            "retry.give_up_after",
            format!("{:?}", self.retry.give_up_after),
            "none: what is held is never given up",
        );
        // A batch may have waited its linger out when shutdown comes, and then takes its deadline.
        let held = self.batch_linger.saturating_add(self.deadline);
        expect(
            self.drain_deadline > held,
            "drain_deadline",
            format!("{:?}", self.drain_deadline),
            &format!("more than batch_linger + deadline = {held:?}, so that held work fits"),
        );
        mistakes
    }
}
