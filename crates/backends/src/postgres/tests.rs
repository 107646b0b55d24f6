#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch};

use super::*;
use crate::conformance::Bench;
use crate::conformance::coordination::{self, CoordinationBench};
use crate::servers::PostgresServer;
use crate::store::EpochRequest;

/// A database of its own, and what is open of it.
struct Base {
    server: Arc<PostgresServer>,
    options: PostgresOptions,
    open: Option<Postgres>,
}

impl Base {
    async fn empty() -> Self {
        let server = PostgresServer::shared().await;
        let options = server.database().await;
        Self { server, options, open: None }
    }

    async fn fresh() -> Self {
        let mut base = Self::empty().await;
        Postgres::migrate(&base.options).await.unwrap();
        base.open = Some(Postgres::open(&base.options).await.unwrap());
        base
    }

    fn name(&self) -> &str {
        self.options.url.rsplit('/').next().unwrap()
    }

    fn open(&self) -> &Postgres {
        self.open.as_ref().unwrap()
    }

    /// Does something in the database, as its owner.
    async fn inside(&self, statement: &'static str) {
        let mut db = self.open().db.write().await.unwrap();
        sqlx::query(statement).execute(db.db()).await.unwrap();
        db.commit("testing").await.unwrap();
    }

    /// Cuts every connection.
    async fn cut(&self) {
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.name());
        self.server.execute(&cut).await;
    }
}

#[async_trait]
impl Bench<dyn EventStore> for Base {
    fn backend(&self) -> Arc<dyn EventStore> {
        self.open().store()
    }

    async fn crash(&mut self) {
        self.cut().await;
        self.open = Some(Postgres::open(&self.options).await.unwrap());
    }
}

#[async_trait]
impl Bench<dyn Coordination> for Base {
    fn backend(&self) -> Arc<dyn Coordination> {
        self.open().coordination()
    }

    async fn crash(&mut self) {
        Bench::<dyn EventStore>::crash(self).await;
    }
}

#[async_trait]
impl CoordinationBench for Base {
    async fn outcome(&mut self, camera: &CameraId, epoch: Epoch) {
        coordination::put_outcome(&*self.open().store(), camera, epoch).await;
    }

    async fn begin_live(&mut self, camera: &CameraId, now_ms: u64) -> Epoch {
        self.open().store().begin_epoch(camera, EpochRequest::Live { now_ms }).await.unwrap()
    }
}

mod concurrency;
mod opening;
mod tls;

mod store_suite {
    crate::store_conformance!(super::Base::fresh());
}

mod coordination_suite {
    crate::coordination_conformance!(super::Base::fresh());
}
