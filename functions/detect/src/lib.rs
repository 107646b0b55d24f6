//! The detect function: a segment in, detections out.
//!
//! - [`segment`]: which frames a segment has, when it is whose turn; [`decode`]: pictures out of packets.
//! - [`gate`]: whether there is anything to look at; [`picture`] and [`letterbox`]: from planes to a model's input.
//! - [`model`] and [`engine`]: what looks; [`snapshot`]: frames worth keeping.
//! - [`worker`] does all of this for one segment on a thread of its own; [`handler`] is the function.
//! - [`loading`] starts it as it was told to be; [`role`] is the function as a process of its own.
//!
//! Invariant: what becomes of a segment depends on its job, its video and the engine, and on nothing before it.

pub mod decode;
pub mod engine;
mod error;
pub mod gate;
pub mod handler;
pub mod letterbox;
pub mod loading;
mod metrics;
pub mod model;
pub mod picture;
pub mod role;
pub mod segment;
pub mod snapshot;
pub mod worker;

pub use error::DetectError;
pub use handler::{Detect, DetectConfig};
pub use metrics::Numbers;

#[cfg(test)]
#[path = "../tests/footage/mod.rs"]
mod footage;
#[cfg(test)]
mod stub;
