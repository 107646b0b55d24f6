//! RTSP cameras against a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod camera;
mod placed;
#[path = "../support/site.rs"]
mod site;
mod source;
#[path = "../support/mod.rs"]
mod support;
