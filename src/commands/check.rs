//! `detektor check`: a short film goes the whole way, on the servers and roles that there are.

mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use detektor_backends::coordination::{Coordination, LeaseName};
use detektor_backends::queue::Queues;
use detektor_backends::rabbitmq::RabbitMq;
use detektor_backends::store::{CameraInfo, EventFilter, EventStore, Order, StoreError};
use detektor_contract::names::{Queue, Work};
use detektor_contract::{CameraId, Marker, OutcomeBody};
use detektor_merge::{Horizon, prune};
use detektor_runtime::camera::{SourceUrl, stored};
use detektor_runtime::chain;
use detektor_runtime::retry::{Policy, retry};
use detektor_runtime::role::{InvalidConfig, Servers, Told, stop_on_signals};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::stage::{Film, Place, Seen, Waiting};
use super::INTERRUPTED;
use super::data::{checked, database};

/// How often it looks how far the film is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it tries to remove its camera where the database is away.
const TIDY_WITHIN: Duration = Duration::from_secs(30);
/// The most events that are counted.
const EVENTS: u32 = 10_000;

/// What `check` takes.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The film, as the dispatchers see it: a path on their machines, or a URL of a file.
    #[arg(long, value_name = "FILE", default_value = "/usr/share/detektor/driveway.mov")]
    pub footage: String,
    /// How many seconds it may take in all.
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub within_s: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where RabbitMQ and Postgres are.
    #[command(flatten)]
    pub servers: Told<Servers>,
}

/// How it ended.
enum Ended {
    /// Every frame is accounted for.
    Whole(Box<CameraInfo>, u64),
    /// It cannot come to that.
    Failed(String),
    /// Somebody wants it to stop.
    Interrupted,
}

/// Sends a film the whole way.
pub async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let servers = checked(args.servers, Servers::all_mistakes_but_the_bucket)?;
    let id = CameraId::new(format!("check-{:012x}", fastrand::u64(..) >> 16))?;
    // Few looks, but some whatever the film shows, and nothing kept: it is the way that is checked.
    let spec = json!({ "url": args.footage, "detect": { "fps": 1, "gate": false, "keep_video": "none" } });
    let spec = stored(&id, spec.to_string().as_bytes()).map_err(InvalidConfig)?;
    let live = args.footage.parse::<SourceUrl>().is_ok_and(|url| url.is_camera());
    anyhow::ensure!(!live, "{} never ends: --footage takes a file", args.footage);
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone()).context("cannot listen for signals")?;

    let database = database(&servers).await?;
    let store = database.store();
    let queues = RabbitMq::new(servers.rabbitmq.options())?;
    let check = Check { id, footage: args.footage, store, coordination: database.coordination(), queues };
    let begun = Instant::now();
    let ended = check.run(spec, Duration::from_secs(args.within_s), &shutdown).await;
    // However it ended, and whether or not the camera came to be wanted.
    let tidied = check.tidy(matches!(ended, Ended::Whole(..))).await;
    database.close().await;
    let code = match ended {
        Ended::Whole(info, events) => {
            check.tell(&info, events, begun.elapsed(), args.json);
            ExitCode::SUCCESS
        }
        Ended::Failed(why) => {
            eprintln!("detektor: {why}");
            ExitCode::FAILURE
        }
        Ended::Interrupted => INTERRUPTED.into(),
    };
    tidied?;
    Ok(code)
}

struct Check {
    id: CameraId,
    footage: String,
    store: Arc<dyn EventStore>,
    coordination: Arc<dyn Coordination>,
    queues: RabbitMq,
}

impl Check {
    async fn run(&self, spec: String, within: Duration, shutdown: &CancellationToken) -> Ended {
        let mut seen = Seen::default();
        let going = async {
            self.coordination.want(&[(self.id.clone(), Some(spec))]).await.context("wanting the camera")?;
            eprintln!("{}: {} is wanted", self.id, self.footage);
            self.watch(&mut seen).await
        };
        let ended = shutdown.run_until_cancelled(timeout(within, going)).await;
        match ended {
            None => Ended::Interrupted,
            Some(Ok(Ok(ended))) => ended,
            Some(Ok(Err(error))) => Ended::Failed(format!("{error:#}")),
            Some(Err(_)) => {
                let film = Film { camera: self.id.as_str(), footage: &self.footage };
                Ended::Failed(format!("not through after {} s: {}", within.as_secs(), seen.stuck(&film)))
            }
        }
    }

    /// Looks until the film is through. What was seen last is left in `seen`, for whoever runs out of patience.
    async fn watch(&self, seen: &mut Seen) -> anyhow::Result<Ended> {
        let mut said = String::new();
        loop {
            match self.look().await {
                Ok(now) => *seen = now,
                // Servers may be away for a while.
                Err(error) => seen.unknown = Some(chain(&error)),
            }
            let now = seen.progress();
            if now != said {
                eprintln!("{}: {now}", self.id);
                said = now;
            }
            if let Some(why) = seen.failed(&self.footage) {
                return Ok(Ended::Failed(why));
            }
            if let Some(info) = seen.through() {
                let filter = EventFilter { camera: Some(self.id.clone()), ..EventFilter::default() };
                let events = self.store.events(&filter, Order::Ascending, None, EVENTS).await?.len();
                return Ok(Ended::Whole(Box::new(info.clone()), events as u64));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Result<Seen, StoreError> {
        let mut seen = Seen { dispatchers: self.coordination.members().await?.len(), ..Seen::default() };
        let row = self.coordination.placement().await?.cameras.into_iter().find(|row| row.camera == self.id);
        seen.place = row.map(|row| Place { dispatcher: row.dispatcher, partition: row.partition });
        if seen.place.is_none() {
            let lease = self.coordination.lease(&LeaseName::Balancer).await?;
            seen.balancer = lease.and_then(|lease| lease.holder).map(|holder| holder.name);
        }
        seen.pending = self.store.reindex_pending().await?;
        seen.info = self.store.cameras().await?.into_iter().find(|info| info.id == self.id);
        if let Some(frontier) = self.store.frontier(&self.id).await? {
            seen.merged = frontier.sequence + 1;
            seen.published = Some(self.store.published(&self.id, frontier.epoch).await?);
            let last = self.store.outcomes(&self.id, frontier, 1).await?.pop();
            seen.end = match last.map(|last| last.body) {
                Some(OutcomeBody::Marker(Marker::EndOfEpoch { reason, .. })) => Some(reason),
                _ => None,
            };
        }
        if let Some(place) = &seen.place
            && seen.through().is_none()
        {
            seen.waiting = self.waiting(place.partition).await;
        }
        Ok(seen)
    }

    /// What waits in the queues of a partition; or why nobody knows.
    async fn waiting(&self, partition: u16) -> Result<Waiting, String> {
        let depth = async |work| self.queues.depth(Queue::Work(work, partition)).await.map_err(|error| chain(&error));
        Ok(Waiting { detect: depth(Work::Detect).await?, merge: depth(Work::Merge).await? })
    }

    /// Removes the camera, and what the database holds of it once nothing more can come: what came for a place that was pruned
    /// would be ignored, and its ledger never close.
    async fn tidy(&self, through: bool) -> anyhow::Result<()> {
        let policy = Policy { give_up_after: Some(TIDY_WITHIN), ..Policy::default() };
        // Whoever is in a hurry has a second signal.
        let (change, never) = ([(self.id.clone(), None)], CancellationToken::new());
        let removed = retry("removing the camera", &policy, &never, || self.coordination.want(&change)).await;
        removed.with_context(|| {
            format!("the camera {0} is still wanted; `detektor cameras remove {0}` removes it", self.id)
        })?;
        if !through {
            eprintln!(
                "{0}: what is still in the queues is merged when it comes; `detektor prune --all --camera {0}` removes it then",
                self.id
            );
            return Ok(());
        }
        // What is left otherwise is a few rows.
        if let Err(error) = prune(&*self.store, Horizon::All, Some(&self.id), false).await {
            eprintln!("{}: what it left cannot be pruned: {}", self.id, chain(&error));
        }
        Ok(())
    }

    fn tell(&self, info: &CameraInfo, events: u64, took: Duration, json: bool) {
        let ledger = &info.ledger;
        let (skipped, failed) = (ledger.skipped_total(), ledger.failed_total());
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        if json {
            let object = json!({
                "camera": self.id.as_str(),
                "frames": ledger.captured,
                "detected": ledger.detected,
                "skipped": skipped,
                "failed": failed,
                "events": events,
                "seconds": seconds,
            });
            println!("{object}");
            return;
        }
        println!(
            "{}: {} frames = {} detected + {skipped} skipped + {failed} failed, {events} events, in {seconds} s",
            self.id, ledger.captured, ledger.detected
        );
    }
}
