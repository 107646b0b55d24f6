//! The detect function: a segment in, detections out.

pub mod decode;
pub mod engine;
pub mod gate;
pub mod letterbox;
pub mod model;
pub mod picture;
pub mod segment;
pub mod snapshot;
