//! A model: an ONNX file and the manifest beside it that says what goes in and what comes out.

mod input;

pub use input::{Channels, InputSpec, Layout, Padding};
