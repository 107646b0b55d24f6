#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use aws_sdk_s3::types::{BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule};
use aws_sdk_s3::types::{LifecycleExpiration, LifecycleRuleFilter};

use super::*;
use crate::servers::Minio;

fn days<const N: usize>(days: [(ObjectKind, u16); N]) -> Setup {
    let days = days.map(|(kind, days)| (kind, NonZeroU16::new(days).unwrap()));
    Setup { days: BTreeMap::from(days), ..Setup::default() }
}

fn kept(kind: ObjectKind, days: u16) -> Change {
    Change::Kept(kind, NonZeroU16::new(days))
}

async fn rules(bucket: &S3Bucket) -> Vec<(String, Option<i32>)> {
    let all = bucket.client.get_bucket_lifecycle_configuration().bucket(&bucket.bucket).send().await;
    let rules = all.map(|all| all.rules.unwrap()).unwrap_or_default();
    let of = |rule: &LifecycleRule| (rule.id().unwrap().to_owned(), rule.expiration().unwrap().days());
    rules.iter().map(of).collect()
}

#[tokio::test]
async fn horizons_are_set_and_others_rules_stay() {
    let minio = Minio::shared().await;
    // It serves by then.
    minio.bucket().await;
    let bucket = S3Bucket::new(&minio.fresh()).await.unwrap();
    let setup = days([(ObjectKind::Video, 7), (ObjectKind::Log, 30)]);
    let all = [Change::Made, kept(ObjectKind::Video, 7), kept(ObjectKind::Log, 30)];
    assert_eq!(bucket.set_up(&setup).await.unwrap(), all);
    assert_eq!(bucket.set_up(&setup).await.unwrap(), []);

    let others = LifecycleRule::builder()
        .id("others")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("theirs/").build())
        .expiration(LifecycleExpiration::builder().days(3).build());
    let before = bucket.client.get_bucket_lifecycle_configuration().bucket(&bucket.bucket).send().await.unwrap();
    let rules_before = before.rules.unwrap().into_iter().chain([others.build().unwrap()]).collect();
    let with_others = BucketLifecycleConfiguration::builder().set_rules(Some(rules_before)).build().unwrap();
    let put = bucket.client.put_bucket_lifecycle_configuration().bucket(&bucket.bucket);
    put.lifecycle_configuration(with_others).send().await.unwrap();
    assert_eq!(bucket.set_up(&setup).await.unwrap(), []);

    let changed = bucket.set_up(&days([(ObjectKind::Video, 8), (ObjectKind::Events, 1)])).await.unwrap();
    let log = Change::Kept(ObjectKind::Log, None);
    assert_eq!(changed, [kept(ObjectKind::Video, 8), log, kept(ObjectKind::Events, 1)]);
    let mut now = rules(&bucket).await;
    now.sort_unstable();
    let rule = |id: &str, days| (id.to_owned(), Some(days));
    assert_eq!(now, [rule("detektor-events", 1), rule("detektor-video", 8), rule("others", 3)]);

    bucket.set_up(&Setup::default()).await.unwrap();
    assert_eq!(rules(&bucket).await, [rule("others", 3)]);
}

#[tokio::test]
async fn the_last_rule_takes_the_configuration_with_it() {
    let bucket = S3Bucket::new(&Minio::shared().await.bucket().await).await.unwrap();
    bucket.set_up(&days([(ObjectKind::Jobs, 2)])).await.unwrap();
    let gone = [Change::Kept(ObjectKind::Jobs, None)];
    assert_eq!(bucket.set_up(&Setup::default()).await.unwrap(), gone);
    assert_eq!(rules(&bucket).await, []);
    assert_eq!(bucket.set_up(&Setup::default()).await.unwrap(), []);
}

#[test]
fn changes_are_told_in_words() {
    let told = [Change::Made, kept(ObjectKind::Video, 7), Change::Kept(ObjectKind::Log, None)].map(|c| c.to_string());
    assert_eq!(told, ["made the bucket", "video/ is kept for 7 days", "log/ is kept for ever"]);
}
