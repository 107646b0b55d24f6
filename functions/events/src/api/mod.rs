//! The HTTP interface.

mod cameras;
mod clip;
mod events;
mod openapi;
mod snapshot;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use detektor_backends::bucket::Bucket;
use detektor_backends::store::{EventStore, StoreError};
use detektor_runtime::http::Check;
use detektor_runtime::metrics::{Metrics as Registry, MetricsError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::{self, Tokens};
use crate::metrics::Metrics;
use crate::problem::ApiError;
use crate::{guard, page};

/// Streams open at a time. Each costs a look at the feed whenever it grows.
const STREAMS: usize = 256;
/// Clips laid out at a time; further ones wait.
const CLIPS: usize = 4;
/// How often readiness is looked at, and how long that may take.
const READY_EVERY: Duration = Duration::from_secs(2);
const READY_WITHIN: Duration = Duration::from_secs(5);
/// The login form is the only body that is read.
const BODY_BYTES: usize = 16 * 1024;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    store: Arc<dyn EventStore>,
    bucket: Arc<dyn Bucket>,
    options: Options,
    metrics: Metrics,
    shutdown: CancellationToken,
    streams: Arc<Semaphore>,
    clips: Semaphore,
}

/// Who is answered, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tokens that are asked for.
    pub tokens: Tokens,
    /// Without tokens only requests to a loopback name are answered, unless this says that everybody may read.
    pub allow_unauthenticated: bool,
    /// After so much silence a stream says that it still stands, and where. Below a minute, for the proxies' sake.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { tokens: Tokens::default(), allow_unauthenticated: false, heartbeat: Duration::from_secs(15) }
    }
}

impl Api {
    /// An API over a store and a bucket. Streams end when `shutdown` is cancelled, so that a drain need not wait for
    /// them.
    ///
    /// # Errors
    /// If the registry has its metrics already.
    pub fn new(
        store: Arc<dyn EventStore>,
        bucket: Arc<dyn Bucket>,
        options: Options,
        registry: &Registry,
        shutdown: CancellationToken,
    ) -> Result<Self, MetricsError> {
        let routes: Vec<&str> = ROUTES.iter().copied().chain(page::paths()).collect();
        let metrics = Metrics::new(registry, &routes)?;
        let (streams, clips) = (Arc::new(Semaphore::new(STREAMS)), Semaphore::new(CLIPS));
        Ok(Self(Arc::new(Shared { store, bucket, options, metrics, shutdown, streams, clips })))
    }

    /// Whether it can answer: the store does.
    ///
    /// # Errors
    /// The store's.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.0.store.ping().await
    }

    /// Keeps a readiness check true, until shutdown.
    pub async fn watch(&self, check: &Check) {
        let mut each = tokio::time::interval(READY_EVERY);
        while self.0.shutdown.run_until_cancelled(each.tick()).await.is_some() {
            match tokio::time::timeout(READY_WITHIN, self.ready()).await {
                Ok(Ok(())) => check.pass(),
                Ok(Err(error)) => check.fail(error.to_string()),
                Err(_) => check.fail(format!("the event store did not answer within {} s", READY_WITHIN.as_secs())),
            }
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.0.store
    }

    pub(crate) fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.0.bucket
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.options.tokens
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        self.0.options.heartbeat
    }

    /// Whether a request from anywhere is answered without a token.
    pub(crate) fn is_open(&self) -> bool {
        self.0.options.allow_unauthenticated
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

    pub(crate) fn clips(&self) -> &Semaphore {
        &self.0.clips
    }
}

/// The paths below, as metrics call them.
const ROUTES: [&str; 13] = [
    "/v1/openapi.json",
    "/v1/cameras",
    "/v1/cameras/{id}",
    "/v1/cameras/{id}/ledger",
    "/v1/cameras/{id}/detections",
    "/v1/cameras/{id}/timeline",
    "/v1/events",
    "/v1/events/stream",
    "/v1/events/{id}",
    "/v1/events/{id}/snapshot",
    "/v1/events/{id}/clip",
    "/login",
    "/logout",
];

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
        .route("/v1/events/{id}/clip", get(clip::clip))
        .route("/login", post(auth::login))
        .route("/logout", post(auth::logout))
        .merge(page::router())
        .fallback(|| async { ApiError::NotFound("there is nothing at this path".to_owned()) })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), guard::around))
        .with_state(api)
}
