//! Backends behind something that sees every call: a plan of failures in tests, a circuit breaker in earnest.

mod bucket;
mod coordination;
mod queues;
mod store;

use async_trait::async_trait;

pub use bucket::AroundBucket;
pub use coordination::AroundCoordination;
pub use queues::AroundQueues;
pub use store::AroundStore;

use crate::bucket::BucketError;
use crate::queue::{Consumer, Delivery, QueueError};
use crate::store::StoreError;

/// What stands around a backend. Calls are named as the traits' methods, settling as `ack` and `requeue`.
#[async_trait]
pub trait Around: Send + Sync + 'static {
    /// Makes a call, or refuses it.
    async fn call<T: Send, E: Away>(
        &self,
        call: &'static str,
        made: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E>;

    /// Lets a call begin whose outcome is not seen.
    fn admit<E: Away>(&self, call: &'static str) -> Result<(), E>;

    /// Makes a call that waits for something to happen rather than for an answer.
    async fn wait<T: Send, E: Away>(
        &self,
        call: &'static str,
        made: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        self.call(call, made).await
    }

    /// Receives a delivery.
    async fn receive(&self, consumer: &dyn Consumer) -> Result<Delivery, QueueError>;
}

/// An error that can say that a backend is away.
pub trait Away: Send + Sized {
    /// It is away, for this reason.
    fn away(reason: Box<dyn std::error::Error + Send + Sync>) -> Self;
    /// Whether that is what it says.
    fn is_away(&self) -> bool;
}

macro_rules! away_if_unavailable {
    ($($error:ident),*) => {$(
        impl Away for $error {
            fn away(reason: Box<dyn std::error::Error + Send + Sync>) -> Self {
                Self::Unavailable { context: reason.to_string(), source: Some(reason) }
            }

            fn is_away(&self) -> bool {
                matches!(self, Self::Unavailable { .. })
            }
        }
    )*};
}
away_if_unavailable!(QueueError, BucketError, StoreError);
