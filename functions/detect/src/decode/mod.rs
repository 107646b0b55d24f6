//! Decoding from memory: libav decoders that live long and are flushed between segments.

mod cache;
mod decoder;
mod error;

pub use cache::Decoders;
pub use decoder::{Decoded, Decoder, Packet, Run};
pub use error::DecodeError;

#[cfg(test)]
pub(crate) use decoder::silence_libav;

#[cfg(test)]
mod tests;
