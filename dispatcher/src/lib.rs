//! Camera streams in, segment jobs out: demuxes, never decodes, and cuts at key frames into segments that decode alone.
//!
//! A [`source`] gives access units; [`ingest`] places and names them; the [`slicer`] decides where to cut; [`record`]
//! makes jobs and markers; [`publish`] puts them into the queues, and what a live camera cannot publish the [`spool`]
//! keeps. A camera of the [`Dispatcher`] is all of them in a row.
//!
//! Invariant: nothing here decodes a picture or knows what becomes of a segment, and a file gives the same records each
//! time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::bucket::Bucket;
use detektor_backends::queue::Queues;
use detektor_backends::store::EventStore;
use detektor_runtime::Metrics;
use detektor_runtime::blocking::StartError;
use detektor_runtime::fields::Mistakes;
use detektor_runtime::metrics::MetricsError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod camera;
pub mod distributed;
pub mod ingest;
mod metrics;
mod pace;
pub mod publish;
pub mod record;
pub mod role;
pub mod slicer;
pub mod source;
pub mod spec;
pub mod spool;

pub use camera::{CameraConfig, CameraReport};
pub use ingest::Cutting;
pub use metrics::Numbers;
pub use pace::Pace;
pub use source::SourceUrl;

use camera::{Camera, Shared};
use publish::Outlets;
use spool::{Keeper, Spool};

/// How the dispatcher works.
#[derive(Clone, Debug)]
pub struct DispatcherConfig {
    /// How streams are cut.
    pub cutting: Cutting,
    /// The most bytes of video that travel inside a message; larger segments are objects.
    pub inline_bytes: usize,
    /// A file waits while so many segments of its partition are ready for detect.
    pub most_ready: u64,
    /// A lost camera is said to be lost after so long, which closes its events.
    pub lost_after: Duration,
    /// How long to go on publishing after shutdown.
    pub drain: Duration,
    /// Stop the cameras once all files are through, give up what cannot be opened at once, and take the first end of an
    /// HTTP stream without a length for its end.
    pub until_done: bool,
    /// A folder of this dispatcher's own for what live cameras cannot publish; none lets them wait, and lose what comes
    /// meanwhile.
    pub spool_dir: Option<PathBuf>,
    /// The most bytes that it holds.
    pub spool_bytes: u64,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self {
            cutting: Cutting::default(),
            inline_bytes: 4 << 20,
            most_ready: 32,
            lost_after: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            until_done: false,
            spool_dir: None,
            spool_bytes: 4 << 30,
        }
    }
}

impl DispatcherConfig {
    /// Everything that is wrong with it.
    pub fn mistakes(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        if self.spool_dir.is_some() && self.spool_bytes < spool::LEAST_BYTES {
            let problem = format!("{} holds next to nothing: at least {}", self.spool_bytes, spool::LEAST_BYTES);
            mistakes.add("spool_bytes", problem);
        }
        if self.spool_dir.as_ref().is_some_and(|folder| folder.is_file()) {
            mistakes.add("spool_dir", "is a file; a folder is needed");
        }
        mistakes
    }
}

/// Why a dispatcher cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    /// It is told something that cannot be.
    #[error("the dispatcher's configuration: {0}")]
    Config(Mistakes),
    /// Another one registered its metrics there.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] StartError),
}

/// Watches cameras.
pub struct Dispatcher {
    config: DispatcherConfig,
    outlets: Outlets,
    numbers: Numbers,
    spool: Option<(Spool, Keeper)>,
}

impl Dispatcher {
    /// A dispatcher that watches nothing yet.
    ///
    /// # Errors
    /// If its configuration is wrong, its spool cannot be used, or another one registered its metrics there.
    pub async fn new(
        config: DispatcherConfig,
        queues: Arc<dyn Queues>,
        bucket: Arc<dyn Bucket>,
        store: Arc<dyn EventStore>,
        metrics: &Metrics,
    ) -> Result<Self, DispatcherError> {
        config.mistakes().finish().map_err(DispatcherError::Config)?;
        let numbers = Numbers::new(metrics)?;
        let spool = match &config.spool_dir {
            Some(folder) => {
                numbers.spool_limit.set(i64::try_from(config.spool_bytes).unwrap_or(i64::MAX));
                Some(Spool::open(folder.clone(), config.spool_bytes, &numbers).await?)
            }
            None => None,
        };
        Ok(Self { config, outlets: Outlets { queues, bucket, store }, numbers, spool })
    }

    /// Watches `cameras` until all files are through and, with cameras that never end, until shutdown. Then publishes
    /// what is whole. Reports in the order of `cameras`.
    pub async fn run(self, cameras: Vec<CameraConfig>, shutdown: CancellationToken) -> Vec<CameraReport> {
        let Self { config, outlets, numbers, spool } = self;
        let (spool, mut keeper) = spool.unzip();
        if let Some(keeper) = &mut keeper {
            keeper.begin(&outlets, &numbers);
        }
        let bucket = Arc::clone(&outlets.bucket);
        let (abort, drain) = (CancellationToken::new(), config.drain);
        let all = shutdown.child_token();
        // Cancels everything when the last camera that has an end lets go of it.
        let hold = Arc::new(all.clone().drop_guard());
        let ends = config.until_done && !cameras.iter().all(|camera| camera.url.is_camera());
        let order: Vec<_> = cameras.iter().map(|camera| camera.id.clone()).collect();
        let shared = Arc::new(Shared { config, outlets, numbers, spool, abort: abort.clone() });
        let mut tasks = JoinSet::new();
        for config in cameras {
            let camera = Camera::new(config, Arc::clone(&shared), all.child_token(), Arc::clone(&hold));
            tasks.spawn(camera.run());
        }
        let hold = Some(hold).filter(|_| !ends);

        let deadline = async {
            all.cancelled().await;
            tokio::time::sleep(drain).await;
            abort.cancel();
            std::future::pending::<()>().await
        };
        let reports = async {
            let mut reports = Vec::with_capacity(order.len());
            while let Some(done) = tasks.join_next().await {
                match done {
                    Ok(report) => reports.push(report),
                    Err(error) => tracing::error!(error = detektor_runtime::chain(&error), "a camera's task died"),
                }
            }
            if let Some(keeper) = keeper {
                // The other half is for the bucket.
                keeper.end(drain / 2, &*bucket, &abort).await;
            }
            reports
        };
        let mut reports: Vec<CameraReport> = tokio::select! {
            reports = reports => reports,
            () = deadline => Vec::new(),
        };
        drop(hold);
        for camera in order.iter().filter(|id| !reports.iter().any(|report| report.camera == **id)).collect::<Vec<_>>()
        {
            let error = Some("its task died".to_owned());
            reports.push(CameraReport { camera: camera.clone(), captured: 0, segments: 0, error });
        }
        reports.sort_by_key(|report| order.iter().position(|id| *id == report.camera));
        reports
    }
}
