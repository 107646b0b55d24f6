#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, Position};

use super::*;
use crate::bucket::Bucket;
use crate::conformance::coordination::CoordinationBench;
use crate::conformance::{Bench, samples};
use crate::coordination::Coordination;
use crate::queue::Queues;
use crate::store::{EpochRequest, EventStore};

const DELIVERY_LIMIT: u32 = 3;

/// What is in memory is what others have on their disks: a crash changes nothing.
struct InMemory {
    queues: Arc<MemoryQueues>,
    bucket: Arc<MemoryBucket>,
    database: Arc<MemoryDatabase>,
}

impl InMemory {
    async fn fresh() -> Self {
        let queues = MemoryQueues::new(DELIVERY_LIMIT);
        Self { queues, bucket: MemoryBucket::new(), database: MemoryDatabase::new() }
    }
}

#[async_trait]
impl Bench<dyn Queues> for InMemory {
    fn backend(&self) -> Arc<dyn Queues> {
        Arc::new(Arc::clone(&self.queues))
    }

    async fn crash(&mut self) {}

    fn delivery_limit(&self) -> u32 {
        DELIVERY_LIMIT
    }
}

#[async_trait]
impl Bench<dyn Bucket> for InMemory {
    fn backend(&self) -> Arc<dyn Bucket> {
        self.bucket.clone()
    }

    async fn crash(&mut self) {}
}

#[async_trait]
impl Bench<dyn EventStore> for InMemory {
    fn backend(&self) -> Arc<dyn EventStore> {
        Arc::new(Arc::clone(&self.database))
    }

    async fn crash(&mut self) {}
}

#[async_trait]
impl Bench<dyn Coordination> for InMemory {
    fn backend(&self) -> Arc<dyn Coordination> {
        self.database.clone()
    }

    async fn crash(&mut self) {}
}

#[async_trait]
impl CoordinationBench for InMemory {
    async fn outcome(&mut self, camera: &CameraId, epoch: Epoch) {
        let mut merge = self.database.begin_merge(std::slice::from_ref(camera)).await.unwrap();
        merge.put(&samples::result(camera, Position { epoch, sequence: 0 })).await.unwrap();
        merge.commit().await.unwrap();
    }

    async fn begin_live(&mut self, camera: &CameraId, now_ms: u64) -> Epoch {
        self.database.begin_epoch(camera, EpochRequest::Live { now_ms }).await.unwrap()
    }
}

mod queue_suite {
    crate::queue_conformance!(super::InMemory::fresh());
}

mod bucket_suite {
    crate::bucket_conformance!(super::InMemory::fresh());
}

mod store_suite {
    crate::store_conformance!(super::InMemory::fresh());
}

mod coordination_suite {
    crate::coordination_conformance!(super::InMemory::fresh());
}

#[tokio::test]
async fn a_restored_database_is_as_it_was_and_ends_transactions() {
    let database = MemoryDatabase::new();
    let gate = samples::camera("gate");
    let at = |sequence| Position { epoch: Epoch(1), sequence };
    let put = async |sequence| {
        let mut merge = database.begin_merge(std::slice::from_ref(&gate)).await.unwrap();
        merge.put(&samples::result(&gate, at(sequence))).await.unwrap();
        merge
    };
    put(0).await.commit().await.unwrap();
    let before = database.snapshot();
    put(1).await.commit().await.unwrap();
    let under_way = put(2).await;
    database.restore(before);
    assert!(under_way.commit().await.is_err());
    assert_eq!(database.outcomes(&gate, at(0), 10).await.unwrap().len(), 1);
    put(3).await.commit().await.unwrap();
    assert_eq!(database.outcomes(&gate, at(0), 10).await.unwrap().len(), 2);
}
