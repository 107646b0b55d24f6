//! Why a segment was not looked at.

use detektor_backends::bucket::BucketError;
use detektor_contract::wire::WireError;
use detektor_contract::{Fault, Faulty};

use crate::decode::DecodeError;
use crate::engine::EngineError;
use crate::picture::UnreadablePicture;
use crate::segment::SegmentError;
use crate::snapshot::SnapshotError;

/// Why a segment was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The message is no job.
    #[error("the job cannot be read")]
    Wire(#[from] WireError),
    /// The segment is not what its job says.
    #[error("the segment")]
    Segment(#[from] SegmentError),
    /// It cannot be decoded.
    #[error("decoding")]
    Decode(#[from] DecodeError),
    /// Its pictures are of a kind that cannot be looked at.
    #[error("the pictures")]
    Picture(#[from] UnreadablePicture),
    /// The engine failed.
    #[error("looking at a picture")]
    Engine(#[from] EngineError),
    /// A snapshot could not be made.
    #[error("making a snapshot")]
    Snapshot(#[from] SnapshotError),
    /// Video could not be read, or pictures and video not be stored.
    #[error("the bucket, for {what}")]
    Bucket {
        /// What was read or stored.
        what: &'static str,
        /// Why not.
        source: BucketError,
    },
    /// Whoever asked has given up.
    #[error("stopped before the segment was looked through")]
    Stopped,
    /// No worker took it, and none got on with anything else.
    #[error("no worker gets on")]
    NoWorker,
}

impl Faulty for DetectError {
    fn fault(&self) -> Fault {
        match self {
            Self::Wire(error) => error.fault(),
            Self::Segment(error) => error.fault(),
            Self::Decode(error) => error.fault(),
            Self::Picture(_) => Fault::Permanent,
            Self::Engine(error) => error.fault(),
            Self::Snapshot(error) => error.fault(),
            Self::Bucket { source, .. } => source.fault(),
            Self::Stopped | Self::NoWorker => Fault::Transient,
        }
    }
}
