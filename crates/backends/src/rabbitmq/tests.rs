#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::names::Work;

use super::*;
use crate::conformance::Bench;
use crate::queue::{Depth, Settle};

mod outages;
mod reaching;

const LIMIT: u32 = 3;

struct OnRabbit {
    options: RabbitOptions,
    queues: Arc<RabbitMq>,
}

impl OnRabbit {
    async fn fresh() -> Self {
        let options = crate::servers::RabbitMq::shared().await.vhost(LIMIT).await;
        let queues = connected(&options).await;
        Self { options, queues }
    }
}

/// Connects; two partitions are open.
async fn connected(options: &RabbitOptions) -> Arc<RabbitMq> {
    let queues = RabbitMq::connect(options.clone()).await.unwrap();
    for work in Work::ALL {
        for partition in 0..2 {
            queues.open(Queue::Work(work, partition)).await.unwrap();
        }
    }
    Arc::new(queues)
}

#[async_trait]
impl Bench<dyn Queues> for OnRabbit {
    fn backend(&self) -> Arc<dyn Queues> {
        Arc::clone(&self.queues) as Arc<dyn Queues>
    }

    async fn crash(&mut self) {
        self.queues = Arc::new(RabbitMq::connect(self.options.clone()).await.unwrap());
    }

    fn delivery_limit(&self) -> u32 {
        LIMIT
    }
}

crate::queue_conformance!(OnRabbit::fresh());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_permits_take_from_where_the_work_is() {
    const MESSAGES: usize = 6;
    let bench = OnRabbit::fresh().await;
    let (hot, cold) = (Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 1));
    let message = |n: usize| Message { body: Bytes::from(n.to_string()), ..Message::default() };
    bench.queues.publish(hot, (0..MESSAGES).map(message).collect()).await.unwrap();
    // Three of the six permits are the cold queue's share.
    let consumer = bench.queues.consume(&[hot, cold], MESSAGES as u32).await.unwrap();
    let all = async {
        for _ in 0..MESSAGES {
            consumer.receive().await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap();
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_consumer_still_empties_what_is_nobodys_home() {
    const LEFT: usize = 5;
    let bench = OnRabbit::fresh().await;
    let (busy, old) = (Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 1));
    let message = |text: &str| Message { body: Bytes::from(text.to_owned()), ..Message::default() };
    bench.queues.publish(old, vec![message("left"); LEFT]).await.unwrap();
    bench.queues.publish(busy, vec![message("new"); 200]).await.unwrap();
    bench.queues.retire(old).await.unwrap();
    let consumer = bench.queues.consume(&[busy], 1).await.unwrap();
    consumer.turn_to(&[busy], &[old]).await.unwrap();
    let mut left = 0;
    let emptied = async {
        while left < LEFT {
            let delivery = consumer.receive().await.unwrap();
            // Far longer than the permit is idle between two messages.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            left += usize::from(delivery.queue == old);
            consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
        }
    };
    let emptied = tokio::time::timeout(std::time::Duration::from_secs(15), emptied).await;
    assert!(emptied.is_ok(), "{left} of {LEFT} came");
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_spread_over_queues_that_are_nobodys_home() {
    const EACH: u32 = 2;
    let bench = OnRabbit::fresh().await;
    let queues: Vec<Queue> = (0..6).map(|n| Queue::Work(Work::Detect, n)).collect();
    for queue in &queues {
        bench.queues.open(*queue).await.unwrap();
    }
    let mut consumers = Vec::new();
    for _ in 0..queues.len() as u32 / EACH {
        consumers.push(bench.queues.consume(&queues, EACH).await.unwrap());
    }
    let channel = bench.queues.link.channel().await.unwrap();
    let spread = async {
        loop {
            let mut homeless = 0;
            for queue in &queues {
                homeless += usize::from(broker::look_at(&channel, *queue).await.unwrap().consumers == 0);
            }
            if homeless == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(30), spread).await.is_ok(), "a queue is nobody's home");
    for consumer in consumers {
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_come_and_go_have_nothing_delivered_again() {
    const MESSAGES: usize = 4000;
    let bench = OnRabbit::fresh().await;
    let queue = Queue::Work(Work::Detect, 0);
    let message = |n: usize| Message { body: Bytes::from(n.to_string()), ..Message::default() };
    bench.queues.publish(queue, (0..MESSAGES).map(message).collect()).await.unwrap();
    let mut received = 0;
    while received < MESSAGES {
        let consumer = bench.queues.consume(&[queue], 4).await.unwrap();
        let mut until_it_goes = 1 + received % 97;
        let mut going = None;
        while let Ok(delivery) = consumer.receive().await {
            assert_eq!(delivery.attempt, 1, "after {received}");
            received += 1;
            until_it_goes = until_it_goes.saturating_sub(1);
            if going.is_none() && (until_it_goes == 0 || received == MESSAGES) {
                let consumer = Arc::clone(&consumer);
                going = Some(tokio::spawn(async move { consumer.cancel().await }));
            }
            consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
        }
        going.unwrap().await.unwrap().unwrap();
        consumer.close().await.unwrap();
    }
    assert_eq!(received, MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_there_until_all_that_it_holds_is_finished() {
    let bench = OnRabbit::fresh().await;
    let queue = Queue::Work(Work::Detect, 0);
    let message = |text: &str| Message { body: Bytes::from(text.to_owned()), ..Message::default() };
    bench.queues.publish(queue, vec![message("first"), message("second"), message("third")]).await.unwrap();
    let consumer = bench.queues.consume(&[queue], 2).await.unwrap();
    let held = [consumer.receive().await.unwrap(), consumer.receive().await.unwrap()];
    consumer.cancel().await.unwrap();
    consumer.settle(held[0].tag, Settle::Ack).await.unwrap();
    let too_early = tokio::time::timeout(std::time::Duration::from_millis(300), consumer.receive()).await;
    assert!(too_early.is_err(), "it ended with one of two finished: {too_early:?}");
    consumer.settle(held[1].tag, Settle::Ack).await.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), consumer.receive()).await.unwrap();
    assert!(matches!(ended, Err(QueueError::Closed)), "the third one is somebody else's");
    consumer.close().await.unwrap();
    let depth = async {
        while bench.queues.depth(queue).await.unwrap() != (Depth { ready: 1, unacked: 0 }) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(20), depth).await.is_ok(), "what is finished is acked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_though_what_it_holds_takes_long() {
    let bench = OnRabbit::fresh().await;
    let queue = Queue::Work(Work::Detect, 0);
    let message = Message { body: Bytes::from("slow"), ..Message::default() };
    bench.queues.publish(queue, vec![message]).await.unwrap();
    let consumer = bench.queues.consume(&[queue], 1).await.unwrap();
    let slow = consumer.receive().await.unwrap();
    consumer.cancel().await.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), consumer.receive()).await.unwrap();
    assert!(matches!(ended, Err(QueueError::Closed)), "there was one");
    consumer.settle(slow.tag, Settle::Ack).await.unwrap();
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_its_subscription_ends_has_the_permit_of_what_is_finished() {
    let bench = OnRabbit::fresh().await;
    let (queue, other) = (Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 1));
    let messages = |count: usize| vec![Message { body: Bytes::from("any"), ..Message::default() }; count];
    let consumer = bench.queues.consume(&[queue, other], 4).await.unwrap();
    // One more than its share: one permit is left for two that come to the first queue.
    bench.queues.publish(other, messages(3)).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 3 {
        held.push(consumer.receive().await.unwrap());
    }
    bench.queues.publish(queue, messages(2)).await.unwrap();
    let first = consumer.receive().await.unwrap();
    consumer.cancel().await.unwrap();
    consumer.settle(first.tag, Settle::Ack).await.unwrap();
    // Without that permit it has to wait until the subscription gives up.
    let in_time = std::time::Duration::from_millis(1_500);
    held.push(tokio::time::timeout(in_time, consumer.receive()).await.expect("it comes in time").unwrap());
    assert_eq!((held[3].queue, held[3].attempt), (queue, 1));
    for delivery in held {
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    consumer.close().await.unwrap();
}
