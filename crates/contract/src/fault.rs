//! Whose fault an error is, and so whether trying again can help.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an error says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The surroundings failed (a server is away, a disk is full). The input is innocent: keep it and try again.
    Transient,
    /// The input itself cannot be handled, now or later.
    Permanent,
}

/// An error that knows whose fault it is. Implementations match exhaustively, so a new variant has to choose.
pub trait Faulty: std::error::Error {
    /// Whether trying again can help.
    fn fault(&self) -> Fault;

    /// How long the other side asks to be left alone before the next try; most errors carry no such hint.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}
