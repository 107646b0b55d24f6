//! A bucket: objects by key. Objects are written whole; a reader sees all of one or nothing.

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::{Fault, Faulty, ObjectKey};
use futures::stream::BoxStream;

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why a bucket did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// No such object.
    #[error("no object {0}")]
    NotFound(ObjectKey),
    /// The range asked for begins behind the object's end.
    #[error("object {key} has {bytes} bytes: nothing at {start}")]
    Range {
        /// Which object.
        key: ObjectKey,
        /// Its length.
        bytes: u64,
        /// The first byte asked for.
        start: u64,
    },
    /// It is away, full, or refuses.
    #[error("the bucket is not available: {context}")]
    Unavailable {
        /// What was being done.
        context: String,
        /// The driver's error.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Faulty for BucketError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotFound(_) | Self::Range { .. } => Fault::Permanent,
            Self::Unavailable { .. } => Fault::Transient,
        }
    }
}

/// Where objects are kept.
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// Writes an object; returns once it is durable. Writing the same again is no harm.
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError>;

    /// Reads an object.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError>;

    /// Reads at most `length` bytes from `start`.
    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError>;

    /// Every object whose key begins with `prefix` (a whole number of parts, ending in `/`), in key order.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>>;
}

/// Checks that a listing's prefix is whole parts of a key.
pub(crate) fn whole_parts(prefix: &str) -> Result<(), BucketError> {
    if prefix.is_empty() || prefix.strip_suffix('/').is_some_and(|parts| ObjectKey::parse(parts).is_ok()) {
        return Ok(());
    }
    let context = format!("listing {prefix:?}: a prefix is whole parts of a key and ends in '/'");
    Err(BucketError::Unavailable { context, source: None })
}
