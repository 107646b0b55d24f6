//! The detect function: a segment in, detections out.

pub mod engine;
pub mod model;
