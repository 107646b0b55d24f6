//! Brokers that die, hang and come again, and wires to them that break: what is confirmed stays, and all goes on by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::queue::{Settle, Tag};
use crate::rabbitmq::broker::ANSWER;
use crate::servers::Wire;

/// Far beyond what anything here takes: reached only if it never comes.
const NEVER: Duration = Duration::from_secs(120);
/// Outages count as deliveries; none of these tests is about dead letters.
const OFTEN: u32 = 100;
const BUSY: Queue = Queue::Work(Work::Detect, 0);
const HELD: Queue = Queue::Work(Work::Detect, 1);

fn numbered(n: u32) -> Message {
    Message { body: Bytes::from(n.to_string()), ..Message::default() }
}

/// The same virtual host behind a wire.
fn behind(wire: &Wire, port: u16, options: RabbitOptions) -> RabbitOptions {
    RabbitOptions { url: options.url.replace(&format!(":{port}/"), &format!(":{}/", wire.port())), ..options }
}

/// Publishes numbers and takes them out again, on and on.
struct Traffic {
    stop: CancellationToken,
    published: JoinHandle<(BTreeSet<u32>, u32)>,
    taken: JoinHandle<BTreeSet<u32>>,
    confirmed: tokio::sync::watch::Receiver<u32>,
}

impl Traffic {
    async fn begin(queues: &Arc<RabbitMq>) -> Self {
        let stop = CancellationToken::new();
        let (tell, confirmed) = tokio::sync::watch::channel(0);
        let published = tokio::spawn(publish(Arc::clone(queues), stop.clone(), tell));
        let consumer = queues.consume(&[BUSY], 4).await.unwrap();
        Self { stop, published, taken: tokio::spawn(take(consumer)), confirmed }
    }

    /// Waits until so many more are confirmed.
    async fn goes_on(&mut self, more: u32) {
        let enough = *self.confirmed.borrow() + more;
        timeout(NEVER, self.confirmed.wait_for(|now| *now >= enough)).await.expect("it goes on").unwrap();
    }

    /// Ends it; everything that was confirmed came out. How often publishing failed meanwhile.
    async fn end(self, queues: &RabbitMq) -> u32 {
        self.stop.cancel();
        let (confirmed, failures) = timeout(NEVER, self.published).await.expect("it ends").unwrap();
        let last = numbered(u32::MAX);
        timeout(NEVER, again(async || queues.publish(BUSY, vec![last.clone()]).await)).await.expect("the last");
        let taken = timeout(NEVER, self.taken).await.expect("the last one comes").unwrap();
        let lost: Vec<_> = confirmed.difference(&taken).collect();
        assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
        failures
    }
}

async fn again<T>(mut call: impl AsyncFnMut() -> Result<T, QueueError>) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn publish(
    queues: Arc<RabbitMq>,
    stop: CancellationToken,
    tell: tokio::sync::watch::Sender<u32>,
) -> (BTreeSet<u32>, u32) {
    let (mut confirmed, mut failures, mut n) = (BTreeSet::new(), 0, 0);
    while !stop.is_cancelled() {
        match queues.publish(BUSY, vec![numbered(n), numbered(n + 1)]).await {
            Ok(()) => {
                confirmed.extend([n, n + 1]);
                tell.send_modify(|count| *count += 2);
            }
            Err(_) => {
                failures += 1;
                sleep(Duration::from_millis(50)).await;
            }
        }
        n += 2;
    }
    (confirmed, failures)
}

/// Takes until the last one has come, and nothing is left.
async fn take(consumer: Arc<dyn Consumer>) -> BTreeSet<u32> {
    let (mut taken, mut last) = (BTreeSet::new(), false);
    loop {
        // What a cut gave back comes behind the last one.
        let Ok(next) = timeout(Duration::from_secs(if last { 3 } else { 600 }), consumer.receive()).await else {
            break;
        };
        let delivery = next.unwrap();
        let n: u32 = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
        // What could not be acked comes again.
        if consumer.settle(delivery.tag, Settle::Ack).await.is_ok() {
            taken.insert(n);
            last |= n == u32::MAX;
        }
    }
    consumer.close().await.unwrap();
    taken
}

/// A delivery that is held while something breaks.
struct Holder(Arc<dyn Consumer>, Tag);

impl Holder {
    async fn begin(queues: &RabbitMq) -> Self {
        queues.publish(HELD, vec![numbered(7)]).await.unwrap();
        let consumer = queues.consume(&[HELD], 1).await.unwrap();
        let delivery = timeout(NEVER, consumer.receive()).await.expect("it comes").unwrap();
        Self(consumer, delivery.tag)
    }

    /// It is not ours any more, and comes again.
    async fn lost_and_comes_again(self) {
        let settled = self.0.settle(self.1, Settle::Ack).await;
        assert!(matches!(settled, Err(QueueError::NotHeld(_))), "{settled:?}");
        // A connection that broke may not be known to be broken yet.
        let comes_again = again(async || {
            let delivery = self.0.receive().await.unwrap();
            assert_eq!(&delivery.message.body[..], b"7");
            self.0.settle(delivery.tag, Settle::Ack).await
        });
        timeout(NEVER, comes_again).await.expect("it comes again");
        self.0.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_nothing_confirmed_and_all_goes_on_by_itself() {
    let mut broker = crate::servers::RabbitMq::start(None).await;
    let queues = connected(&broker.vhost(OFTEN).await).await;
    let mut traffic = Traffic::begin(&queues).await;
    let holder = Holder::begin(&queues).await;
    traffic.goes_on(100).await;
    for _ in 0..2 {
        broker.kill().await;
        broker.start_again().await;
        traffic.goes_on(100).await;
    }
    holder.lost_and_comes_again().await;
    assert!(traffic.end(&queues).await > 0, "the broker was away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_longer_than_the_heartbeat_is_left_and_found_again() {
    let broker = crate::servers::RabbitMq::start(None).await;
    let queues = connected(&broker.vhost(OFTEN).await).await;
    let mut traffic = Traffic::begin(&queues).await;
    let holder = Holder::begin(&queues).await;
    traffic.goes_on(100).await;
    broker.freeze();
    // Whoever publishes hears of it, long before it is back. It may take a moment until it hangs.
    let publishing = async {
        loop {
            if let Err(error) = queues.publish(BUSY, vec![numbered(0)]).await {
                break error;
            }
        }
    };
    let failed = timeout(NEVER, publishing).await.expect("an end");
    assert!(matches!(failed, QueueError::Unavailable { .. }), "{failed:?}");
    // The broker, too, is to see that it heard nothing for two heartbeats.
    sleep(Duration::from_secs(12)).await;
    broker.thaw();
    traffic.goes_on(100).await;
    holder.lost_and_comes_again().await;
    traffic.end(&queues).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_is_cut_costs_deliveries_and_nothing_else() {
    let broker = crate::servers::RabbitMq::shared().await;
    let wire = Wire::to(broker.port()).await;
    let queues = connected(&behind(&wire, broker.port(), broker.vhost(OFTEN).await)).await;
    let mut traffic = Traffic::begin(&queues).await;
    let holder = Holder::begin(&queues).await;
    for _ in 0..3 {
        traffic.goes_on(50).await;
        wire.cut();
        let refused = timeout(NEVER, queues.publish(BUSY, vec![numbered(0)])).await.expect("an end");
        assert!(matches!(refused, Err(QueueError::Unavailable { .. })), "{refused:?}");
        wire.restore();
    }
    holder.lost_and_comes_again().await;
    wire.slow(Duration::from_millis(5));
    traffic.goes_on(50).await;
    assert!(traffic.end(&queues).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_stalls_is_left_and_found_again() {
    let broker = crate::servers::RabbitMq::shared().await;
    let wire = Wire::to(broker.port()).await;
    let queues = connected(&behind(&wire, broker.port(), broker.vhost(OFTEN).await)).await;
    let mut traffic = Traffic::begin(&queues).await;
    let holder = Holder::begin(&queues).await;
    traffic.goes_on(50).await;
    wire.stall();
    let failed = timeout(NEVER, queues.publish(BUSY, vec![numbered(0)])).await.expect("an end");
    assert!(matches!(failed, Err(QueueError::Unavailable { .. })), "{failed:?}");
    sleep(Duration::from_secs(12)).await;
    wire.restore();
    traffic.goes_on(50).await;
    holder.lost_and_comes_again().await;
    traffic.end(&queues).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_answered_too_late_keeps_no_message() {
    let broker = crate::servers::RabbitMq::shared().await;
    let options = broker.vhost(OFTEN).await;
    let queues = connected(&options).await;
    let (_, vhost) = options.url.rsplit_once('/').unwrap();
    broker.hang_queue(vhost, &HELD.to_string(), true).await;
    let consumer = queues.consume(&[HELD], 1).await.unwrap();
    sleep(ANSWER + Duration::from_secs(2)).await;
    broker.hang_queue(vhost, &HELD.to_string(), false).await;
    queues.publish(HELD, (0..4).map(numbered).collect()).await.unwrap();
    for _ in 0..4 {
        let delivery = timeout(NEVER, consumer.receive()).await.expect("each of them comes").unwrap();
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so_until_there_is_room() {
    const ROOM: usize = 100_000;
    let options = crate::servers::RabbitMq::shared().await.vhost_of(OFTEN, ROOM as u64).await;
    let queues = connected(&options).await;
    let kilobyte = Message { body: Bytes::from(vec![7; 1_000]), ..Message::default() };
    let mut taken = 0;
    let full = loop {
        match queues.publish(BUSY, vec![kilobyte.clone()]).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10 * ROOM / 1_000, "it is never full");
    };
    assert!(matches!(full, QueueError::Full { queue: BUSY }), "{full:?}");
    queues.publish(HELD, vec![kilobyte.clone()]).await.expect("others are not");
    let consumer = queues.consume(&[BUSY], 8).await.unwrap();
    for _ in 0..taken {
        let delivery = timeout(NEVER, consumer.receive()).await.expect("all that it took").unwrap();
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    timeout(NEVER, again(async || queues.publish(BUSY, vec![kilobyte.clone()]).await)).await.expect("room");
    consumer.close().await.unwrap();
}
