//! What a function is.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use detektor_backends::queue::Message;
use detektor_contract::names::Work;
use detektor_contract::{Fault, Faulty};
use tokio::time::{Instant, timeout_at};
use tower::Service;

use crate::telemetry::{Trace, chain};

/// One message to work on.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The message.
    pub message: Message,
    /// 1 at first, one more for each time that it was delivered or tried again through a fault that may be its own.
    pub attempt: u32,
    /// How long the host goes on waiting; shared by the whole batch.
    pub progress: Progress,
    /// The trace that the message belongs to; outputs continue it by themselves.
    pub trace: Trace,
}

impl Invocation {
    /// When the host gives up waiting unless the handler gets on.
    pub fn deadline(&self) -> Instant {
        self.progress.deadline()
    }
}

/// How a handler shows that it gets on, and when the host gives up waiting: so long after the last sign. Work that takes
/// as long as it takes is then no fault, and work that hangs is noticed all the same. Clones are one.
#[derive(Clone, Debug)]
pub struct Progress {
    begin: Instant,
    patience: Duration,
    /// When the last sign came, in microseconds since `begin`.
    latest: Arc<AtomicU64>,
}

impl Progress {
    /// Begins now. Whoever waits does so for `patience` after each sign.
    pub fn new(patience: Duration) -> Self {
        Self { begin: Instant::now(), patience, latest: Arc::default() }
    }

    /// A sign: a part of the work is done. There must be an end to the parts.
    pub fn made(&self) {
        let now = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latest.fetch_max(now, Ordering::Relaxed);
    }

    /// When waiting ends unless another sign comes.
    pub fn deadline(&self) -> Instant {
        self.begin + Duration::from_micros(self.latest.load(Ordering::Relaxed)) + self.patience
    }

    /// Waits for work as long as it gets on; none where it does not.
    pub async fn wait_for<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = self.deadline();
            match timeout_at(deadline, &mut work).await {
                Ok(output) => return Some(output),
                Err(_) if self.deadline() > deadline => {}
                Err(_) => return None,
            }
        }
    }
}

/// Messages to work on together: at least one.
#[derive(Clone, Debug)]
pub struct Batch(pub Vec<Invocation>);

/// A message to pass on. It goes to the partition that its input came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The kind of work that it is for.
    pub work: Work,
    /// The message. Trace context and measurements of the input are added where it has none.
    pub message: Message,
}

/// What became of a batch: for each invocation, in the batch's order, its outputs or why there are none.
///
/// An invocation is settled by its own entry alone: one that failed costs its neighbours nothing.
#[derive(Debug, Default)]
pub struct Reply(pub Vec<Result<Vec<Output>, HandlerError>>);

impl Reply {
    /// The reply of a batch of `n` that succeeded and has nothing to pass on.
    pub fn done(n: usize) -> Self {
        Self((0..n).map(|_| Ok(Vec::new())).collect())
    }
}

/// Why an invocation, or a whole batch, failed. Any [`Faulty`] error becomes one by `?`, with its chain of sources.
///
/// [`Fault::Transient`] keeps the message and tries again; [`Fault::Permanent`] makes it a dead letter. A whole batch that
/// fails permanently is taken apart first, to find the message whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    /// Whose fault it is.
    pub fault: Fault,
    /// The error and its sources, for people. No secrets.
    pub error: String,
}

impl HandlerError {
    /// The input cannot be handled, now or later.
    pub fn permanent(error: impl Into<String>) -> Self {
        Self { fault: Fault::Permanent, error: error.into() }
    }

    /// The surroundings failed: the input is tried again.
    pub fn transient(error: impl Into<String>) -> Self {
        Self { fault: Fault::Transient, error: error.into() }
    }
}

impl<E: Faulty> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { fault: error.fault(), error: chain(&error) }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

/// A function: a tower service from [`Batch`] to [`Reply`]. Implemented by every service of that shape.
///
/// Its waits on the surroundings must end, as [`Fault::Transient`], before [`Progress::deadline`]: what overruns that counts
/// against the messages. Long work shows that it gets on ([`Progress::made`]).
pub trait Handler:
    Service<Batch, Response = Reply, Error = HandlerError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Handler for S where
    S: Service<Batch, Response = Reply, Error = HandlerError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

/// A handler from a function over batches.
pub fn handler_fn<F, Fut>(function: F) -> impl Handler
where
    F: Fn(Batch) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
{
    tower::service_fn(function)
}

/// A handler from a function over single messages, called for one after another.
pub fn item_fn<F, Fut>(function: F) -> impl Handler
where
    F: Fn(Invocation) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<Output>, HandlerError>> + Send + 'static,
{
    handler_fn(move |Batch(invocations)| {
        let function = function.clone();
        async move {
            let mut reply = Reply(Vec::with_capacity(invocations.len()));
            for invocation in invocations {
                reply.0.push(function(invocation).await);
            }
            Ok(reply)
        }
    })
}
