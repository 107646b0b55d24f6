//! Backends in memory: plain and deterministic, for tests and simulation.
//!
//! They know no clock, no chance and no thread: the same calls in the same order give the same answers. Everything in them is
//! as on a disk: who holds it may crash, and what it holds stays. Clones of an `Arc` are one backend, seen by several
//! processes.

mod bucket;
mod coordination;
mod database;
mod events;
mod merge;
mod objects;
mod prune;
mod queues;
mod store;

pub use bucket::MemoryBucket;
pub use database::{MemoryDatabase, Snapshot};
pub use queues::MemoryQueues;

#[cfg(test)]
mod tests;
