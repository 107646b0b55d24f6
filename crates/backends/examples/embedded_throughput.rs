//! How much the embedded backends carry, as one JSON object: messages a second through the queue, transactions a second
//! into the event store, objects a second into the bucket.
//!
//! `cargo run --release -p detektor-backends --example embedded_throughput [DIRECTORY]`; the directory says which disk.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::queue::{Message, Queues, Settle};
use detektor_contract::names::{Queue, Work};
use detektor_contract::{CameraId, Epoch, ObjectKey, SegmentId};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const QUEUE: Queue = Queue::Work(Work::Detect, 0);
const BODY: usize = 100_000;
const MESSAGES: usize = 4_000;
/// As many publishers and workers as cameras.
const CALLERS: usize = 100;

#[tokio::main]
async fn main() -> Outcome<()> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = given.unwrap_or_else(std::env::temp_dir).join(format!("embedded-throughput-{}", std::process::id()));
    let measured = measure(&dir).await;
    tokio::fs::remove_dir_all(&dir).await?;
    println!("{}", measured?);
    Ok(())
}

async fn measure(dir: &std::path::Path) -> Outcome<serde_json::Value> {
    let open = Embedded::open(dir, Options::default()).await?;
    let queues = open.queues();
    let (alone, one_by_one) = publish(&queues, 1, MESSAGES / 20).await?;
    let receive_alone = receive(&queues, 1, MESSAGES / 20).await?;
    let (together, latencies) = publish(&queues, CALLERS, MESSAGES).await?;
    let receive_together = receive(&queues, CALLERS, MESSAGES).await?;
    let both = tokio::try_join!(publish(&queues, CALLERS, MESSAGES), receive(&queues, CALLERS, MESSAGES))?;
    let (merges, puts) = (merge(&open, 500).await?, put(&open, 500).await?);
    open.close().await;
    Ok(json!({
        "body_bytes": BODY,
        "callers": CALLERS,
        "publish_confirm_per_s": { "one_caller": alone, "all_callers": together, "while_receiving": both.0.0 },
        "publish_confirm_ms": { "one_caller": one_by_one, "all_callers": latencies },
        "receive_ack_per_s": { "one_caller": receive_alone, "all_callers": receive_together, "while_publishing": both.1 },
        "empty_merges_per_s": merges,
        "puts_per_s": puts,
    }))
}

fn rate(count: usize, took: Duration) -> f64 {
    (count as f64 / took.as_secs_f64()).round()
}

async fn publish(queues: &Arc<dyn Queues>, callers: usize, messages: usize) -> Outcome<(f64, serde_json::Value)> {
    let body = Bytes::from((0..BODY).map(|n| n as u8).collect::<Vec<_>>());
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (queues, body) = (Arc::clone(queues), body.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for _ in 0..messages / callers {
                let begun = Instant::now();
                queues.publish(QUEUE, vec![Message { body: body.clone(), ..Message::default() }]).await?;
                latencies.push(begun.elapsed());
            }
            Outcome::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(some) = tasks.join_next().await {
        latencies.extend(some??);
    }
    let took = begun.elapsed();
    latencies.sort_unstable();
    let ms = |share: usize| (latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 100_000.0).round() / 100.0;
    Ok((rate(messages, took), json!({ "p50": ms(50), "p99": ms(99) })))
}

async fn receive(queues: &Arc<dyn Queues>, callers: usize, messages: usize) -> Outcome<f64> {
    let consumer = queues.consume(&[QUEUE], callers as u32).await?;
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let consumer = Arc::clone(&consumer);
        tasks.spawn(async move {
            for _ in 0..messages / callers {
                let delivery = consumer.receive().await?;
                consumer.settle(delivery.tag, Settle::Ack).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = begun.elapsed();
    consumer.close().await?;
    Ok(rate(messages, took))
}

/// Transactions that write one camera's row.
async fn merge(open: &Embedded, count: usize) -> Outcome<f64> {
    let store = open.store();
    let begun = Instant::now();
    for n in 0..count {
        let camera = CameraId::new(format!("camera-{n}"))?;
        store.begin_merge(&[camera]).await?.commit().await?;
    }
    Ok(rate(count, begun.elapsed()))
}

async fn put(open: &Embedded, count: usize) -> Outcome<f64> {
    let bucket = open.bucket();
    let body = Bytes::from(vec![7; BODY]);
    let camera = CameraId::new("gate")?;
    let begun = Instant::now();
    for n in 0..count as u64 {
        let id = SegmentId { camera: camera.clone(), epoch: Epoch(1), sequence: n };
        bucket.put(&ObjectKey::video(&id), body.clone()).await?;
    }
    Ok(rate(count, begun.elapsed()))
}
