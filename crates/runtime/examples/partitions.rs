//! Ten queues against one, on a real RabbitMQ: `partitions [SEGMENTS]`, segments a partition.
//!
//! Each partition's queue has a consumer with one permit, on the real host. An engine that waits a fixed time shows what the
//! queues cost (`fixed_wait`: the rate as a share of what so many engines could do); one that computes shows them against one
//! queue with the same workers. Prints one JSON object.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use detektor_backends::queue::{Message, Queues};
use detektor_backends::rabbitmq::{RabbitMq, RabbitOptions};
use detektor_backends::servers;
use detektor_contract::names::{Queue, Work};
use detektor_runtime::{Batch, Handler, Health, Host, HostConfig, Metrics, Reply, handler_fn};
use tokio_util::sync::CancellationToken;

const PARTITIONS: u16 = 10;
const WAIT: Duration = Duration::from_millis(50);
/// Rounds of hashing that take some milliseconds.
const ROUNDS: u64 = 40_000;
/// As large as a small segment.
const BYTES: usize = 20_000;

/// A message that was handled.
#[derive(Clone, Copy)]
struct Handled {
    /// The partition that it is of, and its number there.
    partition: u16,
    number: u64,
    /// The partition of the queue that it came from.
    from: u16,
}

type Seen = Arc<Mutex<Vec<Handled>>>;

#[derive(Clone, Copy)]
enum Engine {
    Waits,
    Computes,
}

fn handler(engine: Engine, from: u16, seen: &Seen) -> impl Handler + use<> {
    let seen = Arc::clone(seen);
    handler_fn(move |Batch(invocations)| {
        let seen = Arc::clone(&seen);
        async move {
            let mut reply = Vec::with_capacity(invocations.len());
            for invocation in invocations {
                match engine {
                    Engine::Waits => tokio::time::sleep(WAIT).await,
                    Engine::Computes => tokio::task::spawn_blocking(compute).await.unwrap(),
                }
                let header = |name: &str| invocation.message.headers[name].parse::<u64>().unwrap();
                let handled = Handled { partition: header("partition") as u16, number: header("number"), from };
                seen.lock().unwrap().push(handled);
                reply.push(Ok(Vec::new()));
            }
            Ok(Reply(reply))
        }
    })
}

fn compute() {
    let mut state = [1_u64; 64];
    for round in 0..ROUNDS {
        let at = (round % 64) as usize;
        state[at] = state[at].rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round ^ state[(at + 1) % 64];
        state.rotate_left(1);
    }
    std::hint::black_box(state);
}

/// Publishes all, then works them off from so many queues with ten permits; how long that took, and what was handled.
async fn run(options: RabbitOptions, used: u16, engine: Engine, each: u64) -> (Duration, Vec<Handled>) {
    let queues: Arc<dyn Queues> = Arc::new(RabbitMq::connect(options).await.unwrap());
    for partition in 0..PARTITIONS {
        queues.open(Queue::Work(Work::Detect, partition)).await.unwrap();
        let message = |number: u64| Message {
            body: vec![partition as u8; BYTES].into(),
            headers: BTreeMap::from([
                ("partition".to_owned(), partition.to_string()),
                ("number".to_owned(), number.to_string()),
            ]),
        };
        queues.publish(Queue::Work(Work::Detect, partition % used), (0..each).map(message).collect()).await.unwrap();
    }
    let (seen, shutdown) = (Seen::default(), CancellationToken::new());
    let mut hosts = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for worker in 0..PARTITIONS {
        let from = worker % used;
        let config = HostConfig::new(vec![Queue::Work(Work::Detect, from)]);
        let handler = handler(engine, from, &seen);
        let host = Host::new("detect", handler, Arc::clone(&queues), config, &Metrics::new(), &Health::new()).unwrap();
        let stop = shutdown.clone();
        hosts.spawn(async move { host.run(stop).await.unwrap() });
    }
    while seen.lock().unwrap().len() < usize::from(PARTITIONS) * each as usize {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    shutdown.cancel();
    while hosts.join_next().await.is_some() {}
    let handled = seen.lock().unwrap().clone();
    (took, handled)
}

fn ordered(seen: &[Handled]) -> bool {
    let mut next: BTreeMap<u16, u64> = BTreeMap::new();
    seen.iter().all(|handled| {
        let expected = next.entry(handled.partition).or_default();
        *expected += 1;
        handled.number + 1 == *expected
    })
}

#[tokio::main]
async fn main() {
    let each: u64 = std::env::args().nth(1).map_or(100, |text| text.parse().expect("a number"));
    let server = servers::RabbitMq::shared().await;
    let fresh = async || server.vhost(20).await;
    let (waiting, seen) = run(fresh().await, PARTITIONS, Engine::Waits, each).await;
    let crossed = seen.iter().filter(|handled| handled.partition != handled.from).count();
    // Interleaved, so that both see the same machine.
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let (ten, _) = run(fresh().await, PARTITIONS, Engine::Computes, each).await;
        let (one, _) = run(fresh().await, 1, Engine::Computes, each).await;
        ratios.push(one.as_secs_f64() / ten.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    let ideal = WAIT * each as u32;
    let report = serde_json::json!({
        "partitions": PARTITIONS,
        "segments": u64::from(PARTITIONS) * each,
        "message_ordering_preserved": ordered(&seen),
        "partition_efficiency": {
            "fixed_wait": rounded(ideal.as_secs_f64() / waiting.as_secs_f64()),
            "cpu_bound_against_one_queue": rounded(ratios[1]),
        },
        "cross_partition_traffic": crossed,
    });
    println!("{report}");
}
