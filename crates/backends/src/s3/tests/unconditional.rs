//! Stores differ in conditional requests, and some take them and ignore the condition; so none may be made.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::*;

/// Lets no conditional request out.
#[derive(Debug)]
struct Unconditional;

impl Intercept for Unconditional {
    fn name(&self) -> &'static str {
        "Unconditional"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let conditional = |name: &str| name.starts_with("if-") || name.starts_with("x-amz-copy-source-if");
        match context.request().headers().iter().find(|(name, _)| conditional(&name.to_ascii_lowercase())) {
            Some((name, _)) => Err(format!("{name} is a condition").into()),
            None => Ok(()),
        }
    }
}

/// The same bucket, every one of whose requests is held to have no condition.
pub(super) fn held(bucket: S3Bucket) -> S3Bucket {
    let config = bucket.client.config().to_builder().interceptor(Unconditional);
    S3Bucket { client: Client::from_conf(config.build()), ..bucket }
}

#[tokio::test]
async fn a_condition_would_be_noticed() {
    let bucket = held(S3Bucket::new(&Minio::shared().await.bucket().await).await.unwrap());
    let put = || bucket.client.put_object().bucket(&bucket.bucket).key("a");
    put().send().await.unwrap();
    let conditional = put().if_none_match("*").send().await;
    let why = chain(&conditional.unwrap_err());
    assert!(why.contains("is a condition"), "{why}");
}
