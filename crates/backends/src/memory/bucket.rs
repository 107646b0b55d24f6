//! A bucket in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::bucket::{Bucket, BucketError, Listed, whole_parts};

type Result<T> = std::result::Result<T, BucketError>;

/// A bucket in memory.
#[derive(Debug, Default)]
pub struct MemoryBucket {
    objects: Mutex<BTreeMap<ObjectKey, Bytes>>,
}

impl MemoryBucket {
    /// There is nothing in it.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        self.objects().insert(key.clone(), body);
        Ok(())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.objects().get(key).cloned().ok_or_else(|| BucketError::NotFound(key.clone()))
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes> {
        let body = self.get(key).await?;
        let bytes = body.len() as u64;
        if start >= bytes {
            return Err(BucketError::Range { key: key.clone(), bytes, start });
        }
        let end = start.saturating_add(length).min(bytes);
        Ok(body.slice(start as usize..end as usize))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.objects().remove(key);
        Ok(())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        if let Err(error) = whole_parts(prefix) {
            return stream::iter([Err(error)]).boxed();
        }
        let objects = self.objects();
        let below = objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let listed: Vec<_> =
            below.map(|(key, body)| Ok(Listed { key: key.clone(), bytes: body.len() as u64 })).collect();
        stream::iter(listed).boxed()
    }
}
