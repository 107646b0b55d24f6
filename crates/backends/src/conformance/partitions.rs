//! Partitions that come and go. Part of the queue suite.
#![allow(missing_docs)] // Each case's name says what holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use detektor_contract::names::{Queue, Work};
use tokio::time::{Instant, sleep};

use super::queue::{DETECT, OTHER, depth_becomes, message, receive, text};
use super::{Bench, not_yet, soon};
use crate::queue::{Depth, QueueError, Queues, Settle, Standing};

/// Beyond all that a fresh backend has.
const NEW: Queue = Queue::Work(Work::Detect, 20);
const NEWER: Queue = Queue::Work(Work::Detect, 21);

async fn standing(queues: &Arc<dyn Queues>, queue: Queue) -> Option<Standing> {
    queues.partitions().await.unwrap().standing(queue)
}

/// What a broker holds is measured now and then.
async fn becomes_drained(queues: &Arc<dyn Queues>, queue: Queue) {
    let drained = async {
        while !queues.is_drained(queue).await.unwrap() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    soon(drained).await;
}

pub async fn a_partition_is_opened_retired_and_removed(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    assert_eq!(standing(&queues, NEW).await, None);
    assert_eq!(queues.depth(NEW).await.unwrap(), Depth::default());
    assert_eq!(queues.ready(NEW).await.unwrap(), 0);
    assert!(!queues.is_drained(NEW).await.unwrap(), "it is not there");
    for _ in 0..2 {
        queues.open(NEW).await.unwrap();
        assert_eq!(standing(&queues, NEW).await, Some(Standing::Open));
    }
    assert!(!queues.remove(NEW).await.unwrap(), "it is open");
    queues.publish(NEW, vec![message("a"), message("b")]).await.unwrap();
    depth_becomes(&queues, NEW, 2, 0).await;
    for _ in 0..2 {
        queues.retire(NEW).await.unwrap();
        assert_eq!(standing(&queues, NEW).await, Some(Standing::Retired));
    }
    assert!(!queues.is_drained(NEW).await.unwrap() && !queues.remove(NEW).await.unwrap(), "it holds something");

    // What comes now goes to the first.
    queues.publish(NEW, vec![message("c")]).await.unwrap();
    let first = queues.consume(&[DETECT], 1).await.unwrap();
    let moved = receive(&first).await;
    assert_eq!((text(&moved), moved.queue), ("c".to_owned(), DETECT));

    let consumer = queues.consume(&[DETECT], 2).await.unwrap();
    consumer.turn_to(&[], &[NEW]).await.unwrap();
    let held = [receive(&consumer).await, receive(&consumer).await];
    assert_eq!(
        held.each_ref().map(|delivery| (text(delivery), delivery.queue)),
        [("a".into(), NEW), ("b".into(), NEW)]
    );
    depth_becomes(&queues, NEW, 0, 2).await;
    assert!(!queues.is_drained(NEW).await.unwrap() && !queues.remove(NEW).await.unwrap(), "it is worked on");
    for delivery in held {
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
    becomes_drained(&queues, NEW).await;
    assert!(queues.remove(NEW).await.unwrap());
    assert_eq!(standing(&queues, NEW).await, None);
    assert!(!queues.remove(NEW).await.unwrap(), "it is gone");
    queues.retire(NEW).await.unwrap();
    assert_eq!(standing(&queues, NEW).await, None);

    consumer.turn_to(&[OTHER], &[]).await.unwrap();
    assert!(not_yet(consumer.receive()).await);
    queues.open(NEW).await.unwrap();
    queues.publish(NEW, vec![message("d")]).await.unwrap();
    consumer.turn_to(&[OTHER, NEW], &[]).await.unwrap();
    let again = receive(&consumer).await;
    assert_eq!((text(&again), again.queue, again.attempt), ("d".to_owned(), NEW, 1));
}

pub async fn what_is_given_back_keeps_a_retired_queue(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.open(NEW).await.unwrap();
    queues.publish(NEW, vec![message("a")]).await.unwrap();
    let first = queues.consume(&[NEW], 1).await.unwrap();
    receive(&first).await;
    queues.retire(NEW).await.unwrap();
    first.close().await.unwrap();
    depth_becomes(&queues, NEW, 1, 0).await;
    assert!(!queues.is_drained(NEW).await.unwrap() && !queues.remove(NEW).await.unwrap());
    let second = queues.consume(&[NEW], 1).await.unwrap();
    let again = receive(&second).await;
    assert_eq!((text(&again), again.attempt), ("a".to_owned(), 2));
    second.settle(again.tag, Settle::Ack).await.unwrap();
    becomes_drained(&queues, NEW).await;
    assert!(queues.remove(NEW).await.unwrap());
}

pub async fn the_first_partition_and_dead_letters_stay(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let dead = Queue::Dead(Work::Detect);
    for queue in [DETECT, dead] {
        queues.retire(queue).await.unwrap();
        assert!(!queues.is_drained(queue).await.unwrap() && !queues.remove(queue).await.unwrap());
        queues.publish(queue, vec![message("a")]).await.unwrap();
        let consumer = queues.consume(&[queue], 1).await.unwrap();
        assert_eq!(receive(&consumer).await.queue, queue);
    }
    queues.open(dead).await.unwrap();
    let partitions = queues.partitions().await.unwrap();
    assert_eq!(partitions.standing(DETECT), Some(Standing::Open));
    assert_eq!(partitions.standing(dead), None, "it is no partition");
    let works: Vec<Queue> = Work::ALL.map(|work| partitions.of(work, Standing::Open)).concat();
    assert!(works.contains(&DETECT) && works.contains(&Queue::Work(Work::Merge, 0)));
}

pub async fn a_consumer_turns_to_other_queues(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.open(NEW).await.unwrap();
    queues.publish(OTHER, vec![message("b")]).await.unwrap();
    queues.publish(NEW, vec![message("n")]).await.unwrap();
    queues.retire(NEW).await.unwrap();
    queues.publish(DETECT, vec![message("a")]).await.unwrap();
    let consumer = queues.consume(&[DETECT], 3).await.unwrap();
    let a = receive(&consumer).await;
    assert_eq!(text(&a), "a");
    assert!(not_yet(consumer.receive()).await);
    consumer.turn_to(&[OTHER], &[]).await.unwrap();
    let b = receive(&consumer).await;
    assert_eq!((text(&b), b.queue), ("b".to_owned(), OTHER));
    queues.publish(DETECT, vec![message("c")]).await.unwrap();
    // What is held is ours as before, and nothing new comes from there.
    consumer.settle(a.tag, Settle::Ack).await.unwrap();
    assert!(not_yet(consumer.receive()).await);
    depth_becomes(&queues, DETECT, 1, 0).await;
    consumer.turn_to(&[DETECT, OTHER], &[NEW]).await.unwrap();
    let rest = [receive(&consumer).await, receive(&consumer).await];
    assert_eq!(rest.iter().map(text).collect::<BTreeSet<_>>(), BTreeSet::from(["c".to_owned(), "n".to_owned()]));
    for delivery in rest.into_iter().chain([b]) {
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    }
}

pub async fn a_consumer_that_turns_holds_no_more_than_before(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    let four = || (0..4).map(|n| message(n.to_string())).collect();
    queues.publish(DETECT, four()).await.unwrap();
    queues.publish(OTHER, four()).await.unwrap();
    let consumer = queues.consume(&[DETECT], 2).await.unwrap();
    let mut held = vec![receive(&consumer).await, receive(&consumer).await];
    for turn in [&[DETECT, OTHER][..], &[OTHER], &[DETECT, OTHER]] {
        consumer.turn_to(turn, &[]).await.unwrap();
        assert!(not_yet(consumer.receive()).await, "a third one came");
    }
    let mut received = 2;
    while let Some(delivery) = held.pop() {
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
        if received < 8 {
            held.push(receive(&consumer).await);
            received += 1;
            assert!(not_yet(consumer.receive()).await, "a third one came");
        }
    }
    for queue in [DETECT, OTHER] {
        depth_becomes(&queues, queue, 0, 0).await;
    }
}

pub async fn a_cancelled_consumer_turns_no_more(bench: &mut impl Bench<dyn Queues>) {
    let queues = bench.backend();
    queues.publish(OTHER, vec![message("a")]).await.unwrap();
    let consumer = queues.consume(&[DETECT], 1).await.unwrap();
    consumer.cancel().await.unwrap();
    assert!(matches!(consumer.turn_to(&[OTHER], &[]).await, Err(QueueError::Closed)));
    assert!(matches!(soon(consumer.receive()).await, Err(QueueError::Closed)));
}

pub async fn what_is_published_while_partitions_change_is_there(bench: &mut impl Bench<dyn Queues>) {
    const PUBLISHERS: usize = 8;
    let all = [DETECT, NEW, NEWER];
    let queues = bench.backend();
    let until = Instant::now() + Duration::from_secs(2);
    let mut publishers = Vec::new();
    for publisher in 0..PUBLISHERS {
        let queues = Arc::clone(&queues);
        publishers.push(tokio::spawn(async move {
            let mut confirmed = Vec::new();
            for n in 0.. {
                if Instant::now() > until {
                    break;
                }
                let bodies = [format!("{publisher}/{n}/a"), format!("{publisher}/{n}/b")];
                let queue = all[(publisher + n) % all.len()];
                queues.publish(queue, bodies.iter().cloned().map(message).collect()).await.unwrap();
                confirmed.extend(bodies);
                sleep(Duration::from_millis(1)).await;
            }
            confirmed
        }));
    }
    let mut changes = 0;
    while Instant::now() < until {
        for queue in [NEW, NEWER] {
            queues.open(queue).await.unwrap();
            sleep(Duration::from_millis(7)).await;
            queues.retire(queue).await.unwrap();
            changes += 1;
        }
    }
    assert!(changes > 10, "{changes} changes");
    let mut confirmed = BTreeSet::new();
    for publisher in publishers {
        confirmed.extend(publisher.await.unwrap());
    }
    assert!(confirmed.len() > 100, "{} messages", confirmed.len());
    let consumer = queues.consume(&all, 64).await.unwrap();
    let mut left = confirmed.clone();
    let drain = async {
        while !left.is_empty() {
            let delivery = consumer.receive().await.unwrap();
            consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
            left.remove(&text(&delivery));
        }
    };
    let drained = tokio::time::timeout(Duration::from_secs(30), drain).await;
    assert!(drained.is_ok(), "{} of {} are lost", left.len(), confirmed.len());
}
