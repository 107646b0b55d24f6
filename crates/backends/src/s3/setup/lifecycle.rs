//! How long objects are kept.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use detektor_contract::ObjectKind;

use super::{Change, OURS, S3Bucket, incomplete};
use crate::bucket::BucketError;
use crate::s3::unavailable;

impl S3Bucket {
    pub(super) async fn set_lifecycle(
        &self,
        days: &BTreeMap<ObjectKind, NonZeroU16>,
    ) -> Result<Vec<Change>, BucketError> {
        let context = |doing: &str| format!("{doing} the lifecycle rules of the bucket {}", self.bucket);
        let (current, smallest) =
            match self.client.get_bucket_lifecycle_configuration().bucket(&self.bucket).send().await {
                Ok(current) => (current.rules.unwrap_or_default(), current.transition_default_minimum_object_size),
                Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => (Vec::new(), None),
                Err(error) => return Err(unavailable(context("reading"), error)),
            };
        let (rules, changes) = merged(current, days).map_err(|error| incomplete(context("making"), error))?;
        if changes.is_empty() {
            return Ok(changes);
        }
        if rules.is_empty() {
            // A configuration without rules is none.
            let delete = self.client.delete_bucket_lifecycle().bucket(&self.bucket).send().await;
            delete.map_err(|error| unavailable(context("removing"), error))?;
        } else {
            let all = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build();
            let all = all.map_err(|error| incomplete(context("making"), error))?;
            let put =
                self.client.put_bucket_lifecycle_configuration().bucket(&self.bucket).lifecycle_configuration(all);
            let put = put.set_transition_default_minimum_object_size(smallest).send().await;
            put.map_err(|error| unavailable(context("writing"), error))?;
        }
        Ok(changes)
    }
}

/// The rules as they are to be, and what of that is new: those of others, and then ours.
fn merged(
    current: Vec<LifecycleRule>,
    days: &BTreeMap<ObjectKind, NonZeroU16>,
) -> Result<(Vec<LifecycleRule>, Vec<Change>), BuildError> {
    let ours = |rule: &LifecycleRule| rule.id().is_some_and(|id| id.starts_with(OURS));
    let (mine, mut rules): (Vec<_>, Vec<_>) = current.into_iter().partition(ours);
    let mut changes = Vec::new();
    for kind in ObjectKind::ALL {
        let before = mine.iter().find(|rule| rule.id() == Some(id(kind).as_str()));
        let wanted = days.get(&kind).map(|days| rule(kind, *days)).transpose()?;
        let as_wanted = match (before, &wanted) {
            (Some(before), Some(wanted)) => same(before, wanted),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !as_wanted {
            changes.push(Change::Kept(kind, days.get(&kind).copied()));
        }
        rules.extend(wanted);
    }
    let known = |rule: &&LifecycleRule| ObjectKind::ALL.iter().any(|kind| rule.id() == Some(id(*kind).as_str()));
    let unknown = mine.iter().filter(|rule| !known(rule)).filter_map(LifecycleRule::id);
    changes.extend(unknown.map(|id| Change::Removed(id.to_owned())));
    Ok((rules, changes))
}

fn id(kind: ObjectKind) -> String {
    format!("{OURS}{kind}")
}

fn rule(kind: ObjectKind, days: NonZeroU16) -> Result<LifecycleRule, BuildError> {
    LifecycleRule::builder()
        .id(id(kind))
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(kind.prefix()).build())
        .expiration(LifecycleExpiration::builder().days(i32::from(days.get())).build())
        .build()
}

/// Whether a rule does what is wanted. Stores fill in fields of their own, so those that matter are compared.
fn same(rule: &LifecycleRule, wanted: &LifecycleRule) -> bool {
    let prefix = |rule: &LifecycleRule| rule.filter().and_then(LifecycleRuleFilter::prefix).map(str::to_owned);
    let days = |rule: &LifecycleRule| rule.expiration().and_then(LifecycleExpiration::days);
    prefix(rule) == prefix(wanted) && days(rule) == days(wanted) && rule.status() == wanted.status()
}
