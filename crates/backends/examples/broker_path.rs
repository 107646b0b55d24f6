//! Our way through RabbitMQ against a bare pipelined lapin loop, on a server of its own: `broker_path [MESSAGES] [BYTES]`.
//!
//! Both publish with confirms, 256 messages on their way, and take and ack them at the same time, to and from one quorum
//! queue. Rounds of the two take turns; prints one JSON object: messages a second, the median's ratio, and each round's.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use detektor_backends::queue::{Message, Queues, Settle};
use detektor_backends::rabbitmq::{RabbitMq, RabbitOptions};
use detektor_backends::servers;
use detektor_contract::names::{CONTENT_TYPE, Queue, Work};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::json;

const QUEUE: Queue = Queue::Work(Work::Detect, 0);
/// Messages that are on their way at once, in either direction.
const WINDOW: usize = 256;
/// As the dispatcher hands over what several cameras closed at about one time.
const BATCH: usize = 4;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let given = |n: usize, default| std::env::args().nth(n).map_or(default, |text| text.parse().unwrap());
    let (messages, bytes) = (given(1, 20_000), given(2, 50_000));
    let messages = messages / WINDOW * WINDOW;
    let options = servers::RabbitMq::shared().await.vhost(20).await;
    let ours: Arc<dyn Queues> = Arc::new(RabbitMq::connect(options.clone()).await.unwrap());
    ours.open(QUEUE).await.unwrap();
    let bare = connect(&options).await;
    let body = Bytes::from((0..bytes).map(|n| n as u8).collect::<Vec<_>>());

    let (mut rounds, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..=ROUNDS {
        let found = [through_ours(&ours, &body, messages).await, through_bare(&bare, &body, messages).await];
        // The first round warms the server up.
        if round > 0 {
            rounds.push(json!({ "ours": found[0].round(), "bare": found[1].round(), "ratio": ratio(found) }));
            rates.iter_mut().zip(found).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    let [ours, bare] = medians;
    let result = json!({
        "messages": messages, "bytes": bytes, "in_flight": WINDOW,
        "ours_per_s": ours.round(), "bare_per_s": bare.round(), "ratio": ratio(medians), "rounds": rounds,
    });
    println!("{result}");
}

fn ratio([ours, bare]: [f64; 2]) -> f64 {
    (1_000.0 * ours / bare).round() / 1_000.0
}

async fn connect(options: &RabbitOptions) -> Connection {
    let password = std::fs::read_to_string(&options.password_file).unwrap();
    let url = options.url.replace("://", &format!("://{}:{}@", options.user, password.trim()));
    Connection::connect(&url, ConnectionProperties::default()).await.unwrap()
}

async fn through_ours(queues: &Arc<dyn Queues>, body: &Bytes, messages: usize) -> f64 {
    let consumer = queues.consume(&[QUEUE], WINDOW as u32).await.unwrap();
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let callers = WINDOW / BATCH;
    for _ in 0..callers {
        let (queues, message) = (Arc::clone(queues), Message { body: body.clone(), ..Message::default() });
        tasks.spawn(async move {
            for _ in 0..messages / WINDOW {
                queues.publish(QUEUE, vec![message.clone(); BATCH]).await.unwrap();
            }
        });
        let consumer = Arc::clone(&consumer);
        tasks.spawn(async move {
            for _ in 0..messages / callers {
                let delivery = consumer.receive().await.unwrap();
                consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    consumer.close().await.unwrap();
    rate
}

async fn through_bare(connection: &Connection, body: &Bytes, messages: usize) -> f64 {
    let publisher = connection.create_channel().await.unwrap();
    publisher.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let taker = connection.create_channel().await.unwrap();
    taker.basic_qos(WINDOW as u16, BasicQosOptions::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let name = QUEUE.to_string();
    let mut deliveries =
        taker.basic_consume(name.as_str().into(), "bare".into(), options, FieldTable::default()).await.unwrap();
    let begun = Instant::now();
    let publishing = publish(&publisher, &name, body, messages);
    let taking = async {
        for _ in 0..messages {
            let delivery: Delivery = deliveries.next().await.unwrap().unwrap();
            assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
        }
    };
    tokio::join!(publishing, taking);
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    for channel in [publisher, taker] {
        channel.close(200, "done".into()).await.unwrap();
    }
    rate
}

async fn publish(channel: &Channel, queue: &str, body: &Bytes, messages: usize) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type(CONTENT_TYPE.into());
    let mut confirms = FuturesOrdered::new();
    for _ in 0..messages {
        if confirms.len() == WINDOW {
            confirmed(confirms.next().await);
        }
        let publish = channel.basic_publish("".into(), queue.into(), options, body, properties.clone());
        confirms.push_back(publish.await.unwrap());
    }
    while let Some(confirm) = confirms.next().await {
        confirmed(Some(confirm));
    }
}

fn confirmed(answer: Option<lapin::Result<Confirmation>>) {
    assert!(matches!(answer, Some(Ok(Confirmation::Ack(None)))), "{answer:?}");
}
