//! A circuit breaker around a server: while most calls fail, further ones are refused at once, so that a server that is coming
//! back is not buried under the retries of everybody. Every now and then a call is let through to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use recloser::{AsyncRecloser, Error, Recloser};
use tokio::time::Instant;

use crate::around::{Around, Away};
use crate::queue::{Consumer, Delivery, QueueError};

/// Calls that are looked at together; it opens when more than half of them fail.
const WINDOW: usize = 8;
/// Calls that are let through to see, once it has been open for [`OPEN`].
const PROBES: usize = 2;
/// How long it stays open. Short, since whoever is refused waits as well before trying again.
const OPEN: Duration = Duration::from_millis(500);

/// Hears when a breaker opens (true) and closes (false).
pub type OnChange = Arc<dyn Fn(bool) + Send + Sync>;

/// Hears of each call that was made: how long it took, and whether the server was away.
pub type OnCall = Arc<dyn Fn(Duration, bool) + Send + Sync>;

/// A breaker for the calls to one server.
pub struct Breaker {
    server: &'static str,
    recloser: AsyncRecloser,
    open: AtomicBool,
    on_change: OnChange,
    on_call: OnCall,
}

/// A call that was not made.
#[derive(Debug, thiserror::Error)]
#[error("{0} is away: its circuit breaker is open")]
pub struct Open(pub &'static str);

impl Breaker {
    /// A closed breaker for `server`.
    pub fn new(server: &'static str, on_change: OnChange, on_call: OnCall) -> Arc<Self> {
        let recloser =
            Recloser::custom().error_rate(0.5).closed_len(WINDOW).half_open_len(PROBES).open_wait(OPEN).build();
        Arc::new(Self { server, recloser: recloser.into(), open: AtomicBool::new(false), on_change, on_call })
    }

    fn is(&self, open: bool) {
        if self.open.swap(open, Ordering::Relaxed) != open {
            match open {
                true => tracing::warn!(server = self.server, "the circuit breaker opens"),
                false => tracing::info!(server = self.server, "the circuit breaker closes"),
            }
            (self.on_change)(open);
        }
    }
}

#[async_trait]
impl Around for Breaker {
    async fn call<T: Send, E: Away>(
        &self,
        _: &'static str,
        made: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let begun = Instant::now();
        match self.recloser.call_with(E::is_away, made).await {
            Ok(value) => {
                (self.on_call)(begun.elapsed(), false);
                self.is(false);
                Ok(value)
            }
            Err(Error::Inner(error)) => {
                (self.on_call)(begun.elapsed(), error.is_away());
                Err(error)
            }
            Err(Error::Rejected) => {
                self.is(true);
                Err(E::away(Open(self.server).into()))
            }
        }
    }

    /// A listing fails in its course, if it does.
    fn admit<E: Away>(&self, _: &'static str) -> Result<(), E> {
        Ok(())
    }

    /// Silence is no failure, and no success either.
    async fn wait<T: Send, E: Away>(
        &self,
        _: &'static str,
        made: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        made.await
    }

    async fn receive(&self, consumer: &dyn Consumer) -> Result<Delivery, QueueError> {
        consumer.receive().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::around::AroundBucket;
    use crate::bucket::{Bucket as _, BucketError};
    use crate::embedded::{Embedded, Options};
    use crate::failing::{FailingBucket, Plan};
    use detektor_contract::ObjectKey;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn it_opens_when_calls_fail_refuses_and_closes_again() {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path(), Options::default()).await.unwrap();
        let (plan, heard) = (Plan::new(), Arc::new(Mutex::new(Vec::new())));
        let (told, away) = (Arc::clone(&heard), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&away);
        let count: OnCall = Arc::new(move |_, away| _ = counted.fetch_add(usize::from(away), Ordering::Relaxed));
        let breaker = Breaker::new("the bucket", Arc::new(move |open| told.lock().unwrap().push(open)), count);
        let bucket = AroundBucket::new(FailingBucket::new(embedded.bucket(), plan.clone()), breaker);
        let key = ObjectKey::parse("a").unwrap();
        // What is not there is an answer like any other.
        for _ in 0..20 {
            assert!(matches!(bucket.get(&key).await, Err(BucketError::NotFound(_))));
        }
        plan.fail_all();
        for _ in 0..40 {
            assert!(bucket.put(&key, "x".into()).await.unwrap_err().is_away());
        }
        let made = plan.calls().len();
        assert_eq!(away.load(Ordering::Relaxed), made - 20, "only calls that were made are heard of");
        assert!(made < 60, "{made} calls were made");
        let error = bucket.put(&key, "x".into()).await.unwrap_err().to_string();
        assert!(error.contains("its circuit breaker is open"), "{error}");
        plan.heal();
        while bucket.put(&key, "x".into()).await.is_err() {
            tokio::time::sleep(OPEN / 5).await;
        }
        assert_eq!(*heard.lock().unwrap(), [true, false]);
    }
}
