//! A live camera while the queue is away.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::failing::{FailingQueues, Moment, Plan};
use detektor_backends::queue::{Consumer, Depth, Message, Partitions, QueueError, Queues, Settle};
use detektor_contract::EndReason;
use futures::StreamExt;
use tokio::time::sleep;

use super::*;
use crate::publish::{Discipline, Manner, Publisher};

/// Far beyond what anything here takes: reached only if it never comes.
const NEVER: Duration = Duration::from_secs(60);
const ROOM: u64 = 1 << 30;

/// Backends whose queue can be away.
struct Desk {
    embedded: Embedded,
    _data: tempfile::TempDir,
    plan: Arc<Plan>,
    outlets: Outlets,
    metrics: Metrics,
    numbers: Numbers,
    abort: CancellationToken,
}

impl Desk {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(data.path(), Options::default()).await.unwrap();
        let plan = Plan::new();
        let queues = FailingQueues::new(embedded.queues(), Arc::clone(&plan));
        let outlets = Outlets { queues, bucket: embedded.bucket(), store: embedded.store() };
        let metrics = Metrics::new();
        let numbers = Numbers::new(&metrics).unwrap();
        Self { embedded, _data: data, plan, outlets, metrics, numbers, abort: CancellationToken::new() }
    }

    fn queue_away(&self) {
        self.plan.fail_call("publish", 0, Moment::Before, u64::MAX);
    }

    async fn spool(&self, folder: &Path, bytes: u64) -> (Spool, Keeper) {
        let (spool, mut keeper) = Spool::open(folder.to_owned(), bytes, &self.numbers).await.unwrap();
        keeper.begin(&self.outlets, &self.numbers);
        (spool, keeper)
    }

    fn camera(&self, spool: &Spool) -> Publisher {
        let manner = Manner::Live { spool: Some(spool.clone()) };
        let discipline = Discipline { manner, shutdown: CancellationToken::new(), abort: self.abort.clone() };
        Publisher::start(self.outlets.clone(), discipline, self.numbers.clone())
    }

    async fn consumer(&self) -> Arc<dyn Consumer> {
        let queues = [Work::Detect, Work::Merge].map(|work| Queue::Work(work, 0));
        self.embedded.queues().consume(&queues, 8).await.unwrap()
    }

    /// Takes what is published until there is something under each of so many numbers.
    async fn published(&self, numbers: u64) -> BTreeMap<u64, Published> {
        let (consumer, mut published) = (self.consumer().await, BTreeMap::new());
        while published.len() < numbers as usize {
            let delivery = timeout(NEVER, consumer.receive()).await.expect("the rest").unwrap();
            consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
            let body = delivery.message.body;
            let (id, what) = match wire::decode_job(&body) {
                Ok(job) => (job.id, Published::Job),
                Err(_) => match wire::decode_outcome(&body).unwrap() {
                    Outcome { id, body: OutcomeBody::Marker(Marker::EndOfEpoch { .. }), .. } => (id, Published::End),
                    outcome => (outcome.id, Published::Shed),
                },
            };
            published.insert(id.sequence, what);
        }
        consumer.close().await.unwrap();
        published
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    Job,
    Shed,
    End,
}

fn end(sequence: u64) -> Record {
    let marker = Marker::EndOfEpoch {
        frames: sequence * u64::from(FRAMES),
        at: span(sequence).start,
        reason: EndReason::Stopped,
    };
    let outcome = Outcome { body: OutcomeBody::Marker(marker), id: job(sequence, 0).id, generation: 0 };
    Record { queue: Queue::Work(Work::Merge, 0), body: wire::encode_outcome(&outcome), ..job(sequence, 0) }
}

async fn spooled(spool: &Spool, like: impl Fn(&Holdings) -> bool) {
    let mut holdings = spool.holdings.clone();
    timeout(NEVER, holdings.wait_for(|holdings| like(holdings))).await.expect("in the spool").unwrap();
}

#[tokio::test]
async fn through_an_outage_no_segment_is_lost_and_the_camera_never_waits_for_it() {
    let (desk, folder) = (Desk::new().await, tempfile::tempdir().unwrap());
    let (spool, keeper) = desk.spool(folder.path(), ROOM).await;
    let camera = desk.camera(&spool);
    camera.publish(job(0, 100)).await.unwrap();
    desk.queue_away();
    for sequence in 1..30 {
        // Far more than may wait in memory.
        timeout(NEVER, camera.publish(job(sequence, 100))).await.expect("it takes them").unwrap();
    }
    camera.publish(large(30, 10_000)).await.unwrap();
    spooled(&spool, |holdings| holdings.records > 0).await;
    assert!(spool.holds(&super::camera()) && desk.metrics.text().contains("detektor_dispatcher_spool_records"));
    desk.plan.heal();
    for sequence in 31..40 {
        camera.publish(job(sequence, 100)).await.unwrap();
    }
    camera.publish(end(40)).await.unwrap();
    assert_eq!(camera.finish().await, Ok(true));
    let published = desk.published(41).await;
    assert!(published.values().take(40).all(|what| *what == Published::Job), "{published:?}");
    assert_eq!(published[&40], Published::End);
    let object = desk.embedded.bucket().get(&ObjectKey::in_flight(&job(30, 0).id)).await.unwrap();
    assert_eq!(object.len(), 10_000);
    spooled(&spool, |holdings| holdings.records == 0 && holdings.bytes == 0).await;
    keeper.close().await;
}

#[tokio::test]
async fn an_outage_that_outlasts_the_spool_sheds_and_says_so() {
    let (desk, folder) = (Desk::new().await, tempfile::tempdir().unwrap());
    let (spool, keeper) = desk.spool(folder.path(), 1 << 20).await;
    desk.queue_away();
    let camera = desk.camera(&spool);
    for sequence in 0..30 {
        camera.publish(job(sequence, 100_000)).await.unwrap();
    }
    camera.publish(end(30)).await.unwrap();
    assert_eq!(camera.finish().await, Ok(true));
    let shed = spool.holdings().shed;
    assert!(shed > 10 && spool.holdings().bytes <= 1 << 20);
    assert!(desk.metrics.text().contains(&format!("detektor_dispatcher_spool_shed_total {shed}\n")));
    desk.plan.heal();
    let published = desk.published(31).await;
    // Those that were just being tried are published although their file made room.
    let missing = published.values().filter(|what| **what == Published::Shed).count() as u64;
    assert!((1..=shed).contains(&missing), "{published:?}");
    assert!(published.values().skip(shed as usize).all(|what| *what != Published::Shed), "{published:?}");
    keeper.close().await;
}

#[tokio::test]
async fn a_killed_dispatcher_publishes_at_its_next_start() {
    let (desk, folder) = (Desk::new().await, tempfile::tempdir().unwrap());
    let (spool, keeper) = desk.spool(folder.path(), ROOM).await;
    desk.queue_away();
    let camera = desk.camera(&spool);
    for sequence in 0..10 {
        camera.publish(job(sequence, 100)).await.unwrap();
    }
    assert_eq!(camera.finish().await, Ok(true));
    let killed = killed(folder.path());
    keeper.close().await;
    desk.plan.heal();
    let (next, keeper) = desk.spool(killed.path(), ROOM).await;
    // What is new goes behind it.
    let camera = desk.camera(&next);
    camera.publish(job(10, 100)).await.unwrap();
    assert_eq!(camera.finish().await, Ok(true));
    assert!(desk.published(11).await.values().all(|what| *what == Published::Job));
    keeper.close().await;
}

#[tokio::test]
async fn a_dispatcher_that_must_stop_leaves_it_in_the_bucket_and_another_publishes_it() {
    let (desk, folder, other) = (Desk::new().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (spool, keeper) = desk.spool(folder.path(), ROOM).await;
    desk.queue_away();
    let camera = desk.camera(&spool);
    for sequence in 0..10 {
        camera.publish(job(sequence, 100)).await.unwrap();
    }
    camera.publish(end(10)).await.unwrap();
    assert_eq!(camera.finish().await, Ok(true));
    let bucket = desk.embedded.bucket();
    keeper.end(NEVER, &*bucket, &desk.abort).await;
    assert!(bucket.list(ObjectKey::SPOOL).count().await > 0);
    let (_, keeper) = Spool::open(folder.path().to_owned(), ROOM, &desk.numbers).await.unwrap();
    assert_eq!(keeper.spool.holdings().records, 0);
    keeper.close().await;

    desk.plan.heal();
    let (_, keeper) = desk.spool(other.path(), ROOM).await;
    let published = desk.published(11).await;
    assert!(published.values().take(10).all(|what| *what == Published::Job), "{published:?}");
    let gone = async {
        while bucket.list(ObjectKey::SPOOL).count().await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(NEVER, gone).await.expect("it is removed once it is published");
    keeper.close().await;
}

#[tokio::test]
async fn with_the_bucket_away_too_it_stays_for_the_next_process() {
    let (desk, folder) = (Desk::new().await, tempfile::tempdir().unwrap());
    let (spool, keeper) = desk.spool(folder.path(), ROOM).await;
    desk.queue_away();
    spool.push(vec![job(0, 100)]).await.unwrap();
    let away = Plan::new();
    away.fail_all();
    let bucket = detektor_backends::failing::FailingBucket::new(desk.embedded.bucket(), away);
    desk.abort.cancel();
    keeper.end(NEVER, &*bucket, &desk.abort).await;
    let (next, keeper) = Spool::open(folder.path().to_owned(), ROOM, &desk.numbers).await.unwrap();
    assert_eq!(next.holdings().records, 1);
    keeper.close().await;
}

/// Queues of which one is full.
struct OneFull(Arc<dyn Queues>);

const FULL: Queue = Queue::Work(Work::Detect, 1);

#[async_trait]
impl Queues for OneFull {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        if queue == FULL { Err(QueueError::Full { queue }) } else { self.0.publish(queue, messages).await }
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError> {
        self.0.consume(queues, prefetch).await
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        self.0.depth(queue).await
    }

    async fn partitions(&self) -> Result<Partitions, QueueError> {
        self.0.partitions().await
    }

    async fn open(&self, queue: Queue) -> Result<(), QueueError> {
        self.0.open(queue).await
    }

    async fn retire(&self, queue: Queue) -> Result<(), QueueError> {
        self.0.retire(queue).await
    }

    async fn is_drained(&self, queue: Queue) -> Result<bool, QueueError> {
        self.0.is_drained(queue).await
    }

    async fn remove(&self, queue: Queue) -> Result<bool, QueueError> {
        self.0.remove(queue).await
    }
}

#[tokio::test]
async fn a_full_partition_holds_up_no_other() {
    let (mut desk, folder) = (Desk::new().await, tempfile::tempdir().unwrap());
    desk.outlets.queues = Arc::new(OneFull(desk.embedded.queues()));
    let (spool, keeper) = desk.spool(folder.path(), ROOM).await;
    let records = (0..20).map(|n| Record { queue: Queue::Work(Work::Detect, (n < 10).into()), ..job(n, 100) });
    spool.push(records.collect()).await.unwrap();
    spooled(&spool, |holdings| holdings.records == 10).await;
    let consumer = desk.consumer().await;
    for n in 10..20 {
        let delivery = timeout(NEVER, consumer.receive()).await.expect("the free partition's").unwrap();
        assert_eq!(wire::decode_job(&delivery.message.body).unwrap().id.sequence, n);
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    keeper.close().await;
}
