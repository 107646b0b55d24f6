//! A store and a bucket in a directory of their own, the API over them, and what cameras might have seen.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod browser;
pub mod footage;
pub mod quarantine;
pub mod scene;
pub mod seed;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use detektor_backends::bucket::Bucket;
use detektor_backends::coordination::Coordination;
use detektor_backends::embedded::{self, Embedded};
use detektor_backends::queue::Queues;
use detektor_backends::store::{CameraUpdate, EventStore};
use detektor_contract::fold::{CameraFold, Seams};
use detektor_contract::{CameraId, Outcome};
use detektor_events::{Api, Behind, Options, Tokens, router};
use detektor_runtime::http::Peer;
use detektor_runtime::metrics::Metrics;
use detektor_runtime::role::OpenQueues;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A data directory and the API over it.
pub struct Bed {
    pub store: Arc<dyn EventStore>,
    pub bucket: Arc<dyn Bucket>,
    pub coordination: Arc<dyn Coordination>,
    pub queues: Arc<dyn Queues>,
    pub api: Api,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    // Last: the directory goes when everything in it is closed.
    embedded: Embedded,
    _dir: tempfile::TempDir,
}

/// An answer that was read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Bed {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with_tokens(read: &str, admin: &str) -> Self {
        Self::with(Options { tokens: Tokens::new(Some(read), Some(admin)), ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path(), embedded::Options::default()).await.unwrap();
        let (store, bucket) = (embedded.store(), embedded.bucket());
        let (metrics, shutdown) = (Metrics::new(), CancellationToken::new());
        let coordination = embedded.coordination();
        let queues = embedded.queues();
        let behind = Behind {
            store: store.clone(),
            bucket: bucket.clone(),
            coordination: Some(coordination.clone()),
            queues: Some(opened(&queues)),
        };
        let api = Api::new(behind, options, &metrics, shutdown.clone()).unwrap();
        Self { store, bucket, coordination, queues, api, metrics, shutdown, embedded, _dir: dir }
    }

    /// Closes the store under the API.
    pub async fn close(self) -> (Router, tempfile::TempDir) {
        let router = self.router();
        self.embedded.close().await;
        (router, self._dir)
    }

    /// A new API over what is stored, as after a restart.
    pub fn reopen(&mut self) {
        (self.metrics, self.shutdown) = (Metrics::new(), CancellationToken::new());
        let behind =
            Behind { store: self.store.clone(), bucket: self.bucket.clone(), coordination: None, queues: None };
        self.api = Api::new(behind, Options::default(), &self.metrics, self.shutdown.clone()).unwrap();
    }

    pub fn router(&self) -> Router {
        router(self.api.clone())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Body::empty()).unwrap()).await
    }

    /// As `send`, from this address.
    pub async fn send_from(&self, address: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path).extension(Peer::at(address.parse().unwrap()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Body::empty()).unwrap()).await
    }

    /// Sends a body.
    pub async fn send_body(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    /// Does what merge does with outcomes of one camera that come in order.
    pub async fn settle(&self, camera: &CameraId, outcomes: &[Outcome]) {
        settle(self.store.as_ref(), camera, outcomes).await;
    }
}

/// Queues that are open already.
pub fn opened(queues: &Arc<dyn Queues>) -> OpenQueues {
    let queues = queues.clone();
    Arc::new(move || Box::pin(std::future::ready(Ok(queues.clone()))))
}

/// See [`Bed::settle`].
pub async fn settle(store: &dyn EventStore, camera: &CameraId, outcomes: &[Outcome]) {
    let mut tx = store.begin_merge(std::slice::from_ref(camera)).await.unwrap();
    let head = tx.head(camera).await.unwrap();
    let mut fold = head.map_or_else(|| CameraFold::new(camera.clone()), |head| CameraFold::from_bytes(&head).unwrap());
    for outcome in outcomes {
        tx.put(outcome).await.unwrap();
    }
    let seams: Seams = tx.seams(camera).await.unwrap().into_iter().collect();
    let (mut changes, mut gaps) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let (at, made) = (outcome.id.position(), fold.apply(outcome, &seams.limit(outcome.id.epoch)));
        changes.extend(made.changes.into_iter().map(|change| (at, change)));
        gaps.extend(made.gap.map(|gap| (at, gap)));
    }
    let update = CameraUpdate {
        camera: camera.clone(),
        head: fold.to_bytes(),
        frontier: fold.frontier(),
        ledger: fold.ledger().clone(),
        merged_until: fold.merged_until(),
        waiting: None,
        refolded_from: None,
        checkpoints: Vec::new(),
        changes,
        gaps,
    };
    tx.update(update, true).await.unwrap();
    tx.commit().await.unwrap();
}
