#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{ObjectKey, Position};

use super::*;
use crate::bucket::Bucket as _;
use crate::conformance::samples::{at, camera, result, update};
use crate::embedded::{Embedded, Options};
use crate::queue::{Message, Queues as _, Settle};
use crate::store::EventStore as _;

#[test]
fn a_plan_counts_by_name_and_over_all() {
    let plan = Plan::new();
    plan.fail_call("put", 1, Moment::After, 2);
    plan.fail_nth(4, Moment::Before);
    let seen: Vec<_> = ["put", "get", "put", "put", "get", "put"].map(|call| plan.next(call)).into();
    assert_eq!(seen, [None, None, Some(Moment::After), Some(Moment::After), Some(Moment::Before), None]);
    plan.fail_all();
    assert_eq!((plan.next("a"), plan.next("b")), (Some(Moment::Before), Some(Moment::Before)));
    plan.heal();
    assert_eq!(plan.next("a"), None);
    assert_eq!(plan.calls().len(), 9);
}

#[tokio::test]
async fn a_call_that_fails_afterwards_has_had_its_effect() {
    let dir = tempfile::tempdir().unwrap();
    let open = Embedded::open(dir.path(), Options::default()).await.unwrap();
    let plan = Plan::new();
    let store = FailingStore::new(open.store(), Arc::clone(&plan));
    let gate = camera("gate");
    for (sequence, moment, frontier) in [(0, Moment::Before, None), (1, Moment::After, Some(at(1, 1)))] {
        plan.fail_call("commit", 0, moment, 1);
        let mut merge = store.begin_merge(std::slice::from_ref(&gate)).await.unwrap();
        let place = Position { sequence, ..at(1, 0) };
        merge.put(&result(&gate, place)).await.unwrap();
        merge.update(update(&gate, place), true).await.unwrap();
        assert!(merge.commit().await.is_err());
        assert_eq!(store.frontier(&gate).await.unwrap(), frontier, "{moment:?}");
    }
}

#[tokio::test]
async fn queues_and_buckets_fail_by_the_same_plan() {
    let dir = tempfile::tempdir().unwrap();
    let open = Embedded::open(dir.path(), Options::default()).await.unwrap();
    let plan = Plan::new();
    let queues = FailingQueues::new(open.queues(), Arc::clone(&plan));
    let bucket = FailingBucket::new(open.bucket(), Arc::clone(&plan));
    let queue = Queue::Work(Work::Merge, 0);
    plan.fail_nth(1, Moment::After);
    let key = ObjectKey::parse("a").unwrap();
    bucket.put(&key, Bytes::from_static(b"x")).await.unwrap();
    assert!(queues.publish(queue, vec![Message::default()]).await.is_err());
    assert_eq!(queues.depth(queue).await.unwrap().ready, 1);
    plan.fail_call("receive", 0, Moment::After, 1);
    plan.fail_call("ack", 0, Moment::Before, 1);
    let consumer = queues.consume(&[queue], 1).await.unwrap();
    assert!(consumer.receive().await.is_err());
    let again = consumer.receive().await.unwrap();
    assert_eq!(again.attempt, 2);
    assert!(consumer.settle(again.tag, Settle::Ack).await.is_err());
    consumer.settle(again.tag, Settle::Ack).await.unwrap();
    plan.fail_all();
    assert!(bucket.get(&key).await.is_err());
    assert_eq!(plan.calls().last(), Some(&"get"));
}
