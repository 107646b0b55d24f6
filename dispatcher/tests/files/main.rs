//! Files and HTTP, from what real encoders write to what is published.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
mod dispatcher;
mod encoders;
mod live;
mod placed;
#[path = "../support/site.rs"]
mod site;
