use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::{OnPurpose, Plan};
use crate::bucket::{Bucket, BucketError, Listed};

/// A bucket under a plan. Calls: `put`, `get`, `get_range`, `delete`, `list`.
pub struct FailingBucket {
    inner: Arc<dyn Bucket>,
    plan: Arc<Plan>,
}

impl FailingBucket {
    /// Wraps a bucket.
    pub fn new(inner: Arc<dyn Bucket>, plan: Arc<Plan>) -> Arc<Self> {
        Arc::new(Self { inner, plan })
    }
}

fn error(error: OnPurpose) -> BucketError {
    BucketError::Unavailable { context: error.to_string(), source: Some(error.into()) }
}

#[async_trait]
impl Bucket for FailingBucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError> {
        self.plan.around("put", error, self.inner.put(key, body)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError> {
        self.plan.around("get", error, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError> {
        self.plan.around("get_range", error, self.inner.get_range(key, start, length)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        self.plan.around("delete", error, self.inner.delete(key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>> {
        match self.plan.next("list") {
            None => self.inner.list(prefix),
            Some(_) => stream::once(std::future::ready(Err(error(OnPurpose("list"))))).boxed(),
        }
    }
}
