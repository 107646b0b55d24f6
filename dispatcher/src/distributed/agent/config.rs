//! How an agent works, and why it does not.

use std::time::Duration;

use detektor_backends::coordination::Member;

use crate::distributed::{InvalidTiming, UnixMillis, system_millis};

/// How an agent works.
#[derive(Clone)]
pub struct AgentConfig {
    /// Who it is.
    pub member: Member,
    /// How often it says that it lives, and looks.
    pub beat: Duration,
    /// Without a sign of life for so long, another dispatcher is dead.
    pub ttl: Duration,
    /// At shutdown, so long others may take over what runs here, before it is stopped.
    pub hand_over: Duration,
    /// What a camera that ended by a mistake of ours waits for before it is started again.
    pub pause: Duration,
    /// What a camera that failed, or that cannot be run as it is wanted, waits for, where nobody changes it: what it lacks may have come.
    pub pause_failed: Duration,
    /// The clock, for epochs.
    pub now_ms: UnixMillis,
}

impl AgentConfig {
    /// As it is without further ado.
    pub fn new(member: Member) -> Self {
        Self {
            member,
            beat: Duration::from_secs(1),
            ttl: Duration::from_secs(5),
            hand_over: Duration::from_secs(15),
            pause: Duration::from_secs(10),
            pause_failed: Duration::from_secs(60),
            now_ms: system_millis(),
        }
    }

    /// Every mistake.
    pub fn mistakes(&self) -> Vec<InvalidTiming> {
        InvalidTiming::of("beat", self.beat, self.ttl)
    }
}

/// Why an agent does not run, or ended before it was told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// It is told something that cannot be: every mistake.
    #[error("the agent's configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<InvalidTiming>),
    /// Its name has a new bearer.
    #[error("another process runs as dispatcher {0:?}: this one stops; give each its own name")]
    Ousted(String),
}
