//! What beats and times-to-live have to do with each other.

use std::time::Duration;

/// A mistake in how an agent or a balancer is to work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found} (expected {expected})")]
pub struct InvalidTiming {
    /// Which field.
    pub field: &'static str,
    /// What it says.
    pub found: String,
    /// What it may say.
    pub expected: String,
}

impl InvalidTiming {
    pub(super) fn new(field: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field, found: found.into(), expected: expected.into() }
    }

    /// The mistakes in how often somebody shows that he lives.
    pub(super) fn of(field: &'static str, interval: Duration, ttl: Duration) -> Vec<Self> {
        let mut mistakes = Vec::new();
        if interval.is_zero() {
            mistakes.push(Self::new(field, format!("{interval:?}"), "more than nothing"));
        }
        // Two signs may be late before anybody thinks of death; and who looks less often than that sees too little.
        if ttl < interval * 3 {
            mistakes.push(Self::new(
                "ttl",
                format!("{ttl:?}"),
                format!("at least three times {field}: {:?}", interval * 3),
            ));
        }
        mistakes
    }
}
