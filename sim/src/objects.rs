//! The bucket, as its host has it and as others reach it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError, Listed};
use detektor_backends::memory::MemoryBucket;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::post::{Line, Office};

/// The host's name.
pub const BUCKET: &str = "bucket";

type Result<T> = std::result::Result<T, BucketError>;

/// The bucket as seen from another host.
pub struct RemoteBucket {
    line: Arc<Line<Arc<MemoryBucket>>>,
}

impl RemoteBucket {
    /// Reached when needed.
    pub fn new(office: &Office) -> Arc<Self> {
        Arc::new(Self { line: Arc::new(Line::new(BUCKET, office.clone())) })
    }
}

fn away() -> BucketError {
    BucketError::Unavailable { context: "no answer from the bucket".to_owned(), source: None }
}

#[async_trait]
impl Bucket for RemoteBucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let key = key.clone();
        let put = self.line.call(move |bucket| async move { bucket.put(&key, body).await });
        put.await.unwrap_or_else(|| Err(away()))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        let key = key.clone();
        let get = self.line.call(move |bucket| async move { bucket.get(&key).await });
        get.await.unwrap_or_else(|| Err(away()))
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes> {
        let key = key.clone();
        let get = self.line.call(move |bucket| async move { bucket.get_range(&key, start, length).await });
        get.await.unwrap_or_else(|| Err(away()))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let key = key.clone();
        let delete = self.line.call(move |bucket| async move { bucket.delete(&key).await });
        delete.await.unwrap_or_else(|| Err(away()))
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let (line, prefix) = (Arc::clone(&self.line), prefix.to_owned());
        let listing = async move {
            let list = line.call(move |bucket| async move { bucket.list(&prefix).collect::<Vec<_>>().await });
            stream::iter(list.await.unwrap_or_else(|| vec![Err(away())]))
        };
        stream::once(listing).flatten().boxed()
    }
}
