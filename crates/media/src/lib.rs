//! Access units, parameter sets and MP4 boxes, without a decoder or I/O.
//!
//! Access units travel as `Bytes` of NAL units, each behind a length of 4 bytes, as MP4 has them; [`nal`] brings other
//! forms into this one. [`ParameterSets`] follows a stream's SPS and PPS, [`classify`] says what an access unit is,
//! [`segment`] writes and reads one segment, and [`clip`] joins stored segments into one file that a browser plays.
//!
//! Invariant: whatever the bytes, nothing here panics, recurses without a bound, or allocates more than a small
//! multiple of its input.

mod access_unit;
mod bits;
mod boxes;
pub mod clip;
mod error;
mod h264;
mod h265;
pub mod nal;
mod parameter_sets;
pub mod segment;

pub use access_unit::{AccessUnitInfo, Border, Leading, Structure, classify};
pub use error::MediaError;
pub use nal::Framing;
pub use parameter_sets::{ParameterSets, SetsChange};
