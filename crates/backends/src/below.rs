//! A part of a bucket as a bucket of its own: everything below a prefix, named without it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::bucket::{Bucket, BucketError, Listed, whole_parts};

/// What is below a prefix.
pub struct Below {
    inner: Arc<dyn Bucket>,
    /// Ends in `/`.
    prefix: String,
}

impl Below {
    /// What is below `prefix` in `inner`.
    pub fn new(inner: Arc<dyn Bucket>, prefix: &ObjectKey) -> Self {
        Self { inner, prefix: format!("{prefix}/") }
    }

    /// The key in the whole bucket.
    fn whole(&self, key: &ObjectKey) -> Result<ObjectKey, BucketError> {
        ObjectKey::parse(&format!("{}{key}", self.prefix)).map_err(|error| BucketError::Unavailable {
            context: format!("naming {key} below {}", self.prefix),
            source: Some(error.into()),
        })
    }
}

/// An error about an object by its name here.
fn here(key: &ObjectKey) -> impl FnOnce(BucketError) -> BucketError {
    let key = key.clone();
    move |error| match error {
        BucketError::NotFound(_) => BucketError::NotFound(key),
        BucketError::Range { bytes, start, .. } => BucketError::Range { key, bytes, start },
        away @ BucketError::Unavailable { .. } => away,
    }
}

#[async_trait]
impl Bucket for Below {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError> {
        self.inner.put(&self.whole(key)?, body).await.map_err(here(key))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError> {
        self.inner.get(&self.whole(key)?).await.map_err(here(key))
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError> {
        self.inner.get_range(&self.whole(key)?, start, length).await.map_err(here(key))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        self.inner.delete(&self.whole(key)?).await.map_err(here(key))
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>> {
        if let Err(error) = whole_parts(prefix) {
            return stream::once(std::future::ready(Err(error))).boxed();
        }
        let own = self.prefix.clone();
        let listed = self.inner.list(&format!("{own}{prefix}"));
        let named = move |Listed { key, bytes }: Listed| {
            let key = key.as_str().strip_prefix(&own).and_then(|name| ObjectKey::parse(name).ok());
            std::future::ready(Ok(key.map(|key| Listed { key, bytes })))
        };
        listed.try_filter_map(named).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::conformance::Bench;
    use crate::memory::MemoryBucket;

    struct OnMemory(Arc<Below>);

    impl OnMemory {
        async fn fresh() -> Self {
            let whole = MemoryBucket::new();
            // None of these is below the prefix.
            for other in ["a", "kept/else", "kept/part", "kept/part-2/x", "z/kept/part/x"] {
                whole.put(&ObjectKey::parse(other).unwrap(), Bytes::from_static(b"other")).await.unwrap();
            }
            Self(Arc::new(Below::new(whole, &ObjectKey::parse("kept/part").unwrap())))
        }
    }

    #[async_trait]
    impl Bench<dyn Bucket> for OnMemory {
        fn backend(&self) -> Arc<dyn Bucket> {
            self.0.clone()
        }

        async fn crash(&mut self) {}
    }

    crate::bucket_conformance!(OnMemory::fresh());

    #[tokio::test]
    async fn objects_have_their_names_without_the_prefix() {
        let whole = MemoryBucket::new();
        let [long, short] = ["kept/log/aa.json", "log/aa.json"].map(|key| ObjectKey::parse(key).unwrap());
        whole.put(&long, Bytes::from_static(b"x")).await.unwrap();
        let below = Below::new(whole, &ObjectKey::parse("kept").unwrap());
        let listed: Vec<Listed> = below.list("").try_collect().await.unwrap();
        assert_eq!(listed, [Listed { key: short.clone(), bytes: 1 }]);
        below.delete(&short).await.unwrap();
        assert!(matches!(below.get(&short).await, Err(BucketError::NotFound(key)) if key == short));
    }
}
