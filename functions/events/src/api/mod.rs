//! The HTTP interface.

mod cameras;
mod events;
mod openapi;
mod snapshot;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use detektor_backends::bucket::Bucket;
use detektor_backends::store::{EventStore, StoreError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::{self, Tokens};
use crate::metrics::Metrics;
use crate::problem::ApiError;
use crate::{guard, page};

/// Streams open at a time. Each costs a look at the feed whenever it grows.
const STREAMS: usize = 256;
/// The login form is the only body that is read.
const BODY_BYTES: usize = 16 * 1024;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    store: Arc<dyn EventStore>,
    bucket: Arc<dyn Bucket>,
    tokens: Tokens,
    metrics: Metrics,
    shutdown: CancellationToken,
    streams: Arc<Semaphore>,
}

impl Api {
    /// An API over a store and a bucket. Streams end when `shutdown` is cancelled, so that a drain need not wait for them.
    pub fn new(
        store: Arc<dyn EventStore>,
        bucket: Arc<dyn Bucket>,
        tokens: Tokens,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(STREAMS));
        Self(Arc::new(Shared { store, bucket, tokens, metrics, shutdown, streams }))
    }

    /// Whether it can answer: the store does.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.0.store.ping().await
    }

    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.0.store
    }

    pub(crate) fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.0.bucket
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }
}

/// Every path: the API below `/v1`, the page at `/`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/cameras", get(cameras::list))
        .route("/v1/cameras/{id}", get(cameras::one))
        .route("/v1/cameras/{id}/ledger", get(cameras::ledger))
        .route("/v1/cameras/{id}/detections", get(cameras::detections))
        .route("/v1/cameras/{id}/timeline", get(cameras::timeline))
        .route("/v1/events", get(events::list))
        .route("/v1/events/stream", get(stream::stream))
        .route("/v1/events/{id}", get(events::one))
        .route("/v1/events/{id}/snapshot", get(snapshot::snapshot))
        .route("/login", post(auth::login))
        .route("/logout", post(auth::logout))
        .merge(page::router())
        .fallback(|| async { ApiError::NotFound("there is nothing at this path".to_owned()) })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), guard::around))
        .with_state(api)
}
