#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use aws_lambda_events::event::s3::S3Event;
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::StreamExt as _;
use lapin::ExchangeKind;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use percent_encoding::percent_decode_str;

use super::*;
use crate::bucket::Bucket as _;
use crate::rabbitmq::broker::Broker;
use crate::s3::setup::Setup;
use crate::servers::{Minio, MinioSetup, RabbitMq, Receiver};

fn arn(text: &str) -> Arn {
    text.parse().unwrap()
}

#[test]
fn an_arn_says_what_it_names() {
    for (text, service) in [
        ("arn:aws:sqs:eu-central-1:123456789012:objects", Service::Queue),
        ("arn:minio:sqs::OURS:webhook", Service::Queue),
        ("arn:aws-cn:sns:cn-north-1:123456789012:objects", Service::Topic),
        ("arn:aws:lambda:us-east-1:123456789012:function:objects:1", Service::Function),
    ] {
        assert_eq!(arn(text).service, service);
        assert_eq!(arn(text).to_string(), text);
    }
    for other in ["", "objects", "arn:aws:s3:::bucket", "arn:aws:sqs", "https://sqs/objects"] {
        assert!(other.parse::<Arn>().unwrap_err().to_string().contains(other));
    }
}

#[test]
fn every_service_has_its_list_and_others_stay() {
    let all = ["sqs", "sns", "lambda"].map(|service| arn(&format!("arn:aws:{service}:r:1:n")));
    let (now, changes) = merged(NotificationConfiguration::builder().build(), &all.clone().into()).unwrap();
    assert_eq!(changes.len(), 9);
    let lengths = |now: &NotificationConfiguration| {
        let (queues, topics) = (now.queue_configurations(), now.topic_configurations());
        [queues.len(), topics.len(), now.lambda_function_configurations().len()]
    };
    assert_eq!(lengths(&now), [3, 3, 3]);

    // What AWS writes with a capital is the same, and what is not ours is left alone.
    let mut now = now;
    for queue in now.queue_configurations.iter_mut().flatten() {
        let rule = FilterRule::builder()
            .name("Prefix".into())
            .value(queue.filter.as_ref().unwrap().key().unwrap().filter_rules()[0].value().unwrap());
        let key = S3KeyFilter::builder().filter_rules(rule.build()).build();
        queue.filter = Some(NotificationConfigurationFilter::builder().key(key).build());
        queue.events.reverse();
    }
    let id = "others".to_owned();
    Notification { id, ..Notification::wanted(ObjectKind::Events, &all[1]) }.add_to(&mut now).unwrap();
    let (same, changes) = merged(now, &all.clone().into()).unwrap();
    assert_eq!((lengths(&same), changes), ([3, 4, 3], Vec::new()));

    let (now, changes) = merged(same, &[all[2].clone()].into()).unwrap();
    assert_eq!((lengths(&now), changes.len()), ([0, 1, 3], 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_notifies_whom_it_is_told_to() {
    let mut receiver = Receiver::start().await;
    let environment = vec![
        ("MINIO_NOTIFY_WEBHOOK_ENABLE_OURS", "on".to_owned()),
        ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_OURS", receiver.url.clone()),
        ("MINIO_NOTIFY_WEBHOOK_ENABLE_THEIRS", "on".to_owned()),
        ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_THEIRS", receiver.url.clone()),
    ];
    let minio = Minio::start(MinioSetup { environment, ..MinioSetup::default() }).await;
    let bucket = S3Bucket::new(&minio.bucket().await).await.unwrap();
    let [ours, theirs] =
        ["OURS", "THEIRS"].map(|name| format!("arn:minio:sqs::{name}:webhook").parse::<Arn>().unwrap());

    // Others have a notification of their own.
    let mut all = NotificationConfiguration::builder().build();
    let (id, prefix) = ("others".to_owned(), Some("theirs/".to_owned()));
    Notification { id, prefix, ..Notification::wanted(ObjectKind::Events, &theirs) }.add_to(&mut all).unwrap();
    let put = bucket.client.put_bucket_notification_configuration().bucket(&bucket.bucket);
    put.notification_configuration(all).send().await.unwrap();

    let setup = Setup { notify: [ours.clone()].into(), ..Setup::default() };
    let all = ObjectKind::NOTIFIED.map(|kind| Change::Notified(kind, ours.clone()));
    assert_eq!(bucket.set_up(&setup).await.unwrap(), all);
    assert_eq!(bucket.set_up(&setup).await.unwrap(), []);

    let event = "events/gate/media/gate.1.2.3.0.json";
    let keys = ["video/gate/1/2.mp4", event, "snapshots/gate/1/2-0003.jpg", "quarantine/gate/1/2-0.job", "theirs/a"];
    for name in keys {
        bucket.put(&ObjectKey::parse(name).unwrap(), Bytes::from_static(b"{}")).await.unwrap();
    }
    bucket.delete(&ObjectKey::parse(event).unwrap()).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 5 {
        for record in receiver.next().await.event().records {
            let (name, object) = (record.event_name.unwrap(), record.s3.object);
            let key = object.key.unwrap();
            let key = percent_decode_str(&key).decode_utf8().unwrap().into_owned();
            // MinIO has a prefix that AWS has not.
            heard.push((name.trim_start_matches("s3:").to_owned(), key, object.size));
        }
    }
    heard.sort_unstable();
    let mut expected =
        keys[1..].iter().map(|key| ("ObjectCreated:Put".to_owned(), (*key).to_owned(), Some(2))).collect::<Vec<_>>();
    expected.push(("ObjectRemoved:Delete".to_owned(), event.to_owned(), None));
    expected.sort_unstable();
    assert_eq!(heard, expected);

    let changes = bucket.set_up(&Setup::default()).await.unwrap();
    assert!(changes.len() == 3 && changes.iter().all(|change| matches!(change, Change::Removed(_))), "{changes:?}");
    let left = bucket.client.get_bucket_notification_configuration().bucket(&bucket.bucket).send().await.unwrap();
    assert_eq!(left.queue_configurations().iter().map(|queue| queue.id().unwrap()).collect::<Vec<_>>(), ["others"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_notifies_an_exchange_of_rabbitmq() {
    let at = RabbitMq::shared().await.vhost(3).await;
    let password = std::fs::read_to_string(&at.password_file).unwrap();
    let url = at.url.replacen("amqp://", &format!("amqp://{}:{password}@", at.user), 1);
    let broker = Broker::new(&at.url, at.user, &at.password_file, None).unwrap();
    let connection = broker.connect().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare("objects".into(), ExchangeKind::Direct, durable, FieldTable::default()).await.unwrap();
    channel.queue_declare("heard".into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let (to, by, none) = (QueueBindOptions::default(), "driveway".into(), FieldTable::default());
    channel.queue_bind("heard".into(), "objects".into(), by, to, none).await.unwrap();

    let environment = vec![
        ("MINIO_NOTIFY_AMQP_ENABLE_OURS", "on".to_owned()),
        ("MINIO_NOTIFY_AMQP_URL_OURS", url),
        ("MINIO_NOTIFY_AMQP_EXCHANGE_OURS", "objects".to_owned()),
        ("MINIO_NOTIFY_AMQP_EXCHANGE_TYPE_OURS", "direct".to_owned()),
        ("MINIO_NOTIFY_AMQP_ROUTING_KEY_OURS", "driveway".to_owned()),
        ("MINIO_NOTIFY_AMQP_DURABLE_OURS", "on".to_owned()),
        ("MINIO_NOTIFY_AMQP_DELIVERY_MODE_OURS", "2".to_owned()),
    ];
    let minio = Minio::start(MinioSetup { environment, ..MinioSetup::default() }).await;
    let bucket = S3Bucket::new(&minio.bucket().await).await.unwrap();
    let notify = [arn("arn:minio:sqs::OURS:amqp")].into();
    bucket.set_up(&Setup { notify, ..Setup::default() }).await.unwrap();
    let key = ObjectKey::parse("events/gate/media/gate.1.2.3.0.json").unwrap();
    bucket.put(&key, Bytes::from_static(b"{}")).await.unwrap();

    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut heard = channel.basic_consume("heard".into(), "".into(), options, none).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(20), heard.next());
    let delivery = next.await.expect("MinIO publishes nothing").unwrap().unwrap();
    let event: S3Event = serde_json::from_slice(&delivery.data).unwrap();
    let said = event.records[0].s3.object.key.as_deref().unwrap();
    assert_eq!(percent_decode_str(said).decode_utf8().unwrap(), key.as_str());
}
