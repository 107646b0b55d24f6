//! Why a segment could not be decoded at all.

use detektor_contract::{Codec, Fault, Faulty};

/// Why a decoder could not be had, or gave up. A packet that gives no picture is no such error.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// libav was built without this decoder.
    #[error("libav has no decoder for {0:?}")]
    NoDecoder(Codec),
    /// The parameter sets were refused.
    #[error("the {codec:?} decoder does not take the segment's parameter sets")]
    Open {
        /// The codec.
        codec: Codec,
        /// libav's answer.
        source: ffmpeg::Error,
    },
    /// There was no memory.
    #[error("no memory for a decoder or its pictures")]
    NoMemory,
}

impl Faulty for DecodeError {
    fn fault(&self) -> Fault {
        match self {
            Self::NoDecoder(_) | Self::NoMemory => Fault::Transient,
            Self::Open { .. } => Fault::Permanent,
        }
    }
}
