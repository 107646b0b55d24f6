#![allow(clippy::unwrap_used)]

mod tls;
mod unconditional;

use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::conformance::Bench;
use crate::servers::Minio;

struct OnMinio {
    options: S3Options,
    bucket: Arc<S3Bucket>,
}

impl OnMinio {
    async fn fresh() -> Self {
        let options = Minio::shared().await.bucket().await;
        let bucket = Self::open(&options).await;
        Self { options, bucket }
    }

    /// Every case holds on a store that knows no conditional requests, since none is made.
    async fn open(options: &S3Options) -> Arc<S3Bucket> {
        Arc::new(unconditional::held(S3Bucket::new(options).await.unwrap()))
    }
}

#[async_trait]
impl Bench<dyn Bucket> for OnMinio {
    fn backend(&self) -> Arc<dyn Bucket> {
        Arc::clone(&self.bucket) as Arc<dyn Bucket>
    }

    async fn crash(&mut self) {
        self.bucket = Self::open(&self.options).await;
    }
}

crate::bucket_conformance!(OnMinio::fresh());

fn key(key: &str) -> ObjectKey {
    ObjectKey::parse(key).unwrap()
}

/// What was being done, and the causes of what went wrong.
fn told<T>(answer: Result<T, BucketError>) -> (String, String) {
    match answer {
        Err(BucketError::Unavailable { context, source: Some(source) }) => (context, chain(&*source)),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it worked"),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn what_is_wrong_is_said_without_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Minio::shared().await.bucket().await;
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "not-the-secret").unwrap();
    let Credentials::Files { secret_key, .. } = &mut options.credentials else { panic!() };
    *secret_key = wrong;
    let refused = S3Bucket::new(&options).await.unwrap();
    let (context, why) = told(refused.put(&key("a"), Bytes::new()).await);
    assert_eq!(context, "writing a");
    assert!(why.contains("SignatureDoesNotMatch") && !why.contains("not-the-secret"), "{why}");

    let Credentials::Files { secret_key, .. } = &mut options.credentials else { panic!() };
    *secret_key = dir.path().join("missing");
    let (_, why) = told(S3Bucket::new(&options).await);
    assert!(why.contains("missing"), "{why}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_missing_object() {
    let minio = Minio::shared().await;
    let bucket = S3Bucket::new(&minio.fresh()).await.unwrap();
    for answer in [bucket.get(&key("a")).await.map(drop), bucket.put(&key("a"), Bytes::new()).await] {
        let (_, why) = told(answer);
        assert!(why.contains("NoSuchBucket"), "{why}");
    }
    assert!(bucket.ping().await.is_err());
}
