//! A dispatcher over the embedded backends, and what it publishes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::queue::Settle;
use detektor_backends::store::CameraState;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{CameraId, Marker, Outcome, OutcomeBody, SegmentId, SegmentJob, wire};
use detektor_dispatcher::source::OpenOptions;
use detektor_dispatcher::{CameraConfig, CameraReport, Dispatcher, DispatcherConfig};
use detektor_runtime::Metrics;
use tokio_util::sync::CancellationToken;

/// Messages by segment, each time that they came.
pub type Published = BTreeMap<SegmentId, Vec<Bytes>>;

pub fn camera(name: &str, url: &str) -> CameraConfig {
    let open = OpenOptions { timeout: Duration::from_secs(2), ..OpenOptions::default() };
    CameraConfig { open, ..CameraConfig::new(CameraId::new(name).unwrap(), url.parse().unwrap()) }
}

pub fn file(name: &str, path: &Path) -> CameraConfig {
    camera(name, path.to_str().unwrap())
}

/// Ends by itself, and is quick to say that a camera is lost.
pub fn until_done() -> DispatcherConfig {
    DispatcherConfig { until_done: true, lost_after: Duration::from_millis(200), ..DispatcherConfig::default() }
}

/// What a run came to.
pub struct Ran {
    pub reports: Vec<CameraReport>,
    pub published: Published,
    pub states: BTreeMap<String, CameraState>,
}

impl Ran {
    pub fn jobs(&self, camera: &str) -> Vec<SegmentJob> {
        self.of(camera).filter_map(|body| wire::decode_job(body).ok()).collect()
    }

    pub fn markers(&self, camera: &str) -> Vec<Marker> {
        let outcomes = self.of(camera).filter_map(|body| wire::decode_outcome(body).ok());
        let marker = |outcome: Outcome| match outcome.body {
            OutcomeBody::Marker(marker) => marker,
            other => panic!("{other:?}"),
        };
        outcomes.map(marker).collect()
    }

    pub fn error(&self, camera: &str) -> String {
        let report = self.reports.iter().find(|report| report.camera.as_str() == camera).unwrap();
        report.error.clone().unwrap_or_default()
    }

    fn of(&self, camera: &str) -> impl Iterator<Item = &Bytes> {
        self.published.iter().filter(move |(id, _)| id.camera.as_str() == camera).map(|(_, bodies)| &bodies[0])
    }
}

/// Runs a dispatcher over a data directory and takes what it publishes, until it ends; `stop` may shut it down before.
pub async fn run(
    data: &Path,
    config: DispatcherConfig,
    cameras: Vec<CameraConfig>,
    mut published: Published,
    mut stop: impl FnMut(&Published) -> bool,
) -> Ran {
    let embedded = Embedded::open(data, Options::default()).await.unwrap();
    let (queues, store) = (embedded.queues(), embedded.store());
    let shutdown = CancellationToken::new();
    let dispatcher =
        Dispatcher::new(config, Arc::clone(&queues), embedded.bucket(), Arc::clone(&store), &Metrics::new())
            .await
            .unwrap();
    let consumer = queues.consume(&[Queue::Work(Work::Detect, 0), Queue::Work(Work::Merge, 0)], 8).await.unwrap();
    let mut running = tokio::spawn(dispatcher.run(cameras, shutdown.clone()));
    let mut reports = None;
    loop {
        tokio::select! {
            biased;
            delivery = consumer.receive() => {
                let delivery = delivery.unwrap();
                let body = delivery.message.body;
                let id = match wire::decode_job(&body) {
                    Ok(job) => job.id,
                    Err(_) => wire::decode_outcome(&body).unwrap().id,
                };
                published.entry(id).or_default().push(body);
                consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
                if stop(&published) {
                    shutdown.cancel();
                }
            }
            ended = &mut running, if reports.is_none() => reports = Some(ended.unwrap()),
            // Everything was confirmed before the dispatcher ended, so what is left is ready.
            () = tokio::time::sleep(Duration::from_millis(300)), if reports.is_some() => break,
        }
    }
    consumer.close().await.unwrap();
    let cameras = store.cameras().await.unwrap();
    let states = cameras.into_iter().map(|camera| (camera.id.to_string(), camera.state)).collect();
    embedded.close().await;
    Ran { reports: reports.unwrap(), published, states }
}

/// Runs to the end in a data directory of its own.
pub async fn run_once(cameras: Vec<CameraConfig>) -> Ran {
    let data = tempfile::tempdir().unwrap();
    run(data.path(), until_done(), cameras, Published::new(), |_| false).await
}
