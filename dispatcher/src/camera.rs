//! One camera: opened, cut, published, and opened again.

use std::sync::Arc;
use std::time::Duration;

use detektor_backends::store::CameraState;
use detektor_contract::{CameraId, DetectPolicy, EventRules, Fault, Faulty};
use detektor_runtime::chain;
use detektor_runtime::retry::{Backoff, Policy, RetryError, retry};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::DispatcherConfig;
use crate::distributed::{self, Post};
use crate::ingest::{Ingest, Ingested};
use crate::metrics::Numbers;
use crate::pace::Pace;
use crate::publish::{Discipline, Ended, Manner, Outlets, Publisher};
use crate::record::{Orders, Record, Recorder};
use crate::source::{self, OpenOptions, Opened, SourceError, SourceUrl};
use crate::spool::Spool;

mod claimed;
mod file;
mod live;

/// The waits between tries to reach a camera.
const RECONNECT: Policy = Policy { first: Duration::from_secs(1), cap: Duration::from_secs(30), give_up_after: None };

/// A camera to be watched.
#[derive(Clone, Debug)]
pub struct CameraConfig {
    /// Its name.
    pub id: CameraId,
    /// Where it is.
    pub url: SourceUrl,
    /// How fast a file is played.
    pub pace: Pace,
    /// How often a file is played; none plays it for ever.
    pub passes: Option<u64>,
    /// What to look at.
    pub policy: DetectPolicy,
    /// When tracks become events.
    pub rules: EventRules,
    /// The partition of its work.
    pub partition: u16,
    /// How patient to be with it.
    pub open: OpenOptions,
    /// It serves one client at a time: where it moves to another dispatcher, the old one has to let go first.
    pub one_session: bool,
}

impl CameraConfig {
    /// A camera as it is without further ado: a file once, as fast as it can be taken.
    pub fn new(id: CameraId, url: SourceUrl) -> Self {
        let (policy, rules) = (DetectPolicy::default(), EventRules::default());
        let (open, one_session) = (OpenOptions::default(), false);
        Self { id, url, pace: Pace::AsFast, passes: Some(1), policy, rules, partition: 0, open, one_session }
    }

    /// Whether it is read as another is: what else they say may change while it is read.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        let read = |camera: &Self| (camera.pace, camera.passes, camera.open);
        self.url.is_same(&other.url) && read(self) == read(other)
    }
}

/// What became of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraReport {
    /// Whose report it is.
    pub camera: CameraId,
    /// Frames captured, over all passes of a file.
    pub captured: u64,
    /// Segments with video.
    pub segments: u64,
    /// Why it failed, if it did. Without credentials.
    pub error: Option<String>,
}

/// What all cameras share.
pub(crate) struct Shared {
    pub(crate) config: DispatcherConfig,
    pub(crate) outlets: Outlets,
    pub(crate) numbers: Numbers,
    /// For what live cameras cannot publish.
    pub(crate) spool: Option<Spool>,
    /// Stop publishing as well: the time to drain is over.
    pub(crate) abort: CancellationToken,
}

/// One camera at work.
pub(crate) struct Camera {
    config: CameraConfig,
    shared: Arc<Shared>,
    /// Stop capturing this one.
    stop: CancellationToken,
    /// Stop publishing as well.
    abort: CancellationToken,
    /// Where it is one of those that are placed on this dispatcher.
    post: Option<Post>,
    /// Held by everything that has an end: when the last lets go, what is live is stopped.
    hold: Option<Arc<DropGuard>>,
    report: CameraReport,
    running: bool,
    warned_of_gop: bool,
}

/// Why a camera's work ended early.
enum End {
    /// By shutdown.
    Stopped,
    /// For good.
    Failed(String),
    /// It is another dispatcher's.
    Lost,
}

impl From<Ended> for End {
    fn from(_: Ended) -> Self {
        // Why is what `Publisher::finish` says.
        Self::Stopped
    }
}

impl Camera {
    pub(crate) fn new(
        config: CameraConfig,
        shared: Arc<Shared>,
        stop: CancellationToken,
        hold: Arc<DropGuard>,
    ) -> Self {
        let abort = shared.abort.clone();
        Self::new_with(config, shared, stop, abort, Some(hold), None)
    }

    /// One that is placed on this dispatcher.
    pub(crate) fn posted(config: CameraConfig, shared: Arc<Shared>, post: Post, abort: CancellationToken) -> Self {
        let stop = post.stop.token().clone();
        Self::new_with(config, shared, stop, abort, None, Some(post))
    }

    fn new_with(
        config: CameraConfig,
        shared: Arc<Shared>,
        stop: CancellationToken,
        abort: CancellationToken,
        hold: Option<Arc<DropGuard>>,
        post: Option<Post>,
    ) -> Self {
        let report = CameraReport { camera: config.id.clone(), captured: 0, segments: 0, error: None };
        Self { config, shared, stop, abort, post, hold, report, running: false, warned_of_gop: false }
    }

    /// Works until the file is through, the camera fails for good, or shutdown.
    pub(crate) async fn run(mut self) -> CameraReport {
        if let Err(End::Failed(error)) = self.work_and_tell().await {
            tracing::error!(camera = %self.config.id, error, "the camera failed");
            self.report.error = Some(error);
        }
        self.report
    }

    /// The same, on a post.
    pub(crate) async fn serve(mut self) -> distributed::Ended {
        match self.work_and_tell().await {
            Ok(()) => distributed::Ended::Over,
            Err(End::Stopped) => distributed::Ended::Stopped,
            Err(End::Failed(error)) => distributed::Ended::Failed(error),
            Err(End::Lost) => distributed::Ended::Lost,
        }
    }

    async fn work_and_tell(&mut self) -> Result<(), End> {
        let ended = self.work().await;
        let state = match &ended {
            Ok(()) => CameraState::Ended,
            Err(End::Stopped | End::Lost) => CameraState::Stopped,
            Err(End::Failed(error)) => CameraState::Failed { error: error.clone() },
        };
        self.state(state).await;
        ended
    }

    async fn work(&mut self) -> Result<(), End> {
        let (id, url) = (self.config.id.clone(), self.config.url.redacted());
        let store = Arc::clone(&self.shared.outlets.store);
        self.patiently("registering a camera", || store.register_camera(&id, &url)).await?;
        if self.config.url.is_camera() {
            self.hold = None;
        }
        let opened = self.first_open().await?;
        match opened.content {
            Some(content) => self.play(opened, content).await,
            None => self.watch(opened).await,
        }
    }

    /// Opens the source for the first time. A file that cannot be opened has failed; a camera may come yet.
    async fn first_open(&mut self) -> Result<Opened, End> {
        self.state(CameraState::Connecting).await;
        let (begun, mut backoff) = (Instant::now(), Backoff::new(RECONNECT));
        let mut said = false;
        loop {
            let error = match self.open().await? {
                Ok(opened) => {
                    tracing::info!(camera = %self.config.id, after = ?begun.elapsed(), "the camera's stream is open");
                    return Ok(opened);
                }
                Err(error) => error,
            };
            let no_hope = error.fault() == Fault::Permanent || self.config.url.is_file();
            if no_hope || self.shared.config.until_done {
                return Err(End::Failed(chain(&error)));
            }
            if !said {
                said = true;
                tracing::warn!(camera = %self.config.id, error = chain(&error), "the camera cannot be reached, trying on");
                self.state(CameraState::Lost { error: chain(&error) }).await;
            }
            self.sleep(backoff.next_wait(None)).await?;
        }
    }

    async fn open(&self) -> Result<Result<Opened, SourceError>, End> {
        let open = source::open(&self.config.url, self.config.open);
        self.stop.run_until_cancelled(open).await.ok_or(End::Stopped)
    }

    async fn sleep(&self, wait: Duration) -> Result<(), End> {
        self.stop.run_until_cancelled(tokio::time::sleep(wait)).await.ok_or(End::Stopped)
    }

    /// Asks the store until it answers.
    async fn patiently<T, E, F, Fut>(&self, what: &str, ask: F) -> Result<T, End>
    where
        E: Faulty,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let what = format!("camera {}: {what}", self.config.id);
        retry(&what, &Policy::default(), &self.stop, ask).await.map_err(|error| match error {
            RetryError::Cancelled => End::Stopped,
            RetryError::Failed(error) => End::Failed(chain(&error)),
        })
    }

    /// Says what the camera is doing. Nothing depends on it, so it is tried once.
    async fn state(&mut self, state: CameraState) {
        let running = state == CameraState::Running;
        if running != std::mem::replace(&mut self.running, running) {
            self.shared.numbers.running.add(if running { 1 } else { -1 });
        }
        // Another dispatcher has it, and says what it does.
        if self.post.as_ref().is_some_and(Post::is_silent) {
            return;
        }
        if let Err(error) = self.shared.outlets.store.set_camera_state(&self.config.id, &state).await {
            tracing::warn!(camera = %self.config.id, error = chain(&error), "the camera's state cannot be noted");
        }
    }

    fn orders(&self) -> Orders {
        Orders {
            camera: self.config.id.clone(),
            partition: self.config.partition,
            policy: self.config.policy.clone(),
            rules: self.config.rules,
            inline_bytes: self.shared.config.inline_bytes,
        }
    }

    fn publisher(&self, manner: Manner) -> Publisher {
        let (shutdown, abort) = (self.stop.clone(), self.abort.clone());
        let discipline = Discipline { manner, shutdown, abort };
        Publisher::start(self.shared.outlets.clone(), discipline, self.shared.numbers.clone())
    }

    /// Publishes what came out of the slicer.
    async fn forward(&mut self, ingest: &mut Ingest, recorder: &mut Recorder, to: &Publisher) -> Result<(), Ended> {
        self.follow_orders(recorder);
        if let Some(error) = ingest.unreadable() {
            tracing::warn!(camera = %self.config.id, error = chain(&error), "the stream's parameter sets cannot be read");
        }
        for ingested in ingest.take() {
            let frames = recorder.frames();
            let record = match ingested {
                Ingested::Slice(slice, form) => recorder.slice(slice, form),
                Ingested::Gap(back, cause) => recorder.gap(Some(back), cause),
            };
            self.shared.numbers.captured(recorder.frames() - frames);
            self.send(record, to).await?;
        }
        if !self.warned_of_gop && ingest.long_gop() {
            self.warned_of_gop = true;
            let longest = self.shared.config.cutting.max;
            tracing::warn!(
                camera = %self.config.id,
                "key frames are more than {longest:?} apart, so frames are decoded more than once: set the camera's key \
                 frame interval (also: GOP length, I-frame interval) to 1 or 2 seconds"
            );
        }
        Ok(())
    }

    async fn send(&self, record: Option<Record>, to: &Publisher) -> Result<(), Ended> {
        let Some(record) = record else { return Ok(()) };
        if let Some(error) = &record.fault {
            tracing::warn!(camera = %self.config.id, segment = %record.id, error, "a segment cannot be written");
        }
        to.publish(record).await
    }

    /// Takes note of what the camera is from here on.
    fn follow_orders(&mut self, recorder: &mut Recorder) {
        match self.post.as_mut().and_then(Post::news) {
            None => {}
            Some(Ok(CameraConfig { policy, rules, partition, .. })) => {
                (self.config.policy, self.config.rules, self.config.partition) = (policy, rules, partition);
                recorder.follow(self.orders());
            }
            Some(Err(error)) => {
                tracing::error!(camera = %self.config.id, error, "the camera stays as it was: what it is to be cannot be");
            }
        }
    }

    fn count(&mut self, recorder: &Recorder) {
        self.report.captured += recorder.frames();
        self.report.segments += recorder.segments();
    }
}
