//! Full frames worth keeping: a few per segment, so that whatever is worth opening an event for is shown well.

mod jpeg;
mod shots;

pub use jpeg::{JpegEncoder, SnapshotError, jpeg_planes};
pub use shots::Shots;
