//! The merge function: outcomes in, tracks, events and the frame ledger out.
//!
//! - [`Merge`]: takes outcomes in batches. Each batch goes to the outcome log in the bucket first; then, in one
//!   transaction, into the event store, where every camera is folded as far as nothing is missing.
//! - [`EventObjects`]: writes closed events to the bucket, as the store's outbox says.
//! - [`InFlight`]: removes the video of jobs that are through.
//! - [`DeadLetters`]: keeps what failed for good and gives its sequence number a tombstone; `detektor_runtime::replay` tries
//!   it again.
//! - [`Survey`]: adds all cameras' ledgers up, for `/metrics`.
//! - [`role`]: all of this as a process of its own.
//! - [`reindex`]: makes the event store anew from the outcome log.
//! - [`prune`]: removes settled history from the event store; [`Pruner`] does so daily.
//!
//! Invariant: all that settles what a camera's events are is in `detektor_contract::fold`. This crate decides only when to
//! fold which outcomes; a wrong decision here costs time or a revision, never a wrong event.

mod advance;
mod dead;
mod error;
mod in_flight;
mod latency;
mod log;
mod merge;
mod numbers;
mod objects;
mod prune;
mod reindex;
pub mod role;
mod survey;

pub use dead::DeadLetters;
pub use error::MergeError;
pub use in_flight::InFlight;
pub use latency::{Latencies, Percentiles};
pub use merge::{Merge, MergeConfig, Now};
pub use objects::EventObjects;
pub use prune::{Horizon, PruneReport, Pruner, prune};
pub use reindex::{Damaged, Reindexed, reindex};
pub use survey::Survey;
