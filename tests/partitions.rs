//! Partitions change on a real RabbitMQ while cameras publish, detect hosts pass on and merge folds: nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use detektor_backends::conformance::samples::{at, camera, end, result};
use detektor_backends::coordination::{Coordination, Load, Member, Placement};
use detektor_backends::memory::{MemoryBucket, MemoryDatabase};
use detektor_backends::queue::{Message, Partitions, Queues};
use detektor_backends::rabbitmq::{RabbitMq, RabbitOptions};
use detektor_backends::servers;
use detektor_backends::store::EventStore;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{Outcome, wire};
use detektor_dispatcher::distributed::{Balancer, BalancerConfig, KeeperConfig};
use detektor_merge::{Merge, MergeConfig};
use detektor_runtime::{Handler, HandlerError, Health, Host, HostConfig, Invocation, Metrics, Output, item_fn};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes: reached only if it never comes.
const NEVER: Duration = Duration::from_secs(180);
const CAMERAS: usize = 6;
/// This one never hears where its work goes.
const DEAF: usize = 5;

fn name(n: usize) -> String {
    format!("c{n}")
}

async fn connect(options: &RabbitOptions) -> Arc<dyn Queues> {
    Arc::new(RabbitMq::connect(options.clone()).await.unwrap())
}

/// What looks at segments sends on what it gets.
fn passes_on() -> impl Handler {
    item_fn(|Invocation { message, .. }: Invocation| async move {
        sleep(Duration::from_millis(5)).await;
        Ok::<_, HandlerError>(vec![Output { work: Work::Merge, message }])
    })
}

/// Publishes a camera's segments where the placement says, until it is told to stop; then the end. How many there were.
async fn publish(n: usize, queues: Arc<dyn Queues>, database: Arc<MemoryDatabase>, stop: CancellationToken) -> u64 {
    let id = camera(&name(n));
    let mut partition = 9;
    let put = async |outcome: &Outcome, partition| {
        let message = Message { body: wire::encode_outcome(outcome), ..Message::default() };
        // A process would try again just so.
        while let Err(error) = queues.publish(Queue::Work(Work::Detect, partition), vec![message.clone()]).await {
            eprintln!("{id}: {error}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    for sequence in 0.. {
        let placement = database.placement().await.unwrap();
        if n != DEAF
            && let Some(row) = placement.cameras.iter().find(|row| row.camera == id)
        {
            partition = row.partition;
        }
        if stop.is_cancelled() {
            put(&end(&id, at(1, sequence)), partition).await;
            return sequence;
        }
        put(&result(&id, at(1, sequence)), partition).await;
        sleep(Duration::from_millis(20)).await;
    }
    unreachable!("a camera ends when it is told to")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(NEVER, waiting).await.expect(what);
}

fn used(placement: &Placement) -> Vec<u16> {
    let mut used: Vec<u16> = placement.cameras.iter().map(|row| row.partition).collect();
    used.sort();
    used.dedup();
    used
}

fn there(found: &Partitions) -> Vec<String> {
    found.0.keys().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_partitions_become_one_and_then_four_and_nothing_is_lost() {
    let options = servers::RabbitMq::shared().await.vhost(20).await;
    let (database, bucket, stop) = (MemoryDatabase::new(), MemoryBucket::new(), CancellationToken::new());
    let mut running = JoinSet::new();

    let member = |name: &str| Member { name: name.to_owned(), incarnation: 1 };
    let (alive, dispatcher) = (database.clone(), member("d"));
    running.spawn(async move {
        loop {
            alive.beat(&dispatcher, Load::default(), false).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
    });
    let keeping = KeeperConfig {
        interval: Duration::from_millis(200),
        notice: Duration::from_secs(1),
        quiet: Duration::from_secs(6),
    };
    let config = BalancerConfig {
        interval: Duration::from_millis(200),
        ttl: Duration::from_secs(2),
        calm: Duration::from_millis(500),
        partitions: 10,
        keeping,
        ..BalancerConfig::new(member("b"))
    };
    let balancer = Balancer::new(config, database.clone()).unwrap().keeping(connect(&options).await);
    let workers = CancellationToken::new();
    running.spawn(balancer.run(workers.clone()));

    let look_every = Duration::from_millis(400);
    for _ in 0..2 {
        let config = HostConfig { permits: 3, look_every, ..HostConfig::new(Work::Detect) };
        let queues = connect(&options).await;
        let host = Host::new("detect", passes_on(), queues, config, &Metrics::new(), &Health::new()).unwrap();
        let stop = workers.clone();
        running.spawn(async move { host.run(stop).await.map(|_| ()).unwrap() });
        let merging = MergeConfig { hole_wait: NEVER, ..MergeConfig::default() };
        let merge = Arc::new(Merge::new(Arc::new(database.clone()), bucket.clone(), merging, &Metrics::new()).unwrap());
        let config = HostConfig { permits: 2, batch_max: 16, look_every, ..HostConfig::new(Work::Merge) };
        let queues = connect(&options).await;
        let host = Host::new("merge", merge.handler(), queues, config, &Metrics::new(), &Health::new()).unwrap();
        let stop = workers.clone();
        running.spawn(async move { host.run(stop).await.map(|_| ()).unwrap() });
    }

    let wanted: Vec<_> = (0..CAMERAS).map(|n| (camera(&name(n)), Some("{}".to_owned()))).collect();
    database.want(&wanted).await.unwrap();
    until("cameras are placed", async || database.placement().await.unwrap().cameras.len() == CAMERAS).await;
    let mut cameras = JoinSet::new();
    for n in 0..CAMERAS {
        let (queues, database, stop) = (connect(&options).await, database.clone(), stop.clone());
        cameras.spawn(async move { (n, publish(n, queues, database, stop).await) });
    }
    let queues = connect(&options).await;
    assert_eq!(queues.partitions().await.unwrap().0.len(), 20);
    sleep(Duration::from_secs(2)).await;

    database.set_partitions(1).await.unwrap();
    let one = async || there(&queues.partitions().await.unwrap()) == ["detect.00", "merge.00"];
    until("the old queues are emptied and removed", one).await;
    assert_eq!(used(&database.placement().await.unwrap()), [0]);
    sleep(Duration::from_secs(2)).await;

    database.set_partitions(4).await.unwrap();
    until("cameras are on four", async || used(&database.placement().await.unwrap()) == [0, 1, 2, 3]).await;
    assert_eq!(queues.partitions().await.unwrap().0.len(), 8);
    sleep(Duration::from_secs(3)).await;

    stop.cancel();
    let mut published = vec![0; CAMERAS];
    while let Some(ended) = timeout(NEVER, cameras.join_next()).await.expect("cameras end") {
        let (n, segments) = ended.unwrap();
        published[n] = segments;
    }
    assert!(published.iter().all(|segments| *segments > 200), "{published:?}");
    // Merge goes past no hole, so a camera that is at its end has all that it published, in order.
    let ends = async || {
        let mut ended = 0;
        for (n, segments) in published.iter().enumerate() {
            ended += usize::from(database.frontier(&camera(&name(n))).await.unwrap() == Some(at(1, *segments)));
        }
        ended == CAMERAS
    };
    until("everything is merged", ends).await;
    for info in database.cameras().await.unwrap() {
        let n = (0..CAMERAS).find(|n| camera(&name(*n)) == info.id).unwrap();
        assert!(info.ledger.closes(), "{:?}", info.ledger);
        assert_eq!(info.ledger.captured, published[n] * 2);
    }
    workers.cancel();
    sleep(Duration::from_secs(1)).await;
    running.shutdown().await;
}
