//! The detect function: a segment in, detections out.
