//! What the embedded queue promises beyond what every queue does.

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};

use super::*;
use crate::queue::{Message, QueueError, Settle};

const A: Queue = Queue::Work(Work::Detect, 0);
const B: Queue = Queue::Work(Work::Merge, 7);

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(|n| Message { body: Bytes::from(n.to_string()), ..Message::default() }).collect()
}

#[tokio::test]
async fn queues_take_turns() {
    let dir = DataDir::fresh().await;
    let queues = dir.open().queues();
    queues.publish(A, messages(4)).await.unwrap();
    queues.publish(B, messages(4)).await.unwrap();
    let consumer = queues.consume(&[A, B], 8).await.unwrap();
    let mut from = Vec::new();
    for _ in 0..8 {
        from.push(consumer.receive().await.unwrap().queue);
    }
    assert_eq!(from, [A, B, A, B, A, B, A, B]);
}

#[tokio::test]
async fn what_comes_back_goes_first() {
    let dir = DataDir::fresh().await;
    let queues = dir.open().queues();
    queues.publish(A, messages(4)).await.unwrap();
    let consumer = queues.consume(&[A], 4).await.unwrap();
    let (_zero, one) = (consumer.receive().await.unwrap(), consumer.receive().await.unwrap());
    consumer.settle(one.tag, Settle::Requeue).await.unwrap();
    let mut order = Vec::new();
    for _ in 0..3 {
        let delivery = consumer.receive().await.unwrap();
        order.push((delivery.message.body, delivery.attempt));
    }
    let expected = [("1", 2), ("2", 1), ("3", 1)].map(|(body, attempt)| (Bytes::from(body), attempt));
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_full_queue_says_so_and_takes_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = Embedded::open(dir.path(), Options { max_ready: 3, ..OPTIONS }).await.unwrap();
    let queues = open.queues();
    queues.publish(A, messages(3)).await.unwrap();
    assert!(matches!(queues.publish(A, messages(1)).await, Err(QueueError::Full { queue }) if queue == A));
    queues.publish(B, messages(1)).await.unwrap();
    let consumer = queues.consume(&[A], 1).await.unwrap();
    let held = consumer.receive().await.unwrap();
    queues.publish(A, messages(1)).await.unwrap();
    consumer.settle(held.tag, Settle::Ack).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_is_dropped_gives_everything_back() {
    let dir = DataDir::fresh().await;
    let queues = dir.open().queues();
    queues.publish(A, messages(1)).await.unwrap();
    let waiting = queues.consume(&[A, Queue::Dead(Work::Detect)], 1).await.unwrap();
    for attempt in 1..=OPTIONS.delivery_limit {
        let consumer = queues.consume(&[A], 1).await.unwrap();
        assert_eq!(consumer.receive().await.unwrap().attempt, attempt);
    }
    // The last one doomed it.
    assert_eq!(waiting.receive().await.unwrap().queue, Queue::Dead(Work::Detect));
}

#[tokio::test]
async fn what_kills_its_process_ends_among_the_dead_letters() {
    let mut dir = DataDir::fresh().await;
    dir.open().queues().publish(A, messages(1)).await.unwrap();
    for attempt in 1..=OPTIONS.delivery_limit {
        let consumer = dir.open().queues().consume(&[A], 1).await.unwrap();
        assert_eq!(consumer.receive().await.unwrap().attempt, attempt);
        drop(consumer);
        dir.crash().await;
    }
    let dead = dir.open().queues().consume(&[Queue::Dead(Work::Detect)], 1).await.unwrap();
    let letter = tokio::time::timeout(Duration::from_secs(10), dead.receive()).await.unwrap().unwrap();
    assert_eq!(letter.message.headers[crate::queue::HEADER_ATTEMPTS], "3");
    assert_eq!(dir.open().queues().depth(A).await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_settlement_that_is_cancelled_is_done_or_not() {
    let dir = DataDir::fresh().await;
    let queues = dir.open().queues();
    queues.publish(A, messages(100)).await.unwrap();
    let consumer = queues.consume(&[A], 5).await.unwrap();
    for n in 0..100u64 {
        let delivery = consumer.receive().await.unwrap();
        let settling = consumer.settle(delivery.tag, Settle::Ack);
        let settled = tokio::time::timeout(Duration::from_micros(n * 20), settling).await;
        if settled.is_err() {
            // Either it was on its way and ends by itself, or it can be done again.
            match consumer.settle(delivery.tag, Settle::Ack).await {
                Ok(()) | Err(QueueError::NotHeld(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    for _ in 0..200 {
        if queues.depth(A).await.unwrap() == Default::default() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", queues.depth(A).await.unwrap());
}

#[tokio::test]
async fn a_merge_that_is_open_delays_the_queue_and_no_more() {
    let dir = DataDir::fresh().await;
    let (queues, store) = (dir.open().queues(), dir.open().store());
    let merge = store.begin_merge(&[]).await.unwrap();
    let publishing = tokio::spawn(async move { queues.publish(A, messages(1)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!publishing.is_finished());
    assert!(store.cameras().await.unwrap().is_empty(), "reading goes on");
    drop(merge);
    publishing.await.unwrap().unwrap();
}
