//! What every queue does.
#![allow(missing_docs)] // Each case's name says what holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};

use super::{Bench, not_yet, soon};
use crate::queue::{
    Consumer, Delivery, Depth, HEADER_ATTEMPTS, HEADER_ERROR, Message, QueueError, Queues, Settle, Tag,
};

/// Makes a test of every case of the queue suite. The argument is a future of a fresh [`Bench<dyn Queues>`](Bench).
#[macro_export]
macro_rules! queue_conformance {
    ($bench:expr) => {
        $crate::conformance_cases!(
            queue,
            $bench,
            [
                a_queue_keeps_order_and_headers,
                a_prefetch_bounds_what_is_held_over_all_queues,
                a_waiting_consumer_gets_what_is_published,
                closing_gives_everything_back_with_one_more_attempt,
                a_crash_makes_everything_unsettled_ready_again,
                what_was_acked_stays_away_after_a_crash,
                a_requeued_message_comes_again,
                the_delivery_limit_leads_to_the_dead_letters,
                dead_letters_have_no_limit,
                a_delivery_is_settled_once,
                a_tag_belongs_to_its_consumer,
                a_cancelled_consumer_settles_what_it_holds,
                a_cancelled_wait_loses_nothing,
                consumers_share_and_each_message_comes_once,
                a_message_may_be_large,
                publishing_nothing_is_fine,
            ]
        );
        $crate::conformance_cases!(
            partitions,
            $bench,
            [
                a_partition_is_opened_retired_and_removed,
                what_is_given_back_keeps_a_retired_queue,
                the_first_partition_and_dead_letters_stay,
                a_consumer_turns_to_other_queues,
                a_consumer_that_turns_holds_no_more_than_before,
                a_cancelled_consumer_turns_no_more,
                what_is_published_while_partitions_change_is_there,
            ]
        );
    };
}

pub(super) const DETECT: Queue = Queue::Work(Work::Detect, 0);
pub(super) const OTHER: Queue = Queue::Work(Work::Detect, 1);

pub(super) fn message(text: impl Into<String>) -> Message {
    Message { body: Bytes::from(text.into()), headers: BTreeMap::new() }
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}

pub(super) async fn receive(consumer: &Arc<dyn Consumer>) -> Delivery {
    soon(consumer.receive()).await.unwrap()
}

/// Depths of a broker are measured now and then.
pub(super) async fn depth_becomes(queues: &Arc<dyn Queues>, queue: Queue, ready: u64, unacked: u64) {
    let wanted = Depth { ready, unacked };
    let measured = async || {
        let all = queues.depths().await.unwrap();
        (queues.depth(queue).await.unwrap(), all.get(&queue).copied().unwrap_or_default())
    };
    let reached = async {
        while measured().await != (wanted, wanted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(super::SOON, reached).await.is_err() {
        assert_eq!(measured().await, (wanted, wanted));
    }
    assert_eq!(queues.ready(queue).await.unwrap(), ready);
}

pub async fn a_queue_keeps_order_and_headers(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let headers = BTreeMap::from([("traceparent".to_owned(), "00-ab-cd-01".to_owned())]);
    queues.publish(DETECT, vec![Message { headers: headers.clone(), ..message("a") }, message("b")]).await.unwrap();
    queues.publish(DETECT, vec![message("c")]).await.unwrap();
    // Nobody has to measure that.
    assert_eq!(queues.ready(DETECT).await.unwrap(), 3);
    depth_becomes(&queues, DETECT, 3, 0).await;
    depth_becomes(&queues, OTHER, 0, 0).await;
    let consumer = queues.consume(&[DETECT], 10).await.unwrap();
    let deliveries = [receive(&consumer).await, receive(&consumer).await, receive(&consumer).await];
    assert_eq!(deliveries.each_ref().map(text), ["a", "b", "c"]);
    assert_eq!(deliveries[0].message.headers, headers);
    assert!(deliveries.iter().all(|d| d.attempt == 1 && d.queue == DETECT));
    depth_becomes(&queues, DETECT, 0, 3).await;
    for delivery in &deliveries {
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    depth_becomes(&queues, DETECT, 0, 0).await;
    assert!(not_yet(consumer.receive()).await);
}

pub async fn a_prefetch_bounds_what_is_held_over_all_queues(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a"), message("b")]).await.unwrap();
    queues.publish(OTHER, vec![message("c"), message("d")]).await.unwrap();
    let consumer = queues.consume(&[DETECT, OTHER], 2).await.unwrap();
    let first = receive(&consumer).await;
    let second = receive(&consumer).await;
    assert!(not_yet(consumer.receive()).await, "a third one came");
    consumer.settle(first.tag, Settle::Ack).await.unwrap();
    let third = receive(&consumer).await;
    assert!(not_yet(consumer.receive()).await, "a third one came");
    consumer.settle(second.tag, Settle::Ack).await.unwrap();
    let fourth = receive(&consumer).await;
    let all: BTreeSet<String> = [first, second, third, fourth].iter().map(text).collect();
    assert_eq!(all.len(), 4);
}

pub async fn a_waiting_consumer_gets_what_is_published(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let consumer = queues.consume(&[DETECT, OTHER], 1).await.unwrap();
    let waiting = tokio::spawn(async move { (consumer.receive().await.unwrap(), consumer) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    queues.publish(OTHER, vec![message("late")]).await.unwrap();
    let (delivery, _consumer) = soon(waiting).await.unwrap();
    assert_eq!((text(&delivery), delivery.queue), ("late".to_owned(), OTHER));
}

pub async fn closing_gives_everything_back_with_one_more_attempt(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a"), message("b")]).await.unwrap();
    let first = queues.consume(&[DETECT], 1).await.unwrap();
    let held = receive(&first).await;
    let waiting = {
        let first = Arc::clone(&first);
        tokio::spawn(async move { first.receive().await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.close().await.unwrap();
    assert!(matches!(soon(waiting).await.unwrap(), Err(QueueError::Closed)));
    assert!(matches!(first.receive().await, Err(QueueError::Closed)));
    assert!(first.settle(held.tag, Settle::Ack).await.is_err());
    let second = queues.consume(&[DETECT], 2).await.unwrap();
    let again = [receive(&second).await, receive(&second).await].map(|d| (text(&d), d.attempt));
    assert_eq!(BTreeSet::from(again), BTreeSet::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
}

pub async fn a_crash_makes_everything_unsettled_ready_again(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a"), message("b")]).await.unwrap();
    let consumer = queues.consume(&[DETECT], 1).await.unwrap();
    receive(&consumer).await;
    drop((consumer, queues));
    bench.crash().await;
    let queues = bench.backend();
    depth_becomes(&queues, DETECT, 2, 0).await;
    let consumer = queues.consume(&[DETECT], 2).await.unwrap();
    let again = [receive(&consumer).await, receive(&consumer).await].map(|d| (text(&d), d.attempt));
    assert_eq!(BTreeSet::from(again), BTreeSet::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
}

pub async fn what_was_acked_stays_away_after_a_crash(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, (0..10).map(|n| message(n.to_string())).collect()).await.unwrap();
    let consumer = queues.consume(&[DETECT], 10).await.unwrap();
    for _ in 0..9 {
        let delivery = receive(&consumer).await;
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    drop((consumer, queues));
    bench.crash().await;
    let queues = bench.backend();
    let consumer = queues.consume(&[DETECT], 10).await.unwrap();
    assert_eq!(text(&receive(&consumer).await), "9");
    assert!(not_yet(consumer.receive()).await);
}

pub async fn a_requeued_message_comes_again(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a")]).await.unwrap();
    let (first, second) = (queues.consume(&[DETECT], 1).await.unwrap(), queues.consume(&[DETECT], 1).await.unwrap());
    // Whoever has it gives it back.
    let (delivery, holder, other) = tokio::select! {
        delivery = first.receive() => (delivery.unwrap(), &first, &second),
        delivery = second.receive() => (delivery.unwrap(), &second, &first),
    };
    holder.cancel().await.unwrap();
    holder.settle(delivery.tag, Settle::Requeue).await.unwrap();
    let again = receive(other).await;
    assert_eq!((text(&again), again.attempt), ("a".to_owned(), 2));
}

pub async fn the_delivery_limit_leads_to_the_dead_letters(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let limit = bench.delivery_limit();
    let headers = BTreeMap::from([("traceparent".to_owned(), "00-ab-cd-01".to_owned())]);
    queues.publish(DETECT, vec![Message { headers, ..message("poison") }]).await.unwrap();
    for attempt in 1..=limit {
        let consumer = queues.consume(&[DETECT], 1).await.unwrap();
        let delivery = receive(&consumer).await;
        assert_eq!(delivery.attempt, attempt);
        if attempt % 2 == 0 {
            // A broker would hand it to this very consumer again.
            consumer.cancel().await.unwrap();
            consumer.settle(delivery.tag, Settle::Requeue).await.unwrap();
        }
        consumer.close().await.unwrap();
    }
    let dead = queues.consume(&[Queue::Dead(Work::Detect)], 1).await.unwrap();
    let letter = receive(&dead).await;
    assert_eq!((text(&letter), letter.queue), ("poison".to_owned(), Queue::Dead(Work::Detect)));
    let header = |name: &str| letter.message.headers.get(name).cloned();
    assert_eq!(header(HEADER_ATTEMPTS), Some(limit.to_string()));
    assert_eq!(header(HEADER_ERROR), Some(format!("delivered {limit} times without an answer")));
    assert_eq!(header("traceparent").as_deref(), Some("00-ab-cd-01"));
    depth_becomes(&queues, DETECT, 0, 0).await;
}

pub async fn dead_letters_have_no_limit(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let dead = Queue::Dead(Work::Merge);
    queues.publish(dead, vec![message("poison")]).await.unwrap();
    let consumer = queues.consume(&[dead], 1).await.unwrap();
    for _ in 0..bench.delivery_limit() + 3 {
        let delivery = receive(&consumer).await;
        consumer.settle(delivery.tag, Settle::Requeue).await.unwrap();
    }
    assert_eq!(text(&receive(&consumer).await), "poison");
}

pub async fn a_delivery_is_settled_once(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a")]).await.unwrap();
    let consumer = queues.consume(&[DETECT], 1).await.unwrap();
    let tag = receive(&consumer).await.tag;
    consumer.settle(tag, Settle::Ack).await.unwrap();
    for how in [Settle::Ack, Settle::Requeue] {
        assert!(matches!(consumer.settle(tag, how).await, Err(QueueError::NotHeld(t)) if t == tag));
    }
    let unknown = Tag(tag.0 + 1_000);
    assert!(matches!(consumer.settle(unknown, Settle::Ack).await, Err(QueueError::NotHeld(_))));
}

pub async fn a_tag_belongs_to_its_consumer(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a")]).await.unwrap();
    let holder = queues.consume(&[DETECT], 1).await.unwrap();
    let tag = receive(&holder).await.tag;
    let stranger = queues.consume(&[OTHER], 1).await.unwrap();
    assert!(matches!(stranger.settle(tag, Settle::Ack).await, Err(QueueError::NotHeld(_))));
    holder.settle(tag, Settle::Ack).await.unwrap();
}

pub async fn a_cancelled_consumer_settles_what_it_holds(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(DETECT, vec![message("a"), message("b"), message("c")]).await.unwrap();
    let first = queues.consume(&[DETECT], 3).await.unwrap();
    let mut held = vec![receive(&first).await];
    first.cancel().await.unwrap();
    // What was on its way comes yet, and nothing else.
    loop {
        match soon(first.receive()).await {
            Ok(delivery) => held.push(delivery),
            Err(error) => break assert!(matches!(error, QueueError::Closed), "{error}"),
        }
    }
    queues.publish(DETECT, vec![message("d")]).await.unwrap();
    let second = queues.consume(&[DETECT], 4).await.unwrap();
    let mut rest = Vec::new();
    while held.len() + rest.len() < 4 {
        rest.push(receive(&second).await);
    }
    let all: BTreeSet<String> = held.iter().chain(&rest).map(text).collect();
    assert_eq!(all.into_iter().collect::<String>(), "abcd");
    assert!(held.iter().chain(&rest).all(|delivery| delivery.attempt == 1), "something was delivered again");
    for delivery in &held {
        first.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    first.close().await.unwrap();
    depth_becomes(&queues, DETECT, 0, rest.len() as u64).await;
}

pub async fn a_cancelled_wait_loses_nothing(bench: &mut impl Bench<dyn Queues>) {
    const MESSAGES: usize = 60;
    let queues = bench.backend();
    let consumer = queues.consume(&[DETECT], 2).await.unwrap();
    let publishing = {
        let queues = Arc::clone(&queues);
        tokio::spawn(async move {
            for n in 0..MESSAGES {
                queues.publish(DETECT, vec![message(n.to_string())]).await.unwrap();
            }
        })
    };
    let mut seen = Vec::new();
    let mut patience = 0;
    let collect = async {
        while seen.len() < MESSAGES {
            // From hopeless to generous, so that waits are cut off at every point.
            patience = (patience + 37) % 3_000;
            let Ok(delivery) = tokio::time::timeout(Duration::from_micros(patience), consumer.receive()).await else {
                continue;
            };
            let delivery = delivery.unwrap();
            seen.push((text(&delivery).parse::<usize>().unwrap(), delivery.attempt));
            consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
        }
    };
    soon(collect).await;
    publishing.await.unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..MESSAGES).map(|n| (n, 1)).collect::<Vec<_>>());
}

pub async fn consumers_share_and_each_message_comes_once(bench: &mut impl Bench<dyn Queues>) {
    const MESSAGES: usize = 200;
    let queues = bench.backend();
    let (tell, mut told) = tokio::sync::mpsc::channel(MESSAGES);
    let mut workers = Vec::new();
    for _ in 0..4 {
        let consumer = queues.consume(&[DETECT, OTHER], 3).await.unwrap();
        let tell = tell.clone();
        workers.push(tokio::spawn(async move {
            while let Ok(delivery) = consumer.receive().await {
                consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
                tell.send(text(&delivery)).await.unwrap();
            }
        }));
    }
    for n in 0..MESSAGES {
        let queue = if n % 2 == 0 { DETECT } else { OTHER };
        queues.publish(queue, vec![message(n.to_string())]).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    for _ in 0..MESSAGES {
        assert!(seen.insert(soon(told.recv()).await.unwrap()), "a message came twice");
    }
    assert!(not_yet(told.recv()).await, "a message came twice");
    for worker in workers {
        worker.abort();
        let _ = worker.await;
    }
}

pub async fn a_message_may_be_large(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let body = Bytes::from((0..4 << 20).map(|n: u32| (n % 251) as u8).collect::<Vec<_>>());
    queues.publish(DETECT, vec![Message { body: body.clone(), ..Message::default() }]).await.unwrap();
    queues.publish(DETECT, vec![Message::default()]).await.unwrap();
    let consumer = queues.consume(&[DETECT], 2).await.unwrap();
    assert!(receive(&consumer).await.message.body == body);
    assert!(receive(&consumer).await.message.body.is_empty());
}

pub async fn publishing_nothing_is_fine(bench: &mut impl Bench<dyn Queues>) {
    bench.backend().publish(DETECT, Vec::new()).await.unwrap();
}
