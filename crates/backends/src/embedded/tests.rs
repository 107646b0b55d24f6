#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch};
use tempfile::TempDir;

use super::*;
use crate::conformance::Bench;
use crate::conformance::coordination::{self, CoordinationBench};
use crate::store::EpochRequest;

mod crash;
mod opening;
mod queue;

/// A data directory and what is open of it.
pub(super) struct DataDir {
    dir: TempDir,
    open: Option<Embedded>,
}

const OPTIONS: Options = Options { delivery_limit: 3, max_ready: 1_000_000 };

impl DataDir {
    pub(super) async fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = Some(reopen(dir.path()).await);
        Self { dir, open }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn open(&self) -> &Embedded {
        self.open.as_ref().unwrap()
    }

    pub(super) async fn crash(&mut self) {
        self.open = None;
        self.open = Some(reopen(self.dir.path()).await);
    }
}

/// Opens a directory that this process may be about to give up: connections end in the background.
pub(super) async fn reopen(dir: &Path) -> Embedded {
    for _ in 0..1_000 {
        match Embedded::open(dir, OPTIONS).await {
            Err(StoreError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("somebody still has {}", dir.display());
}

#[async_trait]
impl Bench<dyn Queues> for DataDir {
    fn backend(&self) -> Arc<dyn Queues> {
        self.open().queues()
    }

    async fn crash(&mut self) {
        DataDir::crash(self).await;
    }

    fn delivery_limit(&self) -> u32 {
        OPTIONS.delivery_limit
    }
}

#[async_trait]
impl Bench<dyn Bucket> for DataDir {
    fn backend(&self) -> Arc<dyn Bucket> {
        self.open().bucket()
    }

    async fn crash(&mut self) {
        DataDir::crash(self).await;
    }
}

#[async_trait]
impl Bench<dyn EventStore> for DataDir {
    fn backend(&self) -> Arc<dyn EventStore> {
        self.open().store()
    }

    async fn crash(&mut self) {
        DataDir::crash(self).await;
    }
}

#[async_trait]
impl Bench<dyn Coordination> for DataDir {
    fn backend(&self) -> Arc<dyn Coordination> {
        self.open().coordination()
    }

    async fn crash(&mut self) {
        DataDir::crash(self).await;
    }
}

#[async_trait]
impl CoordinationBench for DataDir {
    async fn outcome(&mut self, camera: &CameraId, epoch: Epoch) {
        coordination::put_outcome(&*self.open().store(), camera, epoch).await;
    }

    async fn begin_live(&mut self, camera: &CameraId, now_ms: u64) -> Epoch {
        self.open().store().begin_epoch(camera, EpochRequest::Live { now_ms }).await.unwrap()
    }
}

mod queue_suite {
    crate::queue_conformance!(super::DataDir::fresh());
}

mod bucket_suite {
    crate::bucket_conformance!(super::DataDir::fresh());
}

mod store_suite {
    crate::store_conformance!(super::DataDir::fresh());
}

mod coordination_suite {
    crate::coordination_conformance!(super::DataDir::fresh());
}
