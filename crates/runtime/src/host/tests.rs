#![allow(clippy::unwrap_used, clippy::expect_used)]

mod any_order;
mod double;
mod draining;
mod failures;
mod outages;
mod partitions;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use detektor_backends::queue::Message;
use detektor_contract::names::{
    HEADER_CLOSED_AT, HEADER_PUBLISHED_AT, HEADER_TAKEN_AT, HEADER_TRACEPARENT, Queue, Work,
};
use tokio::task::JoinHandle;

use super::*;
use crate::handler::{Batch, HandlerError, Output, Reply, handler_fn};
use crate::telemetry::Trace;
use double::{Memory, body};

const JOBS: Queue = Queue::Work(Work::Detect, 3);
const OUTCOMES: Queue = Queue::Work(Work::Merge, 3);
const DEAD: Queue = Queue::Dead(Work::Detect);

/// What the handler does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Succeed,
    Away,
    Refuse,
    Panic,
    Hang,
}

/// What the handler does with each message, call after call; after that, and with all others, it succeeds.
type Script = HashMap<String, VecDeque<Act>>;

struct Bench {
    queue: Memory,
    script: Arc<Mutex<Script>>,
    config: HostConfig,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        Self {
            queue: Memory::default(),
            script: Arc::default(),
            config: HostConfig::new(vec![JOBS]),
            health: Health::new(),
            metrics: Metrics::new(),
            shutdown: CancellationToken::new(),
        }
    }

    fn batches(mut self, permits: u32, batch_max: u32) -> Self {
        (self.config.permits, self.config.batch_max) = (permits, batch_max);
        self
    }

    fn act(&self, message: &str, acts: &[Act]) {
        self.script.lock().unwrap().insert(message.to_owned(), acts.iter().copied().collect());
    }

    /// Starts a host whose handler takes `time` over a batch, follows the script, and answers `x` with `x!`.
    fn start(&self, time: Duration) -> JoinHandle<HostReport> {
        let (queue, script) = (self.queue.clone(), Arc::clone(&self.script));
        self.start_with(handler_fn(move |Batch(invocations)| {
            let (queue, script) = (queue.clone(), Arc::clone(&script));
            async move {
                let bodies: Vec<_> = invocations.iter().map(|i| body(&i.message)).collect();
                queue.note(format!("call {}", bodies.join(" ")));
                tokio::time::sleep(time).await;
                let acts = next_acts(&mut script.lock().unwrap(), &bodies);
                if acts.contains(&Act::Hang) {
                    std::future::pending::<()>().await;
                }
                assert!(!acts.contains(&Act::Panic), "poisoned");
                Ok(Reply(bodies.iter().zip(acts).map(|(body, act)| answer(body, act)).collect()))
            }
        }))
    }

    fn start_with(&self, handler: impl Handler) -> JoinHandle<HostReport> {
        let queues = Arc::new(self.queue.clone());
        let host = Host::new("detect", handler, queues, self.config.clone(), &self.metrics, &self.health).unwrap();
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move { host.run(shutdown).await.unwrap() })
    }

    /// Runs until the messages that are there are worked off.
    async fn run(&self) -> HostReport {
        self.queue.end();
        self.start(Duration::from_millis(1)).await.unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let log = self.queue.log();
        log.iter().filter_map(|line| line.strip_prefix("call ").map(str::to_owned)).collect()
    }
}

/// One that panics or hangs takes the batch with it: then the others' acts stay for the next call.
fn next_acts(script: &mut Script, bodies: &[String]) -> Vec<Act> {
    let next = |script: &Script, body: &String| script.get(body).and_then(|acts| acts.front().copied());
    let wild = bodies.iter().find(|body| matches!(next(script, body), Some(Act::Panic | Act::Hang)));
    let pop = |body: &String| script.get_mut(body).and_then(VecDeque::pop_front).unwrap_or(Act::Succeed);
    wild.map_or(bodies, std::slice::from_ref).iter().map(pop).collect()
}

fn answer(body: &str, act: Act) -> Result<Vec<Output>, HandlerError> {
    match act {
        Act::Succeed => {
            let message = Message { body: format!("{body}!").into(), ..Message::default() };
            Ok(vec![Output { work: Work::Merge, message }])
        }
        Act::Away => Err(HandlerError::transient("bucket away")),
        Act::Refuse => Err(HandlerError::permanent("no video in it")),
        Act::Panic | Act::Hang => unreachable!("done before"),
    }
}

#[tokio::test(start_paused = true)]
async fn three_events_and_the_end() {
    let bench = Bench::new();
    for body in ["a", "b", "c"] {
        bench.queue.put(JOBS, body);
    }
    let report = bench.run().await;
    assert_eq!(report, HostReport { done: 3, ..HostReport::default() });
    assert_eq!(bench.queue.bodies(OUTCOMES), ["a!", "b!", "c!"]);
    let expected = ["call a", "publish merge.03 a!", "ack a", "call b", "publish merge.03 b!", "ack b"];
    assert_eq!(bench.queue.log()[..6], expected);
    let numbers = bench.metrics.text();
    assert!(numbers.contains("detektor_detect_settled_messages_total{outcome=\"done\"} 3"), "{numbers}");
    assert!(numbers.contains("detektor_detect_running_batches 0"), "{numbers}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_acked_after_all_its_outputs_are_out() {
    let bench = Bench::new().batches(1, 8);
    for body in ["a", "b", "c"] {
        bench.queue.put(JOBS, body);
    }
    bench.run().await;
    let expected =
        ["call a b c", "publish merge.03 a!", "publish merge.03 b!", "publish merge.03 c!", "ack a", "ack b", "ack c"];
    assert_eq!(bench.queue.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn outputs_go_to_their_inputs_partition_with_its_trace_and_measurements() {
    let mut bench = Bench::new().batches(1, 4);
    bench.config.source = vec![Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 7)].into();
    let trace = Trace::begin();
    let mut headers = BTreeMap::from([(HEADER_CLOSED_AT.to_owned(), "17".to_owned())]);
    trace.write(&mut headers);
    bench.queue.put_message(Queue::Work(Work::Detect, 7), Message { body: "a".into(), headers }, 1);
    bench.queue.put(Queue::Work(Work::Detect, 0), "b");
    bench.run().await;
    assert_eq!(bench.queue.bodies(Queue::Work(Work::Merge, 0)), ["b!"]);
    let [out] = &bench.queue.messages(Queue::Work(Work::Merge, 7))[..] else { panic!("one output") };
    assert_eq!(out.headers[HEADER_CLOSED_AT], "17");
    let at = |name: &str| out.headers[name].parse::<i64>().unwrap();
    assert!(17 < at(HEADER_TAKEN_AT) && at(HEADER_TAKEN_AT) <= at(HEADER_PUBLISHED_AT), "{:?}", out.headers);
    let went_on: Trace = out.headers[HEADER_TRACEPARENT].parse().unwrap();
    assert_eq!(went_on.id().to_string(), trace.id().to_string());
    assert_ne!(went_on, trace);
}

#[tokio::test(start_paused = true)]
async fn batches_fill_up_and_never_hold_more_than_the_permits_can_work_on() {
    let bench = Bench::new().batches(2, 3);
    for n in 0..20 {
        bench.queue.put(JOBS, &n.to_string());
    }
    let begin = Instant::now();
    bench.queue.end();
    let report = bench.start(Duration::from_secs(1)).await.unwrap();
    assert_eq!(report.done, 20);
    assert_eq!(bench.calls()[..2], ["0 1 2", "3 4 5"]);
    assert!(bench.queue.most_held() <= 6, "{}", bench.queue.most_held());
    // Seven batches by two.
    assert!((4..5).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_its_linger_and_no_longer() {
    let bench = Bench::new().batches(1, 8);
    let host = bench.start(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (body, pause_ms) in [("a", 20), ("b", 20), ("c", 100), ("d", 100)] {
        bench.queue.put(JOBS, body);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    assert_eq!(bench.calls(), ["a b c", "d"]);
    bench.shutdown.cancel();
    host.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_before_runs_alone() {
    let bench = Bench::new().batches(1, 8);
    for (body, attempt) in [("a", 1), ("b", 1), ("killer", 2), ("c", 1), ("d", 1)] {
        bench.queue.put_again(JOBS, body, attempt);
    }
    let report = bench.run().await;
    assert_eq!(report.done, 5);
    assert_eq!(bench.calls(), ["a b", "killer", "c d"]);
}

#[test]
fn every_mistake_in_a_configuration_is_named_at_once() {
    let config = HostConfig {
        source: vec![JOBS, JOBS].into(),
        look_every: Duration::ZERO,
        permits: 0,
        batch_max: 5_000,
        attempts_max: 0,
        drain_deadline: Duration::from_secs(5),
        ..HostConfig::new(vec![])
    };
    let handler = handler_fn(|Batch(batch)| async move { Ok(Reply::done(batch.len())) });
    let queues = Arc::new(Memory::default());
    let error = Host::new("detect", handler, queues, config, &Metrics::new(), &Health::new()).err().unwrap();
    let text = error.to_string();
    for field in [
        "source is [detect.03, detect.03]",
        "look_every is 0ns",
        "permits is 0",
        "batch_max is 5000",
        "attempts_max is 0",
    ] {
        assert!(text.contains(field), "{text}");
    }
    assert!(text.contains("drain_deadline is 5s (expected more than batch_linger + deadline = 20.05s"), "{text}");
}
