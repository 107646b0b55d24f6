//! The parts, wired to embedded backends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::queue::{Depth, QueueError, Queues};
use detektor_backends::secret::SecretFile;
use detektor_backends::store::{EventFilter, EventStore, FeedPosition, Order};
use detektor_contract::names::{Queue, Work};
use detektor_detect::Detect;
use detektor_dispatcher::{CameraConfig, CameraReport, Dispatcher};
use detektor_events::{Api, Behind, Tokens, router};
use detektor_merge::{Damaged, DeadLetters, EventObjects, InFlight, Merge, MergeConfig};
use detektor_runtime::http::Server;
use detektor_runtime::role::OpenQueues;
use detektor_runtime::task::Supervisor;
use detektor_runtime::{Handler, Health, Host, HostConfig, Listen, Metrics};
use indicatif::ProgressBar;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::summary::{CameraSummary, LatencySummary, Summary, rounded};
use super::{cameras, progress};
use crate::config::Config;

/// One process needs no more.
pub const PARTITION: u16 = 0;
/// Outcomes that one transaction takes in.
const MERGE_BATCH: u32 = 64;
/// How long a batch of outcomes waits for more: long enough to share a transaction, too short to be noticed.
const MERGE_LINGER: Duration = Duration::from_millis(5);
/// How often to look whether everything is merged.
const POLL: Duration = Duration::from_millis(50);
/// Every queue there is.
const QUEUES: [Queue; 4] = [
    Queue::Work(Work::Detect, PARTITION),
    Queue::Work(Work::Merge, PARTITION),
    Queue::Dead(Work::Detect),
    Queue::Dead(Work::Merge),
];

/// Everything that `detektor run` runs, opened and checked, and not yet running.
pub struct App {
    config: Config,
    shutdown: CancellationToken,
    data: Embedded,
    server: Server,
    supervisor: Supervisor,
    until_done: bool,
    cameras: Vec<CameraConfig>,
    dispatcher: Dispatcher,
    detect: Detect,
    merge: Arc<Merge>,
    feed_from: FeedPosition,
}

impl App {
    /// Opens the data directory, loads the model, takes the port, starts the workers. Nothing of a camera is touched yet.
    pub async fn build(config: Config, until_done: bool, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let sources = cameras::configured(&config.cameras)?;
        let data = Embedded::open(&config.data_dir, Options::default())
            .await
            .with_context(|| format!("the data directory {}", config.data_dir.display()))?;
        let (store, bucket, queues) = (data.store(), data.bucket(), data.queues());
        if store.reindex_pending().await? {
            let anew = progress::reindex(&*store, &*bucket).await;
            let anew = anew.context("making the event store anew from the bucket")?;
            for Damaged { key, lost, error } in &anew.damaged {
                tracing::warn!(%key, lost, error, "an object in the bucket cannot be read as a whole");
            }
        }
        let (metrics, health) = (Metrics::new(), Health::new());
        let mut supervisor = Supervisor::new(shutdown.clone());

        let (api, listen) = api(&config, &data, &metrics, &shutdown)?;
        let server = Server::bind(&listen, &health, &metrics).await?.merge(router(api.clone()));
        let wary = api.clone();
        server.wary().show_only(move |parts| wary.admits(parts));
        let check = health.check("events");
        supervisor.service("events", async move {
            api.watch(&check).await;
            Ok::<(), Infallible>(())
        });
        let detect = config.looking().start(data.bucket(), &metrics).await?;
        let hosts = Hosts { queues: &queues, metrics: &metrics, health: &health, config: &config };
        hosts.add(&mut supervisor, "detect", QUEUES[0], 1, detect.handler())?;

        let merging = MergeConfig { hole_wait: config.hole_wait, ..MergeConfig::default() };
        let merge = Arc::new(Merge::new(store.clone(), bucket.clone(), merging, &metrics)?);
        hosts.add(&mut supervisor, "merge", QUEUES[1], MERGE_BATCH, Arc::clone(&merge).handler())?;
        let dead = Arc::new(DeadLetters::new(bucket.clone()));
        hosts.add(&mut supervisor, "dead_detect", QUEUES[2], 1, Arc::clone(&dead).jobs())?;
        hosts.add(&mut supervisor, "dead_merge", QUEUES[3], 1, dead.outcomes())?;

        let (sweeper, stop) = (Arc::clone(&merge), shutdown.clone());
        supervisor.service("sweeps", async move { sweeper.sweeps(stop).await });
        let (objects, stop) = (EventObjects::new(store.clone(), bucket.clone()), shutdown.clone());
        supervisor.service("event objects", async move { objects.run(stop).await });

        let (in_flight, stop) = (InFlight::new(store.clone(), bucket.clone()), shutdown.clone());
        supervisor.service("jobs' videos", async move { in_flight.run(stop).await });

        let dispatching = cameras::dispatching(&config, until_done);
        let dispatcher = Dispatcher::new(dispatching, queues, bucket, store.clone(), &metrics).await?;
        let feed_from = store.feed_head().await?;
        Ok(Self {
            config,
            shutdown,
            data,
            server,
            supervisor,
            until_done,
            cameras: sources,
            dispatcher,
            detect,
            merge,
            feed_from,
        })
    }

    /// Where the page and the API are.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Runs until shutdown, or until all files are through and merged, if that was asked for; then drains. With `quiet`,
    /// events are not told on standard output.
    pub async fn run(self, quiet: bool) -> anyhow::Result<(Summary, Vec<CameraReport>)> {
        let Self {
            config,
            shutdown,
            data,
            server,
            mut supervisor,
            until_done,
            cameras,
            dispatcher,
            detect,
            merge,
            feed_from,
        } = self;
        let (store, queues) = (data.store(), data.queues());
        let started = Instant::now();
        let before = accounted(&*store).await?;

        let bar = progress::bar();
        tell(&mut supervisor, &store, feed_from, &bar, quiet);
        let (drain, stop) = (config.drain, shutdown.clone());
        supervisor.service("http", async move {
            server.run(stop, drain).await;
            Ok::<(), Infallible>(())
        });
        let (reports, reported) = oneshot::channel();
        let stop = shutdown.clone();
        supervisor.job("cameras", async move {
            let done = dispatcher.run(cameras, stop.clone()).await;
            // Nobody waits for them any more once the run has failed.
            _ = reports.send(done);
            if until_done && stop.run_until_cancelled(merged(&*queues)).await.transpose()?.is_some() {
                stop.cancel();
            }
            Ok::<(), QueueError>(())
        });

        let ended = supervisor.run(config.drain + Duration::from_secs(10)).await;
        bar.finish_and_clear();
        detect.shutdown().await;
        let reports = reported.await.unwrap_or_default();
        let summary = summary(&*store, &merge, &reports, started.elapsed(), before).await?;
        if ended.is_ok() {
            // All is drained: nothing is delivered again.
            let in_flight = InFlight::new(store, data.bucket());
            in_flight.remove(&in_flight.through().await?).await?;
        }
        data.close().await;
        ended?;
        Ok((summary, reports))
    }
}

/// What every host is made of.
struct Hosts<'a> {
    queues: &'a Arc<dyn Queues>,
    metrics: &'a Metrics,
    health: &'a Health,
    config: &'a Config,
}

impl Hosts<'_> {
    fn add(
        &self,
        supervisor: &mut Supervisor,
        name: &'static str,
        queue: Queue,
        batch_max: u32,
        handler: impl Handler,
    ) -> anyhow::Result<()> {
        let permits = if queue == QUEUES[0] { self.config.looking().workers() as u32 + 1 } else { 1 };
        let config = HostConfig {
            permits,
            batch_max,
            batch_linger: MERGE_LINGER,
            deadline: self.config.drain,
            drain_deadline: self.config.drain + Duration::from_secs(1),
            ..HostConfig::new(vec![queue])
        };
        let host = Host::new(name, handler, Arc::clone(self.queues), config, self.metrics, self.health)?;
        let stop = supervisor.shutdown().clone();
        supervisor.service(name, async move { host.run(stop).await.map(drop) });
        Ok(())
    }
}

fn api(
    config: &Config,
    data: &Embedded,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Api, Listen)> {
    let read = |path: &Option<PathBuf>| path.as_ref().map(|path| SecretFile::new(path).read()).transpose();
    let token = read(&config.token_file).context("token_file")?;
    let admin = read(&config.admin_token_file).context("admin_token_file")?;
    let tokens = Tokens::new(token.as_deref().map(String::as_str), admin.as_deref().map(String::as_str));
    let listen =
        Listen { address: config.listen, allow_unauthenticated: config.allow_unauthenticated || !tokens.is_empty() };
    let allow_unauthenticated = config.allow_unauthenticated;
    let options = detektor_events::Options { tokens, allow_unauthenticated, ..detektor_events::Options::default() };
    let queues = data.queues();
    let open: OpenQueues = Arc::new(move || Box::pin(std::future::ready(Ok(Arc::clone(&queues)))));
    let behind = Behind { store: data.store(), bucket: data.bucket(), coordination: None, queues: Some(open) };
    Ok((Api::new(behind, options, metrics, shutdown.clone())?, listen))
}

fn tell(supervisor: &mut Supervisor, store: &Arc<dyn EventStore>, from: FeedPosition, bar: &ProgressBar, quiet: bool) {
    let stop = supervisor.shutdown().clone();
    supervisor.service("progress", progress::follow_cameras(store.clone(), bar.clone(), stop.clone()));
    if !quiet {
        supervisor.service("told events", progress::follow_events(store.clone(), from, bar.clone(), stop));
    }
}

/// Returns once nothing waits in any queue and nobody works on anything: what a queue gave away is acked only when its
/// output is in the next one.
async fn merged(queues: &dyn Queues) -> Result<(), QueueError> {
    loop {
        let mut left = 0;
        for queue in QUEUES {
            let Depth { ready, unacked } = queues.depth(queue).await?;
            left += ready + unacked;
        }
        if left == 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Frames that all ledgers account for.
async fn accounted(store: &dyn EventStore) -> anyhow::Result<u64> {
    Ok(store.cameras().await?.iter().map(|camera| camera.ledger.captured).sum())
}

async fn summary(
    store: &dyn EventStore,
    merge: &Merge,
    reports: &[CameraReport],
    wall: Duration,
    before: u64,
) -> anyhow::Result<Summary> {
    let error = |name: &str| reports.iter().find(|report| report.camera.as_str() == name)?.error.clone();
    let cameras = store.cameras().await?;
    let cameras = cameras.iter().map(|camera| {
        let name = camera.id.to_string();
        let summary = CameraSummary::new(&camera.ledger, error(&name));
        (name, summary)
    });
    let wall_s = wall.as_secs_f64();
    Ok(Summary {
        cameras: cameras.collect(),
        events: events(store).await?,
        wall_s: (wall_s * 1000.0).round() / 1000.0,
        fps: rounded(accounted(store).await?.saturating_sub(before) as f64 / wall_s.max(0.001)),
        latency_ms: LatencySummary::new(&merge.latencies()),
    })
}

async fn events(store: &dyn EventStore) -> anyhow::Result<u64> {
    const PAGE: u32 = 1000;
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.events(&EventFilter::default(), Order::Ascending, after.as_ref(), PAGE).await?;
        count += page.len() as u64;
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { return Ok(count) };
        after = Some(detektor_backends::store::EventCursor { start: last.event.start, id: last.event.id.clone() });
    }
}
