//! The host on the embedded queue: what the tests with a double promise, kept by a real one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::queue::{Depth, Message, Queues};
use detektor_contract::names::{Queue, Work};
use detektor_runtime::{Batch, Handler, Health, Host, HostConfig, Metrics, Output, Reply, handler_fn};
use tokio_util::sync::CancellationToken;

const JOBS: [Queue; 2] = [Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 1)];
const COUNT: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(60);

/// Bodies and attempts, call by call.
type Calls = Arc<Mutex<Vec<Vec<(String, u32)>>>>;

/// Answers each message with itself, after a moment.
fn echo(calls: &Calls) -> impl Handler + use<> {
    let calls = Arc::clone(calls);
    handler_fn(move |Batch(invocations)| {
        let calls = Arc::clone(&calls);
        async move {
            let told = invocations.iter().map(|i| (text(&i.message), i.attempt)).collect();
            calls.lock().unwrap().push(told);
            tokio::time::sleep(Duration::from_millis(10)).await;
            let answer = |message| Ok(vec![Output { work: Work::Merge, message }]);
            Ok(Reply(invocations.into_iter().map(|i| answer(i.message)).collect()))
        }
    })
}

fn text(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

fn host<H: Handler>(queues: Arc<dyn Queues>, handler: H) -> Host<H> {
    let few = HostConfig { permits: 2, batch_max: 4, ..HostConfig::new(JOBS.to_vec()) };
    let config = HostConfig { batch_linger: Duration::from_millis(5), ..few };
    Host::new("detect", handler, queues, config, &Metrics::new(), &Health::new()).unwrap()
}

async fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).await.unwrap()
}

async fn publish_jobs(queues: &dyn Queues) {
    for n in 0..COUNT {
        let message = Message { body: n.to_string().into(), ..Message::default() };
        queues.publish(JOBS[(n % 2) as usize], vec![message]).await.unwrap();
    }
}

async fn depths(queues: &dyn Queues, work: Work) -> Depth {
    let mut sum = Depth::default();
    for partition in [0, 1] {
        let depth = queues.depth(Queue::Work(work, partition)).await.unwrap();
        sum = Depth { ready: sum.ready + depth.ready, unacked: sum.unacked + depth.unacked };
    }
    sum
}

async fn until_calls(calls: &Calls, count: usize) {
    let waiting = async {
        while calls.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

async fn until_empty(queues: &dyn Queues) {
    let waiting = async {
        while depths(queues, Work::Detect).await != Depth::default() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_drained_host_leaves_every_message_done_or_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path()).await;
    let queues = embedded.queues();
    publish_jobs(&*queues).await;
    let calls = Calls::default();
    let mut done = 0;
    for stop_after in [Some(3), Some(8), None] {
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(host(Arc::clone(&queues), echo(&calls)).run(shutdown.clone()));
        match stop_after {
            Some(count) => until_calls(&calls, count).await,
            None => until_empty(&*queues).await,
        }
        shutdown.cancel();
        let report = running.await.unwrap().unwrap();
        assert_eq!((report.dead, report.not_held, report.given_back), (0, 0, 0));
        done += report.done;
        assert_eq!(depths(&*queues, Work::Detect).await, Depth { ready: COUNT - done, unacked: 0 });
        assert_eq!(depths(&*queues, Work::Merge).await.ready, done, "one output each");
    }
    assert_eq!(done, COUNT);
    assert!(calls.lock().unwrap().iter().flatten().all(|(_, attempt)| *attempt == 1), "nothing was delivered again");
}

#[tokio::test]
async fn what_a_dead_host_held_comes_again_alone() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path()).await;
    publish_jobs(&*embedded.queues()).await;
    let first = Calls::default();
    let running = tokio::spawn(host(embedded.queues(), echo(&first)).run(CancellationToken::new()));
    until_calls(&first, 4).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    embedded.close().await;

    let embedded = open(dir.path()).await;
    let queues = embedded.queues();
    let second = Calls::default();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(host(Arc::clone(&queues), echo(&second)).run(shutdown.clone()));
    until_empty(&*queues).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();

    let (first, second) = (first.lock().unwrap().clone(), second.lock().unwrap().clone());
    let handled: BTreeSet<_> = first.iter().chain(&second).flatten().map(|(body, _)| body.clone()).collect();
    assert_eq!(handled.len() as u64, COUNT, "nothing is lost");
    let again: Vec<_> = second.iter().filter(|call| call.iter().any(|(_, attempt)| *attempt > 1)).collect();
    assert!(!again.is_empty(), "what was held at the end is delivered again");
    assert!(again.iter().all(|call| call.len() == 1), "each alone: {again:?}");
}
