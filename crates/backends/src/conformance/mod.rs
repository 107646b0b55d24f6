//! One suite for each kind of backend. Whatever runs a suite's every case behaves like any other backend of its kind.
//!
//! A backend comes with a [`Bench`] that makes a fresh one and can crash it. [`queue_conformance!`](crate::queue_conformance),
//! [`bucket_conformance!`](crate::bucket_conformance), [`store_conformance!`](crate::store_conformance) and
//! [`coordination_conformance!`](crate::coordination_conformance) make a test of every case.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod bucket;
pub mod coordination;
pub mod partitions;
pub mod queue;
pub mod samples;
pub mod store;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A backend under test. `B` is one of the traits, as in `dyn Queues`.
#[async_trait]
pub trait Bench<B: ?Sized + Send + Sync>: Send {
    /// The backend as it is now. A case gives up what it has of it before [`Bench::crash`].
    fn backend(&self) -> Arc<B>;

    /// Ends the backend without closing it, as a crash would, and opens what is left.
    async fn crash(&mut self);

    /// How often a queue delivers a message before it goes to the dead letters. Small, for a fast suite.
    fn delivery_limit(&self) -> u32 {
        3
    }
}

/// Longer than anything takes that ought to happen.
const SOON: Duration = Duration::from_secs(20);
/// Long enough to notice what ought not to happen.
const A_WHILE: Duration = Duration::from_millis(150);

/// What ought to happen.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("this takes too long")
}

/// Whether something that ought not to happen does not.
async fn not_yet<T>(what: impl Future<Output = T>) -> bool {
    tokio::time::timeout(A_WHILE, what).await.is_err()
}

/// Makes a test of each case. Not for direct use.
#[macro_export]
#[doc(hidden)]
macro_rules! conformance_cases {
    ($suite:ident, $bench:expr, [$($case:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut bench = $bench.await;
                $crate::conformance::$suite::$case(&mut bench).await;
            }
        )*
    };
}
