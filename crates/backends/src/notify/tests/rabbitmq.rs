use aws_lambda_events::event::s3::S3Event;
use lapin::ExchangeKind;
use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::*;
use crate::rabbitmq::broker::Broker;
use crate::servers::RabbitMq;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_hands_notifications_on() {
    let at = RabbitMq::shared().await.vhost(3).await;
    let dir = tempfile::tempdir().unwrap();
    let exchange = Exchange::new(ExchangeOptions {
        url: at.url.clone(),
        user: at.user.clone(),
        password_file: at.password_file.clone(),
        ca_file: None,
        exchange: "objects".to_owned(),
        routing_key: "driveway".to_owned(),
    });
    let bucket = notifying(&dir, Arc::new(exchange.unwrap())).await;

    // There is no such exchange yet.
    let Err(BucketError::Unavailable { .. }) = bucket.put(&key(EVENT), BODY).await else { panic!() };

    let broker = Broker::new(&at.url, at.user, &at.password_file, None).unwrap();
    let channel = broker.connect().await.unwrap().create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare("objects".into(), ExchangeKind::Direct, durable, FieldTable::default()).await.unwrap();
    // Nobody is bound to it, which is told and costs these notifications.
    bucket.put(&key(EVENT), BODY).await.unwrap();

    channel.queue_declare("heard".into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let (to, by, none) = (QueueBindOptions::default(), "driveway".into(), FieldTable::default());
    channel.queue_bind("heard".into(), "objects".into(), by, to, none).await.unwrap();
    bucket.put(&key(EVENT), BODY).await.unwrap();
    // It was confirmed, so it is there.
    let got = channel.basic_get("heard".into(), BasicGetOptions::default()).await.unwrap().unwrap();
    let event: S3Event = serde_json::from_slice(&got.delivery.data).unwrap();
    assert_eq!(event.records[0].s3.object.key.as_deref(), Some(EVENT));
    assert!(channel.basic_get("heard".into(), BasicGetOptions::default()).await.unwrap().is_none());
}
