//! Queues, buckets and event stores: the traits, the embedded backends, and the conformance suites that hold them equal.
//!
//! Invariant: no type of a driver (SQL, AMQP, S3) crosses this crate's border, and nothing here knows what a message or
//! an object means, but for [`epochs`], a number that the store gives and the bucket keeps, and for the kinds of objects, which are
//! kept for a time of their own ([`s3::setup`]) and told of or not ([`notify`]).

pub mod around;
pub mod below;
pub mod breaker;
pub mod bucket;
mod columns;
#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
pub mod coordination;
pub mod copy;
pub mod embedded;
pub mod epochs;
#[cfg(any(test, feature = "test-support"))]
pub mod failing;
pub mod folder;
#[cfg(any(test, feature = "test-support"))]
pub mod memory;
pub mod notify;
pub mod postgres;
pub mod queue;
pub mod rabbitmq;
pub mod s3;
pub mod secret;
#[cfg(any(test, feature = "test-support"))]
pub mod servers;
mod signal;
mod sqlite;
pub mod store;
mod trust;
