//! Trying again: capped exponential backoff with full jitter, bounded by a deadline, ended by cancellation.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use detektor_contract::{Fault, Faulty};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::chain;

/// No hint of the other side is honoured beyond this.
const HINT_MAX: Duration = Duration::from_secs(300);

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The first wait is at most this; each later one at most twice the one before.
    pub first: Duration,
    /// No wait is longer, unless the other side asks for it.
    pub cap: Duration,
    /// Give up where the next wait would end later than this after the first try. None: only cancellation ends it.
    pub give_up_after: Option<Duration>,
}

impl Default for Policy {
    /// The cap is what an outage lasts longer for us than for the server; breakers keep the crowd away from it meanwhile.
    fn default() -> Self {
        Self { first: Duration::from_millis(100), cap: Duration::from_secs(2), give_up_after: None }
    }
}

impl Policy {
    /// The longest that wait number `n` (from 0) may be.
    fn ceiling(&self, n: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(n)).min(self.cap)
    }

    /// Wait number `n` for a `draw` from `0..1`. Full jitter: anything up to the ceiling, so that a crowd spreads out
    /// (Marc Brooker, "Exponential Backoff And Jitter"). What the other side asks for is added before it.
    fn wait(&self, n: u32, hint: Option<Duration>, draw: f64) -> Duration {
        hint.unwrap_or_default().min(HINT_MAX) + self.ceiling(n).mul_f64(draw)
    }
}

/// The waits between tries, one after another.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: Policy,
    tries: u32,
}

impl Backoff {
    /// Waits by `policy`, beginning with the shortest.
    pub fn new(policy: Policy) -> Self {
        Self { policy, tries: 0 }
    }

    /// The next wait.
    pub fn next_wait(&mut self, hint: Option<Duration>) -> Duration {
        let wait = self.policy.wait(self.tries, hint, fastrand::f64());
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// It worked: begin with the shortest again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Why [`retry`] ended without a result.
#[derive(Debug)]
pub enum RetryError<E> {
    /// The last error: a permanent one, or a transient one when the time was up.
    Failed(E),
    /// Cancelled while waiting or trying.
    Cancelled,
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl<E: std::error::Error> std::error::Error for RetryError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own message is the error's; the chain goes on behind it.
            Self::Failed(error) => error.source(),
            Self::Cancelled => None,
        }
    }
}

impl<E: Faulty> Faulty for RetryError<E> {
    fn fault(&self) -> Fault {
        match self {
            Self::Failed(error) => error.fault(),
            Self::Cancelled => Fault::Transient,
        }
    }
}

/// Calls `operation` until it succeeds, fails permanently, the policy gives up, or `cancel` is cancelled.
///
/// `what` names the operation in the log, which hears of the first failure and of the recovery, not of every try.
/// Cancellation drops a running try, so `operation` must be safe to drop and to repeat.
pub async fn retry<T, E, F, Fut>(
    what: &str,
    policy: &Policy,
    cancel: &CancellationToken,
    mut operation: F,
) -> Result<T, RetryError<E>>
where
    E: Faulty,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let begin = Instant::now();
    let mut backoff = Backoff::new(*policy);
    loop {
        let error = match cancel.run_until_cancelled(operation()).await {
            None => return Err(RetryError::Cancelled),
            Some(Ok(value)) => {
                if backoff.tries > 0 {
                    tracing::info!(tries = backoff.tries + 1, "{what} works again");
                }
                return Ok(value);
            }
            Some(Err(error)) => error,
        };
        if error.fault() == Fault::Permanent {
            return Err(RetryError::Failed(error));
        }
        let first = backoff.tries == 0;
        let wait = backoff.next_wait(error.retry_after());
        if policy.give_up_after.is_some_and(|limit| begin.elapsed() + wait > limit) {
            return Err(RetryError::Failed(error));
        }
        if first {
            tracing::warn!(error = chain(&error), "{what} fails, trying again");
        } else {
            tracing::debug!(error = chain(&error), ?wait, "{what} still fails");
        }
        if cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return Err(RetryError::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests;
