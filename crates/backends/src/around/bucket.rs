use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::Around;
use crate::bucket::{Bucket, BucketError, Listed};

/// A bucket behind something. Calls: `put`, `get`, `get_range`, `delete`, `list`.
pub struct AroundBucket<A> {
    inner: Arc<dyn Bucket>,
    around: Arc<A>,
}

impl<A: Around> AroundBucket<A> {
    /// Wraps a bucket.
    pub fn new(inner: Arc<dyn Bucket>, around: Arc<A>) -> Arc<Self> {
        Arc::new(Self { inner, around })
    }
}

#[async_trait]
impl<A: Around> Bucket for AroundBucket<A> {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError> {
        self.around.call("put", self.inner.put(key, body)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError> {
        self.around.call("get", self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError> {
        self.around.call("get_range", self.inner.get_range(key, start, length)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        self.around.call("delete", self.inner.delete(key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>> {
        match self.around.admit("list") {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
        }
    }
}
