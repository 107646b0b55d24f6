//! What merge fails of.

use detektor_backends::bucket::BucketError;
use detektor_backends::store::StoreError;
use detektor_contract::{Fault, Faulty};

/// Why outcomes could not be merged, or dead letters not be kept.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The outcome log, the quarantine or an event's object could not be written or read.
    #[error("{doing}")]
    Bucket {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: BucketError,
    },
    /// The event store failed.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: StoreError,
    },
    /// It took longer than the batch may take.
    #[error("the event store and the bucket took too long")]
    Deadline,
}

impl Faulty for MergeError {
    fn fault(&self) -> Fault {
        match self {
            // No outcome is at fault for what a database or a bucket holds or refuses.
            Self::Bucket { .. } | Self::Store { .. } | Self::Deadline => Fault::Transient,
        }
    }
}

/// Says what was being done when an error came up.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, MergeError>;
}

impl<T> Doing<T> for Result<T, BucketError> {
    fn doing(self, doing: &'static str) -> Result<T, MergeError> {
        self.map_err(|source| MergeError::Bucket { doing, source })
    }
}

impl<T> Doing<T> for Result<T, StoreError> {
    fn doing(self, doing: &'static str) -> Result<T, MergeError> {
        self.map_err(|source| MergeError::Store { doing, source })
    }
}
