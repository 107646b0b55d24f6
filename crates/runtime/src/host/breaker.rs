//! Whether the surroundings are away: then nothing new is taken.

use tokio::sync::watch;

use crate::http::Check;

/// Open while anybody waits for the surroundings to come back.
pub(super) struct Breaker {
    name: &'static str,
    waiting: watch::Sender<u32>,
    check: Check,
}

/// Somebody waits. Dropping it says that it is over.
pub(super) struct Outage<'b>(&'b Breaker);

impl Breaker {
    pub(super) fn new(name: &'static str, check: Check) -> Self {
        Self { name, waiting: watch::Sender::new(0), check }
    }

    /// Opens it, or keeps it open, until the guard is dropped. The log and readiness hear the first reason.
    pub(super) fn trip(&self, reason: &str) -> Outage<'_> {
        let mut first = false;
        self.waiting.send_modify(|waiting| {
            first = *waiting == 0;
            *waiting += 1;
        });
        if first {
            tracing::warn!(error = reason, "{}: waiting for the surroundings, taking nothing new", self.name);
            self.check.fail(reason);
        }
        Outage(self)
    }

    /// Waits until nobody waits.
    pub(super) async fn closed(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await;
    }

    /// Waits until somebody waits.
    pub(super) async fn open(&self) {
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    pub(super) fn check(&self) -> &Check {
        &self.check
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        let mut last = false;
        self.0.waiting.send_modify(|waiting| {
            *waiting -= 1;
            last = *waiting == 0;
        });
        if last {
            tracing::info!("{}: no longer waiting for the surroundings", self.0.name);
            self.0.check.pass();
        }
    }
}
