//! Camera streams in, segment jobs out.

pub mod slicer;
pub mod source;
