//! The hosts: what runs on each, and what of it outlives a crash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use detektor_backends::bucket::Bucket;
use detektor_backends::coordination::Member;
use detektor_backends::memory::{MemoryBucket, MemoryDatabase, MemoryQueues};
use detektor_backends::queue::Message;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    Box2, Detection, Digest, EngineId, Fate, Frame, ObjectKey, Outcome, OutcomeBody, Score, SegmentJob, SegmentResult,
    TimeUs, wire,
};
use detektor_dispatcher::Numbers;
use detektor_dispatcher::distributed::{Agent, AgentConfig, Balancer, BalancerConfig, KeeperConfig};
use detektor_dispatcher::publish::Outlets;
use detektor_merge::{DeadLetters, EventObjects, Merge, MergeConfig};
use detektor_runtime::retry::Policy;
use detektor_runtime::{Handler, HandlerError, Health, Host, HostConfig, Invocation, Metrics, Output, Source, item_fn};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::broker::{self, BROKER, RemoteQueues};
use crate::cameras::SimCameras;
use crate::database::{self, DATABASE, RemoteDatabase};
use crate::history::History;
use crate::objects::{BUCKET, RemoteBucket};
use crate::post::{self, Office};
use crate::time::HostClock;

/// Partitions of the queues, at first.
const PARTITIONS: u16 = 2;
/// The most of a kind.
pub const DISPATCHERS: [&str; 3] = ["dispatcher-0", "dispatcher-1", "dispatcher-2"];
/// Where segments are looked at.
pub const DETECTS: [&str; 2] = ["detect-0", "detect-1"];
/// Where outcomes are merged.
pub const MERGES: [&str; 2] = ["merge-0", "merge-1"];
/// Where cameras are placed.
pub const BALANCERS: [&str; 2] = ["balancer-0", "balancer-1"];
/// What others need.
pub const SERVERS: [&str; 3] = [DATABASE, BROKER, BUCKET];

/// Of so many segments one is poison.
const POISON: u8 = 40;
/// How often hosts look which partitions there are.
const LOOK: Duration = Duration::from_secs(1);
/// A call that is away is tried again this soon.
const RETRY: Policy = Policy { first: Duration::from_millis(100), cap: Duration::from_secs(1), give_up_after: None };

/// What can be wrong with the servers on purpose: the checker has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flaw {
    /// The broker forgets a message as soon as it has delivered it.
    ForgetsDelivered,
    /// The database hands a lease's epoch out again.
    RepeatsEpochs,
    /// The database forgets what a merge applied, and says that it is committed.
    ForgetsMerges,
}

/// Between a host's end and its successor's beginning.
const REPLACED: Duration = Duration::from_secs(1);

/// What outlives every host, and what hosts share without a network: their clocks and the notes on what happens.
#[derive(Clone, Default)]
pub struct Ground {
    /// Calls under way.
    pub office: Office,
    /// What happens.
    pub history: History,
    /// The database's disk.
    pub database: Arc<MemoryDatabase>,
    /// The broker's disk.
    pub queues: Option<Arc<MemoryQueues>>,
    /// The bucket's disk.
    pub bucket: Arc<MemoryBucket>,
    /// The hosts' clocks.
    pub clocks: BTreeMap<&'static str, HostClock>,
    /// What is wrong with the servers on purpose.
    pub flaw: Option<Flaw>,
    /// Tells the hosts that are at work to stop.
    stops: Arc<Mutex<BTreeMap<&'static str, CancellationToken>>>,
    incarnations: Arc<AtomicU64>,
}

/// Longer than any message is delivered in vain by accident: what is lost here is lost by a mistake.
const DELIVERY_LIMIT: u32 = 1_000;

impl Ground {
    /// Everything is empty.
    pub fn new(flaw: Option<Flaw>) -> Self {
        Self { queues: Some(MemoryQueues::empty(DELIVERY_LIMIT)), flaw, ..Self::default() }
    }

    /// Tells a host to finish what it has and stop, as SIGTERM does. Another takes its place a moment later.
    pub fn drain(&self, host: &str) {
        if let Some(stop) = self.stops.lock().unwrap_or_else(PoisonError::into_inner).get(host) {
            stop.cancel();
        }
    }

    /// A host begins its work; what it is told to stop by.
    fn stop(&self, host: &'static str) -> CancellationToken {
        let stop = CancellationToken::new();
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).insert(host, stop.clone());
        stop
    }

    /// The broker's queues.
    pub fn queues(&self) -> Arc<MemoryQueues> {
        self.queues.clone().unwrap_or_else(|| MemoryQueues::empty(DELIVERY_LIMIT))
    }

    fn member(&self, name: &str) -> Member {
        Member { name: name.to_owned(), incarnation: self.incarnations.fetch_add(1, Ordering::Relaxed) }
    }

    fn clock(&self, host: &str) -> HostClock {
        self.clocks.get(host).cloned().unwrap_or_default()
    }

    fn reach(&self) -> (Arc<RemoteQueues>, Arc<RemoteBucket>, Arc<RemoteDatabase>) {
        let database = RemoteDatabase::new(&self.office, self.history.clone(), self.flaw);
        (RemoteQueues::new(&self.office, self.history.clone()), RemoteBucket::new(&self.office), database)
    }
}

/// Adds the servers and everything else.
pub fn build(sim: &mut Sim<'_>, ground: &mut Ground, dispatchers: &[&'static str]) {
    let all = SERVERS.iter().chain(dispatchers).chain(&DETECTS).chain(&MERGES).chain(&BALANCERS);
    ground.clocks = all.map(|host| (*host, HostClock::default())).collect();
    let of = |ground: &Ground| ground.clone();
    let here = of(ground);
    sim.host(DATABASE, move || {
        let Ground { office, database, .. } = here.clone();
        post::serve(office, move || database::Session::new(Arc::clone(&database)))
    });
    let here = of(ground);
    sim.host(BROKER, move || {
        let (office, queues, flaw) = (here.office.clone(), here.queues(), here.flaw);
        post::serve(office, move || broker::Session::new(Arc::clone(&queues), flaw))
    });
    let here = of(ground);
    sim.host(BUCKET, move || {
        let Ground { office, bucket, .. } = here.clone();
        post::serve(office, move || Arc::clone(&bucket))
    });
    for name in dispatchers.iter().copied() {
        let here = of(ground);
        sim.host(name, move || dispatcher(name, here.clone()));
    }
    for name in DETECTS {
        let here = of(ground);
        sim.host(name, move || detect(name, here.clone()));
    }
    for name in MERGES {
        let here = of(ground);
        sim.host(name, move || merge(name, here.clone()));
    }
    for name in BALANCERS {
        let here = of(ground);
        sim.host(name, move || balancer(name, here.clone()));
    }
}

fn complain<E: std::fmt::Debug>(error: E) -> Box<dyn std::error::Error> {
    format!("{error:?}").into()
}

async fn dispatcher(name: &'static str, ground: Ground) -> turmoil::Result {
    loop {
        let (queues, bucket, database) = ground.reach();
        let outlets = Outlets { queues, bucket, store: database.clone() };
        let member = ground.member(name);
        let cameras = SimCameras {
            dispatcher: format!("{name}#{}", member.incarnation),
            outlets,
            numbers: Numbers::new(&Metrics::default())?,
            clock: ground.clock(name),
            history: ground.history.clone(),
        };
        let config = AgentConfig {
            beat: Duration::from_millis(500),
            ttl: Duration::from_secs(2),
            hand_over: Duration::from_secs(5),
            pause: Duration::from_secs(2),
            now_ms: ground.clock(name).millis(),
            ..AgentConfig::new(member)
        };
        let agent = Agent::new(config, database, Arc::new(cameras)).map_err(complain)?;
        // A late call of its predecessor may oust it; then it is started again, as any process is.
        let _ = agent.run(ground.stop(name)).await;
        sleep(REPLACED).await;
    }
}

async fn balancer(name: &'static str, ground: Ground) -> turmoil::Result {
    loop {
        let (queues, _, database) = ground.reach();
        let keeping = KeeperConfig {
            interval: Duration::from_millis(500),
            notice: Duration::from_secs(2),
            // Longer than a call can be on its way.
            quiet: Duration::from_secs(4),
        };
        let config = BalancerConfig {
            interval: Duration::from_millis(500),
            ttl: Duration::from_secs(2),
            calm: Duration::from_secs(3),
            partitions: PARTITIONS,
            keeping,
            now_ms: ground.clock(name).millis(),
            ..BalancerConfig::new(ground.member(name))
        };
        Balancer::new(config, database).map_err(complain)?.keeping(queues).run(ground.stop(name)).await;
        sleep(REPLACED).await;
    }
}

async fn detect(name: &'static str, ground: Ground) -> turmoil::Result {
    loop {
        let (queues, bucket, _) = ground.reach();
        let config = HostConfig { permits: 4, look_every: LOOK, retry: RETRY, ..HostConfig::new(Work::Detect) };
        let host = Host::new("detect", looks(bucket), queues, config, &Metrics::default(), &Health::new())?;
        host.run(ground.stop(name)).await?;
        sleep(REPLACED).await;
    }
}

async fn merge(name: &'static str, ground: Ground) -> turmoil::Result {
    loop {
        merge_once(name, &ground).await?;
        sleep(REPLACED).await;
    }
}

async fn merge_once(name: &'static str, ground: &Ground) -> turmoil::Result {
    let (queues, bucket, database) = ground.reach();
    let (metrics, health, stop) = (Metrics::default(), Health::new(), ground.stop(name));
    let config = MergeConfig { hole_wait: Duration::from_secs(3), now: ground.clock(name).micros() };
    let merge = Arc::new(Merge::new(database.clone(), bucket.clone(), config, &metrics)?);
    let of = |source: Source| HostConfig {
        permits: 2,
        batch_max: 16,
        look_every: LOOK,
        retry: RETRY,
        ..HostConfig::new(source)
    };
    let all = of(Work::Merge.into());
    let outcomes = Host::new("merge", Arc::clone(&merge).handler(), queues.clone(), all, &metrics, &health)?;
    let letters = Arc::new(DeadLetters::new(bucket.clone())).jobs();
    let dead = of(vec![Queue::Dead(Work::Detect)].into());
    let dead = Host::new("dead", letters, queues, dead, &metrics, &health)?;
    let objects = EventObjects::new(database, bucket);
    let (outcomes, dead, sweeps, objects) =
        tokio::join!(outcomes.run(stop.clone()), dead.run(stop.clone()), merge.sweeps(stop.clone()), objects.run(stop));
    outcomes?;
    dead?;
    sweeps?;
    objects?;
    Ok(())
}

/// Sees what a job's times say is there.
fn looks(bucket: Arc<RemoteBucket>) -> impl Handler {
    item_fn(move |invocation: Invocation| {
        let bucket = Arc::clone(&bucket);
        async move {
            let job = wire::decode_job(&invocation.message.body)?;
            if Digest::of(job.id.to_string().as_bytes()).0[0].is_multiple_of(POISON) {
                return Err(HandlerError::permanent("it is poison"));
            }
            // As the video of a segment in which something was seen.
            bucket.put(&ObjectKey::video(&job.id), job.id.to_string().into()).await?;
            let outcome =
                Outcome { id: job.id.clone(), generation: job.generation, body: OutcomeBody::Result(seen(&job)) };
            let message = Message { body: wire::encode_outcome(&outcome), ..Message::default() };
            Ok(vec![Output { work: Work::Merge, message }])
        }
    })
}

/// Something walks by for four of every seven seconds.
fn seen(job: &SegmentJob) -> SegmentResult {
    let step = job.span.end.since(job.span.start) / i64::from(job.span.frames.max(1));
    let frame = |n: u32| {
        let at: TimeUs = job.span.start.plus(step * i64::from(n));
        let second = at.0.div_euclid(1_000_000);
        let bounds = Box2 { x: 200 + (second.rem_euclid(7) * 4 + i64::from(n)) as i32 * 50, y: 800, w: 600, h: 900 };
        let walker = Detection { label: "person".into(), score: Score::from_f32(0.9), bounds };
        let there = second.rem_euclid(7) < 4;
        Frame { at, fate: Fate::Detected(there.then_some(walker).into_iter().collect()) }
    };
    SegmentResult {
        span: job.span,
        seam: job.seam,
        rules: job.rules,
        picture: [job.media.width, job.media.height],
        engine: EngineId { engine: "sim".to_owned(), model: "walker".to_owned(), digest: Digest::of(b"walker") },
        frames: (0..job.span.frames).map(frame).collect(),
        snapshots: Vec::new(),
        video: None,
    }
}
