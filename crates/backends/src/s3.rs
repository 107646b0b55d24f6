//! A bucket in an S3 store: AWS's, or anybody's that speaks its protocol.
//!
//! Nothing here relies on conditional writes, which not every store has: keys carry their content's digest or derive from
//! a segment's name, so that to write an object twice leaves the same object.

mod client;
pub mod setup;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::head_bucket::{HeadBucketError, HeadBucketOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

pub use self::client::{Credentials, S3Options};
use crate::bucket::{Bucket, BucketError, Listed, whole_parts};

/// The region where none is said: of a store that has none, and of a bucket that is made without naming one (this one must
/// not be named).
pub const DEFAULT_REGION: &str = "us-east-1";

/// A bucket in an S3 store.
pub struct S3Bucket {
    client: Client,
    bucket: String,
}

impl S3Bucket {
    /// A bucket as `options` says. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// Where a file that `options` names cannot be read.
    pub async fn new(options: &S3Options) -> Result<Self, BucketError> {
        Ok(Self { client: client::client(options).await?, bucket: options.bucket.clone() })
    }

    /// Makes the bucket, unless it is there. Answers whether it did.
    pub async fn create(&self) -> Result<bool, BucketError> {
        // Whoever may use a bucket may not be allowed to make one.
        match self.head().await {
            Ok(_) => return Ok(false),
            Err(error) if error.as_service_error().is_some_and(HeadBucketError::is_not_found) => {}
            Err(error) => return Err(unavailable(format!("asking for the bucket {}", self.bucket), error)),
        }
        let region = self.client.config().region().map(AsRef::as_ref).filter(|region| *region != DEFAULT_REGION);
        let place = region.map(|region| {
            CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build()
        });
        match self.client.create_bucket().bucket(&self.bucket).set_create_bucket_configuration(place).send().await {
            Ok(_) => Ok(true),
            // Another was faster.
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(false),
            Err(error) => Err(unavailable(format!("making the bucket {}", self.bucket), error)),
        }
    }

    /// A trivial round trip, for readiness.
    pub async fn ping(&self) -> Result<(), BucketError> {
        let answer = self.head().await;
        answer.map(drop).map_err(|error| unavailable(format!("asking for the bucket {}", self.bucket), error))
    }

    async fn head(&self) -> Result<HeadBucketOutput, SdkError<HeadBucketError>> {
        self.client.head_bucket().bucket(&self.bucket).send().await
    }

    async fn object(
        &self,
        key: &ObjectKey,
        range: Option<String>,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError>> {
        self.client.get_object().bucket(&self.bucket).key(key.as_str()).set_range(range).send().await
    }

    async fn length(&self, key: &ObjectKey) -> Result<u64, BucketError> {
        match self.client.head_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(head) => Ok(unsigned(head.content_length())),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                Err(BucketError::NotFound(key.clone()))
            }
            Err(error) => Err(unavailable(format!("asking for {key}"), error)),
        }
    }
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError> {
        let put = self.client.put_object().bucket(&self.bucket).key(key.as_str()).body(ByteStream::from(body));
        put.send().await.map(drop).map_err(|error| unavailable(format!("writing {key}"), error))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError> {
        let object = self.object(key, None).await.map_err(|error| not_read(key, error))?;
        whole(key, object).await
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError> {
        if length == 0 {
            let bytes = self.length(key).await?;
            return if start < bytes { Ok(Bytes::new()) } else { Err(outside(key, bytes, start)) };
        }
        // Some stores take a number of 63 bits at most.
        let most = i64::MAX.unsigned_abs();
        let (first, last) = (start.min(most), start.saturating_add(length - 1).min(most));
        match self.object(key, Some(format!("bytes={first}-{last}"))).await {
            Ok(object) => whole(key, object).await,
            Err(error) if error.code() == Some("InvalidRange") => Err(outside(key, self.length(key).await?, start)),
            Err(error) => Err(not_read(key, error)),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(key.as_str());
        delete.send().await.map(drop).map_err(|error| unavailable(format!("removing {key}"), error))
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>> {
        if let Err(error) = whole_parts(prefix) {
            return stream::once(std::future::ready(Err(error))).boxed();
        }
        let pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let context = format!("listing {prefix:?}");
        let page = stream::try_unfold((pages, context), |(mut pages, context)| async move {
            match pages.next().await {
                None => Ok(None),
                Some(Err(error)) => Err(unavailable(context, error)),
                Some(Ok(page)) => {
                    // What is not ours has another kind of name.
                    let listed: Vec<_> = page.contents().iter().filter_map(listed).map(Ok).collect();
                    Ok(Some((stream::iter(listed), (pages, context))))
                }
            }
        });
        page.try_flatten().boxed()
    }
}

fn listed(object: &aws_sdk_s3::types::Object) -> Option<Listed> {
    let key = ObjectKey::parse(object.key()?).ok()?;
    Some(Listed { key, bytes: unsigned(object.size()) })
}

async fn whole(key: &ObjectKey, object: GetObjectOutput) -> Result<Bytes, BucketError> {
    let body = object.body.collect().await;
    body.map(|body| body.into_bytes())
        .map_err(|error| BucketError::Unavailable { context: format!("reading {key}"), source: Some(Box::new(error)) })
}

fn unsigned(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}

fn outside(key: &ObjectKey, bytes: u64, start: u64) -> BucketError {
    BucketError::Range { key: key.clone(), bytes, start }
}

fn not_read(key: &ObjectKey, error: SdkError<GetObjectError>) -> BucketError {
    match error.as_service_error() {
        Some(GetObjectError::NoSuchKey(_)) => BucketError::NotFound(key.clone()),
        _ => unavailable(format!("reading {key}"), error),
    }
}

fn unavailable<E, R>(context: String, error: SdkError<E, R>) -> BucketError
where
    SdkError<E, R>: std::error::Error + Send + Sync + 'static,
{
    BucketError::Unavailable { context, source: Some(error.into()) }
}

#[cfg(test)]
mod tests;
