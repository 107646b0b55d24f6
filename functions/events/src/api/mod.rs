//! The HTTP interface.

mod admin;
mod cameras;
mod clip;
mod events;
mod openapi;
mod quarantine;
mod snapshot;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::request::Parts;
use axum::middleware;
use axum::routing::{get, post};
use detektor_backends::bucket::Bucket;
use detektor_backends::coordination::Coordination;
use detektor_backends::queue::Queues;
use detektor_backends::store::{EventStore, StoreError};
use detektor_runtime::http::Check;
use detektor_runtime::metrics::{Metrics as Registry, MetricsError};
use detektor_runtime::replay::Quarantine;
use detektor_runtime::role::OpenQueues;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::auth::{self, Tokens};
use crate::limits::{Gate, Limits};
use crate::metrics::Metrics;
use crate::problem::ApiError;
use crate::{guard, page};

/// Clips laid out at a time; further ones wait.
const CLIPS: usize = 4;
/// How long the queues may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How often readiness is looked at, and how long that may take.
const READY_EVERY: Duration = Duration::from_secs(2);
const READY_WITHIN: Duration = Duration::from_secs(5);

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    behind: Behind,
    options: Options,
    metrics: Metrics,
    shutdown: CancellationToken,
    gate: Gate,
    clips: Semaphore,
    quarantine: Quarantine,
    queues: OnceCell<Arc<dyn Queues>>,
}

/// What the API stands before.
#[derive(Clone)]
pub struct Behind {
    /// Events and ledgers.
    pub store: Arc<dyn EventStore>,
    /// Snapshots and video.
    pub bucket: Arc<dyn Bucket>,
    /// Which cameras are wanted; none where the configuration alone says so.
    pub coordination: Option<Arc<dyn Coordination>>,
    /// Opens the queues that replayed segments go to, at the first one; none where nothing can be replayed.
    pub queues: Option<OpenQueues>,
}

/// Who is answered, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tokens that are asked for.
    pub tokens: Tokens,
    /// Without tokens only requests to a loopback name are answered, unless this says that everybody may read. To read is then
    /// all that anybody may.
    pub allow_unauthenticated: bool,
    /// How much clients may ask for.
    pub limits: Limits,
    /// After so much silence a stream says that it still stands, and where. Below a minute, for the proxies' sake.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            allow_unauthenticated: false,
            limits: Limits::default(),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl Api {
    /// An API over what lies behind it. Streams end when `shutdown` is cancelled, so that a drain need not wait for
    /// them.
    ///
    /// # Errors
    /// If the registry has its metrics already.
    pub fn new(
        behind: Behind,
        options: Options,
        registry: &Registry,
        shutdown: CancellationToken,
    ) -> Result<Self, MetricsError> {
        let routes: Vec<&str> = ROUTES.iter().copied().chain(page::paths()).collect();
        let metrics = Metrics::new(registry, &routes)?;
        let (gate, clips) = (Gate::new(options.limits), Semaphore::new(CLIPS));
        let quarantine = Quarantine::new(Arc::clone(&behind.store), Arc::clone(&behind.bucket));
        let queues = OnceCell::new();
        Ok(Self(Arc::new(Shared { behind, options, metrics, shutdown, gate, clips, quarantine, queues })))
    }

    /// Whether a request for what is served beside the API, such as numbers, may be answered: it shows a token, if one is
    /// asked for.
    pub fn admits(&self, parts: &Parts) -> bool {
        guard::admits(self, parts)
    }

    /// Whether it can answer: the store does.
    ///
    /// # Errors
    /// The store's.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.0.behind.store.ping().await
    }

    /// Keeps a readiness check true, and forgets clients that are gone, until shutdown.
    pub async fn watch(&self, check: &Check) {
        let mut each = tokio::time::interval(READY_EVERY);
        while self.0.shutdown.run_until_cancelled(each.tick()).await.is_some() {
            match tokio::time::timeout(READY_WITHIN, self.ready()).await {
                Ok(Ok(())) => check.pass(),
                Ok(Err(error)) => check.fail(error.to_string()),
                Err(_) => check.fail(format!("the event store did not answer within {} s", READY_WITHIN.as_secs())),
            }
            self.0.gate.forget();
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.0.behind.store
    }

    pub(crate) fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.0.behind.bucket
    }

    pub(crate) fn coordination(&self) -> Option<&Arc<dyn Coordination>> {
        self.0.behind.coordination.as_ref()
    }

    pub(crate) fn quarantine(&self) -> &Quarantine {
        &self.0.quarantine
    }

    /// The queues, opened if they are not yet.
    pub(crate) async fn queues(&self) -> Result<Arc<dyn Queues>, ApiError> {
        let Some(open) = &self.0.behind.queues else {
            return Err(ApiError::Conflict("this process was not told of a queue: replay by command".to_owned()));
        };
        let queues = async { Ok::<_, ApiError>(Arc::clone(self.0.queues.get_or_try_init(open.as_ref()).await?)) };
        let away = ApiError::Timeout { seconds: OPEN_WITHIN.as_secs() };
        tokio::time::timeout(OPEN_WITHIN, queues).await.unwrap_or(Err(away))
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

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn clips(&self) -> &Semaphore {
        &self.0.clips
    }
}

/// The paths below, as metrics call them.
const ROUTES: [&str; 17] = [
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
    "/v1/quarantine",
    "/v1/quarantine/{camera}/{epoch}/{sequence}/replay",
    "/v1/admin/cameras",
    "/v1/admin/cameras/{id}",
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
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/quarantine/{camera}/{epoch}/{sequence}/replay", post(quarantine::replay))
        .route("/v1/admin/cameras", get(admin::list))
        .route("/v1/admin/cameras/{id}", get(admin::one).put(admin::put).delete(admin::remove))
        .route("/login", post(auth::login))
        .route("/logout", post(auth::logout))
        .merge(page::router())
        .fallback(|| async { ApiError::NotFound("there is nothing at this path".to_owned()) })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(DefaultBodyLimit::max(api.gate().limits().body_bytes))
        .layer(middleware::from_fn_with_state(api.clone(), guard::around))
        .with_state(api)
}
