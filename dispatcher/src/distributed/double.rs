//! Cameras without video, and several dispatchers over one database in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use detektor_backends::coordination::{Coordination, LeaseName, Load, Member, Placed, Take, WantedCamera};
use detektor_backends::failing::{FailingCoordination, Plan};
use detektor_backends::memory::MemoryDatabase;
use detektor_contract::{CameraId, Digest, EndReason, Epoch, Seam, TimeUs};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Agent, AgentConfig, AgentError, Cameras, Claimed, Duty, Ended, Manner, Measured};

/// A camera's key frames are so far apart.
const KEY_FRAMES: Duration = Duration::from_secs(1);
/// So long a camera that was stopped goes on publishing.
const DRAIN: Duration = Duration::from_millis(300);

/// One unbroken holding of a camera.
#[derive(Clone, Debug)]
pub struct Holding {
    pub camera: CameraId,
    pub dispatcher: String,
    pub epoch: Epoch,
    pub seam: Option<Seam>,
    pub from: Instant,
    /// When it had stopped; none while it runs.
    pub until: Option<Instant>,
    /// Why it stopped; none if it was killed.
    pub reason: Option<EndReason>,
    /// What it was told, in order: revisions and partitions.
    pub orders: Vec<(u64, u16)>,
}

/// Everything that ever ran.
pub type Log = Arc<Mutex<Vec<Holding>>>;

/// One dispatcher's cameras. A specification is `{"kind": "several" | "single" | "file" | "ends" | "fails" | "dies" | "bad", …}`.
pub struct Doubles {
    pub dispatcher: String,
    pub log: Log,
    pub began: Instant,
    pub measured: Mutex<Measured>,
}

fn field(wanted: &WantedCamera, name: &str) -> String {
    let spec: Value = serde_json::from_str(&wanted.spec).unwrap();
    spec[name].as_str().unwrap_or_default().to_owned()
}

struct Entry {
    log: Log,
    at: usize,
}

impl Entry {
    fn with(&self, change: impl FnOnce(&mut Holding)) {
        change(&mut self.log.lock().unwrap()[self.at]);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.with(|holding| holding.until = holding.until.or(Some(Instant::now())));
    }
}

impl Doubles {
    async fn next_key_frame(&self) -> Seam {
        let n = self.began.elapsed().as_micros() / KEY_FRAMES.as_micros() + 1;
        sleep_until(self.began + KEY_FRAMES * n as u32).await;
        Seam { at: TimeUs(n as i64 * 1_000_000), key_frame: Some(Digest::of(n.to_string().as_bytes())) }
    }

    async fn hold(&self, duty: &Duty) -> Ended {
        let kind = field(&duty.orders.borrow().wanted, "kind");
        let (epoch, seam) = if kind == "file" {
            (duty.claim.epoch().unwrap(), None)
        } else {
            loop {
                let Some(seam) = duty.stop.token().run_until_cancelled(self.next_key_frame()).await else {
                    return Ended::Stopped;
                };
                match duty.claim.begin(seam).await {
                    Claimed::Ours(epoch, seam) => break (epoch, Some(seam)),
                    Claimed::NotNow => {}
                    Claimed::Lost => return Ended::Lost,
                }
            }
        };
        let entry = self.enter(duty, epoch, seam);
        match &kind[..] {
            "ends" => return Ended::Over,
            "fails" => return Ended::Failed("broken".to_owned()),
            "dies" => panic!("on purpose"),
            _ => {}
        }
        let mut orders = duty.orders.clone();
        orders.mark_unchanged();
        loop {
            tokio::select! {
                () = duty.stop.token().cancelled() => break,
                changed = orders.changed() => {
                    changed.unwrap();
                    let order = orders.borrow_and_update().clone();
                    entry.with(|holding| holding.orders.push((order.wanted.revision, order.partition)));
                }
            }
        }
        sleep(DRAIN).await;
        entry.with(|holding| {
            holding.until = Some(Instant::now());
            holding.reason = Some(duty.stop.reason());
        });
        Ended::Stopped
    }

    fn enter(&self, duty: &Duty, epoch: Epoch, seam: Option<Seam>) -> Entry {
        let order = duty.orders.borrow().clone();
        let mut log = self.log.lock().unwrap();
        log.push(Holding {
            camera: duty.camera.clone(),
            dispatcher: self.dispatcher.clone(),
            epoch,
            seam,
            from: Instant::now(),
            until: None,
            reason: None,
            orders: vec![(order.wanted.revision, order.partition)],
        });
        Entry { log: Arc::clone(&self.log), at: log.len() - 1 }
    }
}

#[async_trait]
impl Cameras for Doubles {
    fn manner(&self, wanted: &WantedCamera) -> Result<Manner, String> {
        match &field(wanted, "kind")[..] {
            "single" => Ok(Manner::BreakBeforeMake),
            "file" => Ok(Manner::Replayable),
            "bad" => Err("no such kind".to_owned()),
            _ => Ok(Manner::MakeBeforeBreak),
        }
    }

    fn needs_restart(&self, old: &WantedCamera, new: &WantedCamera) -> bool {
        field(old, "url") != field(new, "url")
    }

    async fn run(&self, duty: Duty) -> Ended {
        self.hold(&duty).await
    }

    fn measured(&self) -> Measured {
        self.measured.lock().unwrap().clone()
    }
}

/// A dispatcher at work.
pub struct Dispatcher {
    pub plan: Arc<Plan>,
    pub cameras: Arc<Doubles>,
    pub shutdown: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Dispatcher {
    /// Ends it as `kill -9` does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn ended(self) -> Result<(), AgentError> {
        self.task.await.unwrap()
    }

    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

/// Dispatchers over one database.
pub struct Cluster {
    pub database: Arc<MemoryDatabase>,
    pub log: Log,
    pub began: Instant,
    /// The balancer's lease, which the test has.
    epoch: Epoch,
    incarnations: Mutex<BTreeMap<String, u64>>,
}

pub fn camera(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

impl Cluster {
    pub async fn new() -> Self {
        let database = MemoryDatabase::new();
        let holder = Member { name: "test".to_owned(), incarnation: 1 };
        let take = Take { name: LeaseName::Balancer, seen: None, holder, now_ms: 0, live: false, seam: None };
        let epoch = database.take(&take).await.unwrap().unwrap();
        Self { database, log: Log::default(), began: Instant::now(), epoch, incarnations: Mutex::default() }
    }

    /// Starts a dispatcher; again with one name is another incarnation.
    pub fn start(&self, name: &str) -> Dispatcher {
        let mut incarnations = self.incarnations.lock().unwrap();
        let incarnation = incarnations.entry(name.to_owned()).or_default();
        *incarnation += 1;
        let plan = Plan::new();
        let coordination = FailingCoordination::new(self.database.clone(), Arc::clone(&plan));
        let cameras = Arc::new(Doubles {
            dispatcher: name.to_owned(),
            log: Arc::clone(&self.log),
            began: self.began,
            measured: Mutex::new(Measured { load: Load::default(), costs: Vec::new() }),
        });
        let began = self.began;
        let config = AgentConfig {
            now_ms: Arc::new(move || began.elapsed().as_millis() as u64),
            ..AgentConfig::new(Member { name: name.to_owned(), incarnation: *incarnation })
        };
        let agent = Agent::new(config, coordination, cameras.clone()).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(agent.run(shutdown.clone()));
        Dispatcher { plan, cameras, shutdown, task }
    }

    pub async fn want(&self, name: &str, spec: Option<Value>) {
        self.database.want(&[(camera(name), spec.map(|spec| spec.to_string()))]).await.unwrap();
    }

    pub async fn place(&self, name: &str, dispatcher: &str, partition: u16) {
        let row = Placed {
            camera: camera(name),
            dispatcher: Some(dispatcher.to_owned()),
            partition,
            cost_millis: 0,
            reason: "the test says so".to_owned(),
            moved_ms: 0,
        };
        assert!(self.database.place(self.epoch, &[row], &[]).await.unwrap());
    }

    /// A camera of a kind, wanted and placed.
    pub async fn add(&self, name: &str, kind: &str, dispatcher: &str) {
        self.want(name, Some(serde_json::json!({ "kind": kind }))).await;
        self.place(name, dispatcher, 0).await;
    }

    pub fn holdings(&self, name: &str) -> Vec<Holding> {
        self.log.lock().unwrap().iter().filter(|holding| holding.camera == camera(name)).cloned().collect()
    }

    /// Who runs a camera now.
    pub fn runners(&self, name: &str) -> Vec<String> {
        let holdings = self.holdings(name).into_iter();
        holdings.filter(|holding| holding.until.is_none()).map(|holding| holding.dispatcher).collect()
    }

    pub async fn holder(&self, name: &str) -> Option<String> {
        let lease = self.database.lease(&LeaseName::Camera(camera(name))).await.unwrap();
        lease.and_then(|lease| lease.holder).map(|holder| holder.name)
    }
}

pub async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}
