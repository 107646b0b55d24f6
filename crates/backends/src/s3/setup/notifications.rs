//! Who hears of new and removed objects.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    Event, FilterRule, FilterRuleName, LambdaFunctionConfiguration, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter, TopicConfiguration,
};
use detektor_contract::{Digest, ObjectKind};
use serde::{Deserialize, Serialize};

use super::{Change, OURS, S3Bucket, incomplete};
use crate::bucket::BucketError;
use crate::s3::unavailable;

/// Who a store can notify, as AWS names it: a queue (`arn:aws:sqs:…`; MinIO names every target so, as in
/// `arn:minio:sqs::NAME:webhook`), a topic (`arn:aws:sns:…`) or a function (`arn:aws:lambda:…`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arn {
    text: String,
    service: Service,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Service {
    Queue,
    Topic,
    Function,
}

/// A text that names nobody whom a store can notify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no ARN of a queue, a topic or a function: expected arn:PARTITION:sqs, sns or lambda:REGION:ACCOUNT:NAME"
)]
pub struct InvalidArn(String);

impl FromStr for Arn {
    type Err = InvalidArn;

    fn from_str(text: &str) -> Result<Self, InvalidArn> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let service = match parts[..] {
            ["arn", _, "sqs", _, _, _] => Service::Queue,
            ["arn", _, "sns", _, _, _] => Service::Topic,
            ["arn", _, "lambda", _, _, _] => Service::Function,
            _ => return Err(InvalidArn(text.to_owned())),
        };
        Ok(Self { text: text.to_owned(), service })
    }
}

impl TryFrom<String> for Arn {
    type Error = InvalidArn;
    fn try_from(text: String) -> Result<Self, InvalidArn> {
        text.parse()
    }
}

impl From<Arn> for String {
    fn from(arn: Arn) -> String {
        arn.text
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl S3Bucket {
    pub(super) async fn set_notifications(&self, notify: &BTreeSet<Arn>) -> Result<Vec<Change>, BucketError> {
        let context = |doing: &str| format!("{doing} the notifications of the bucket {}", self.bucket);
        let current = self.client.get_bucket_notification_configuration().bucket(&self.bucket).send().await;
        let current = current.map_err(|error| unavailable(context("reading"), error))?;
        let before = NotificationConfiguration::builder()
            .set_queue_configurations(current.queue_configurations)
            .set_topic_configurations(current.topic_configurations)
            .set_lambda_function_configurations(current.lambda_function_configurations)
            .set_event_bridge_configuration(current.event_bridge_configuration)
            .build();
        let (after, changes) = merged(before, notify).map_err(|error| incomplete(context("making"), error))?;
        if !changes.is_empty() {
            let put = self.client.put_bucket_notification_configuration().bucket(&self.bucket);
            let put = put.notification_configuration(after).send().await;
            put.map_err(|error| unavailable(context("writing"), error))?;
        }
        Ok(changes)
    }
}

/// The notifications as they are to be, and what of that is new. Those of others stay as they are.
fn merged(
    mut now: NotificationConfiguration,
    notify: &BTreeSet<Arn>,
) -> Result<(NotificationConfiguration, Vec<Change>), BuildError> {
    let mut mine = taken(&mut now);
    let mut changes = Vec::new();
    for kind in ObjectKind::NOTIFIED {
        for arn in notify {
            let wanted = Notification::wanted(kind, arn);
            match mine.iter().position(|notification| *notification == wanted) {
                Some(there) => drop(mine.swap_remove(there)),
                None => changes.push(Change::Notified(kind, arn.clone())),
            }
            wanted.add_to(&mut now)?;
        }
    }
    // What is only replaced has been told of already.
    let replaced =
        |id: &str| notify.iter().any(|arn| ObjectKind::NOTIFIED.iter().any(|kind| id == self::id(*kind, arn)));
    let mut removed: Vec<_> = mine.into_iter().map(|old| old.id).filter(|id| !replaced(id)).collect();
    removed.sort_unstable();
    changes.extend(removed.into_iter().map(Change::Removed));
    Ok((now, changes))
}

/// The same for one who hears of one kind, wherever it stands in the list.
fn id(kind: ObjectKind, arn: &Arn) -> String {
    let digest = Digest::of(arn.text.as_bytes()).to_string();
    format!("{OURS}{kind}-{}", &digest[..12])
}

/// One notification of ours, as all three kinds of configuration have it.
#[derive(Debug, PartialEq)]
struct Notification {
    id: String,
    arn: String,
    service: Service,
    events: Vec<Event>,
    prefix: Option<String>,
}

impl Notification {
    fn wanted(kind: ObjectKind, arn: &Arn) -> Self {
        Self {
            id: id(kind, arn),
            arn: arn.text.clone(),
            service: arn.service,
            events: vec![Event::S3ObjectCreated, Event::S3ObjectRemoved],
            prefix: Some(kind.prefix()),
        }
    }

    fn there(
        id: Option<String>,
        arn: String,
        service: Service,
        mut events: Vec<Event>,
        filter: Option<&NotificationConfigurationFilter>,
    ) -> Self {
        events.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let rules = filter.and_then(NotificationConfigurationFilter::key).map(S3KeyFilter::filter_rules);
        let prefix = match rules {
            // AWS writes the name with a capital.
            Some([rule]) if rule.name().is_some_and(|name| name.as_str().eq_ignore_ascii_case("prefix")) => {
                rule.value().map(str::to_owned)
            }
            _ => None,
        };
        Self { id: id.unwrap_or_default(), arn, service, events, prefix }
    }

    fn add_to(self, all: &mut NotificationConfiguration) -> Result<(), BuildError> {
        let rule = FilterRule::builder().name(FilterRuleName::Prefix).set_value(self.prefix).build();
        let key = S3KeyFilter::builder().filter_rules(rule).build();
        let filter = NotificationConfigurationFilter::builder().key(key).build();
        match self.service {
            Service::Queue => {
                let queue = QueueConfiguration::builder().id(self.id).queue_arn(self.arn);
                let queue = queue.set_events(Some(self.events)).filter(filter).build()?;
                all.queue_configurations.get_or_insert_default().push(queue);
            }
            Service::Topic => {
                let topic = TopicConfiguration::builder().id(self.id).topic_arn(self.arn);
                let topic = topic.set_events(Some(self.events)).filter(filter).build()?;
                all.topic_configurations.get_or_insert_default().push(topic);
            }
            Service::Function => {
                let function = LambdaFunctionConfiguration::builder().id(self.id).lambda_function_arn(self.arn);
                let function = function.set_events(Some(self.events)).filter(filter).build()?;
                all.lambda_function_configurations.get_or_insert_default().push(function);
            }
        }
        Ok(())
    }
}

/// Takes out what is ours.
fn taken(all: &mut NotificationConfiguration) -> Vec<Notification> {
    let ours = |id: Option<&str>| id.is_some_and(|id| id.starts_with(OURS));
    let queues = all.queue_configurations.iter_mut().flat_map(|of| of.extract_if(.., |queue| ours(queue.id())));
    let queues = queues.map(|queue| {
        Notification::there(queue.id, queue.queue_arn, Service::Queue, queue.events, queue.filter.as_ref())
    });
    let topics = all.topic_configurations.iter_mut().flat_map(|of| of.extract_if(.., |topic| ours(topic.id())));
    let topics = topics.map(|topic| {
        Notification::there(topic.id, topic.topic_arn, Service::Topic, topic.events, topic.filter.as_ref())
    });
    let functions = all.lambda_function_configurations.iter_mut();
    let functions = functions.flat_map(|of| of.extract_if(.., |function| ours(function.id())));
    let functions = functions
        .map(|of| Notification::there(of.id, of.lambda_function_arn, Service::Function, of.events, of.filter.as_ref()));
    queues.chain(topics).chain(functions).collect()
}

#[cfg(test)]
mod tests;
