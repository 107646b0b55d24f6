//! The events API: REST, a resumable stream and a web page, over an event store and a bucket.
//!
//! [`router`] is everything that is served; health, readiness and metrics are the runtime's ([`Api::watch`] keeps the check). [`views`] are the JSON
//! shapes and [`lines`] streams them, for the API and for the command line alike. [`role`] is the API as a process of its own.

mod api;
mod auth;
mod clip;
mod cursor;
mod etag;
mod guard;
mod limits;
pub mod lines;
mod metrics;
mod page;
mod params;
mod problem;
mod range;
pub mod role;
pub mod views;
mod walk;

pub use api::{Api, Behind, Options, router};
pub use auth::{Access, Tokens};
pub use limits::{Excess, Limits};
pub use problem::{ApiError, Mistake, Problem};
