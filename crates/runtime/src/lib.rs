//! The host every function runs in: an event source, a handler, settling, and what an operator sees of them.
//!
//! - [`handler`]: what a function is: a batch of messages in, outputs or failures out.
//! - [`host`]: takes messages from a queue, calls the handler, publishes its output, and settles last.
//! - [`retry`]: the one way to try again; [`blocking`]: threads for heavy work; [`task`]: owners of tasks.
//! - [`http`], [`metrics`], [`telemetry`]: health, numbers and logs.
//! - [`fields`]: what people write in files, flags and variables, with every mistake in it; [`camera`]: a camera so written.
//! - [`replay`]: tries again what failed for good, for whoever may ask for that.
//!
//! Invariant: nothing here knows what a message means, but for [`replay`], which must give a job its next generation; and no
//! handler knows which queue feeds it.

pub mod blocking;
pub mod camera;
pub mod fields;
pub mod handler;
pub mod host;
pub mod http;
pub mod metrics;
pub mod replay;
pub mod retry;
pub mod role;
pub mod task;
pub mod telemetry;

pub use handler::{Batch, Handler, HandlerError, Invocation, Output, Progress, Reply, handler_fn, item_fn};
pub use host::{Host, HostConfig, HostError, HostReport, Source};
pub use http::{Check, Health, Listen};
pub use metrics::Metrics;
/// Text that shows in no log and is wiped when dropped.
pub use secrecy::{ExposeSecret, SecretString};
pub use telemetry::{Trace, chain};

/// The system's clock, in Unix microseconds.
pub fn unix_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
