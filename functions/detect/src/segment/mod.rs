//! A segment's frames before any is decoded: which sample each one is, when it was captured, what may be left out.

mod plan;
mod sample;
mod timeline;

pub use plan::Plan;
pub use sample::sampled;
pub use timeline::{Slot, Timeline};

use detektor_contract::{Fault, Faulty};
use detektor_media::MediaError;

/// Why a segment is not what its job says.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The video cannot be read.
    #[error("the segment's video cannot be read")]
    Media(#[from] MediaError),
    /// The video and the job contradict each other.
    #[error("the job says {expected} {what}, the video has {found}")]
    Contradiction {
        /// What does not fit.
        what: &'static str,
        /// What the job says.
        expected: String,
        /// What the video says.
        found: String,
    },
}

impl Faulty for SegmentError {
    fn fault(&self) -> Fault {
        match self {
            Self::Media(error) => error.fault(),
            Self::Contradiction { .. } => Fault::Permanent,
        }
    }
}
