//! Sets a bucket up: that it is there, how long what is in it is kept, and who hears of it.
//!
//! Setting up twice changes nothing the second time. What others set on the same bucket stays: ours are the lifecycle rules and
//! notifications whose ids begin with `detektor-`.

mod lifecycle;
mod notifications;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;

use aws_sdk_s3::error::BuildError;
use detektor_contract::ObjectKind;

pub use self::notifications::{Arn, InvalidArn};
use super::S3Bucket;
use crate::bucket::BucketError;

/// What the id of everything that is ours begins with.
const OURS: &str = "detektor-";

/// What a bucket is to be like.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Days that objects are kept, by kind. A kind that is not named is kept for ever.
    pub days: BTreeMap<ObjectKind, NonZeroU16>,
    /// Who hears of new and removed objects of the kinds that others may want to hear of. AWS takes one at most: two that hear of
    /// the same object it refuses.
    pub notify: BTreeSet<Arn>,
}

/// What setting up changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The bucket was not there.
    Made,
    /// How many days objects of a kind are kept, or that they are kept for ever.
    Kept(ObjectKind, Option<NonZeroU16>),
    /// Who hears of objects of a kind from now on.
    Notified(ObjectKind, Arn),
    /// A rule or a notification of ours, by its id, that is of no use any more.
    Removed(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made => f.write_str("made the bucket"),
            Self::Kept(kind, Some(days)) => write!(f, "{kind}/ is kept for {days} days"),
            Self::Kept(kind, None) => write!(f, "{kind}/ is kept for ever"),
            Self::Notified(kind, arn) => write!(f, "{arn} hears of {kind}/"),
            Self::Removed(id) => write!(f, "removed {id}"),
        }
    }
}

impl S3Bucket {
    /// Makes the bucket what it is to be like. Answers what that changed, in order; nothing where it was like that.
    pub async fn set_up(&self, setup: &Setup) -> Result<Vec<Change>, BucketError> {
        let mut changes = Vec::new();
        if self.create().await? {
            changes.push(Change::Made);
        }
        changes.extend(self.set_lifecycle(&setup.days).await?);
        changes.extend(self.set_notifications(&setup.notify).await?);
        Ok(changes)
    }
}

fn incomplete(context: String, error: BuildError) -> BucketError {
    BucketError::Unavailable { context, source: Some(error.into()) }
}

#[cfg(test)]
mod tests;
