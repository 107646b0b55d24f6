//! What can be wrong with video.

use detektor_contract::{Codec, Fault, Faulty};

/// Bytes that are not the video they should be, or video that a container cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A NAL unit's length runs over the end of its access unit.
    #[error("a NAL unit at byte {offset} runs over the end of its access unit of {total} bytes")]
    BrokenAccessUnit {
        /// Where the NAL unit begins.
        offset: usize,
        /// The access unit's length.
        total: usize,
    },
    /// The container's decoder configuration is neither a configuration record nor Annex B.
    #[error("the {codec:?} decoder configuration cannot be read: {what}")]
    Extradata {
        /// The codec.
        codec: Codec,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A parameter set that says something impossible, or that uses what we cannot read.
    #[error("the {kind} cannot be read: {what}")]
    ParameterSet {
        /// Which kind, such as `H.264 SPS`.
        kind: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Nothing can be decoded yet: no SPS or no PPS came.
    #[error("no {0:?} parameter sets so far")]
    NoParameterSets(Codec),
    /// A box that cannot be read or written.
    #[error("MP4 box {name}")]
    Box {
        /// Which box.
        name: &'static str,
        /// Why.
        source: mp4_atom::Error,
    },
    /// Boxes that are fine, but not laid out as a segment is.
    #[error("not a segment: {0}")]
    Layout(&'static str),
    /// The bytes end before the index does.
    #[error("the index needs the first {needed} bytes")]
    Incomplete {
        /// So many bytes from the start are needed.
        needed: u64,
    },
    /// Times that the container cannot hold.
    #[error("times outside what MP4 holds: {0}")]
    Times(&'static str),
    /// More bytes than one segment may have.
    #[error("a segment of {0} bytes is too large")]
    TooLarge(usize),
    /// No sample to show.
    #[error("there is no picture in it")]
    Empty,
}

impl Faulty for MediaError {
    fn fault(&self) -> Fault {
        match self {
            Self::BrokenAccessUnit { .. }
            | Self::Extradata { .. }
            | Self::ParameterSet { .. }
            | Self::NoParameterSets(_)
            | Self::Box { .. }
            | Self::Layout(_)
            | Self::Incomplete { .. }
            | Self::Times(_)
            | Self::TooLarge(_)
            | Self::Empty => Fault::Permanent,
        }
    }
}
