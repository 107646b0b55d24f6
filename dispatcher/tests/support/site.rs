//! Several dispatchers over the same backends, placed by the test, and what they publish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use detektor_backends::coordination::{Coordination, LeaseName, Member, Placed, Take, WantedCamera};
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::memory::MemoryDatabase;
use detektor_backends::queue::{Consumer, Settle};
use detektor_contract::names::{Queue, Work};
use detektor_contract::{CameraId, Epoch, Marker, OutcomeBody, SegmentId, SegmentJob, wire};
use detektor_dispatcher::distributed::{AgentConfig, AgentError, SpecReader};
use detektor_dispatcher::{CameraConfig, Dispatcher, DispatcherConfig, Pace};
use detektor_runtime::Metrics;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes: reached only if it never comes.
const NEVER: Duration = Duration::from_secs(60);

pub struct Site {
    pub database: Arc<MemoryDatabase>,
    pub embedded: Embedded,
    _folder: tempfile::TempDir,
    consumer: Arc<dyn Consumer>,
    balancer: Epoch,
    /// Each message by its segment, with its partition.
    pub published: BTreeMap<SegmentId, (u16, Bytes)>,
}

pub struct Process {
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<(), AgentError>>,
}

fn id(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

/// A specification is an URL, and words behind it: `single` serves one client at a time, `paced` plays by its own times.
fn read(wanted: &WantedCamera) -> Result<CameraConfig, String> {
    let mut words = wanted.spec.split(' ');
    let url = words.next().unwrap().parse().map_err(|_| "no URL".to_owned())?;
    let mut config = CameraConfig::new(wanted.id.clone(), url);
    for word in words {
        match word {
            "single" => config.one_session = true,
            "paced" => config.pace = Pace::RealTime,
            other => return Err(format!("{other} is no word")),
        }
    }
    Ok(config)
}

impl Site {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), Options::default()).await.unwrap();
        let queues = [Work::Detect, Work::Merge].map(|work| [Queue::Work(work, 0), Queue::Work(work, 1)]).concat();
        let consumer = embedded.queues().consume(&queues, 8).await.unwrap();
        let database = MemoryDatabase::new();
        let holder = Member { name: "test".to_owned(), incarnation: 1 };
        let take = Take { name: LeaseName::Balancer, seen: None, holder, now_ms: 0, live: false, seam: None };
        let balancer = database.take(&take).await.unwrap().unwrap();
        Self { database, embedded, _folder: folder, consumer, balancer, published: BTreeMap::new() }
    }

    pub async fn start(&self, name: &str) -> Process {
        let (queues, bucket, store) = (self.embedded.queues(), self.embedded.bucket(), self.embedded.store());
        let config = DispatcherConfig::default();
        let dispatcher = Dispatcher::new(config, queues, bucket, store, &Metrics::new()).await.unwrap();
        let beat = Duration::from_millis(100);
        let agent =
            AgentConfig { beat, ttl: beat * 20, ..AgentConfig::new(Member { name: name.to_owned(), incarnation: 1 }) };
        let (shutdown, reader): (_, SpecReader) = (CancellationToken::new(), Arc::new(read));
        let run = dispatcher.run_placed(agent, self.database.clone(), reader, shutdown.clone());
        Process { shutdown, task: tokio::spawn(run) }
    }

    pub async fn want(&self, camera: &str, spec: &str) {
        self.database.want(&[(id(camera), Some(spec.to_owned()))]).await.unwrap();
    }

    pub async fn place(&self, camera: &str, dispatcher: &str, partition: u16) {
        let row = Placed {
            camera: id(camera),
            dispatcher: Some(dispatcher.to_owned()),
            partition,
            cost_millis: 0,
            reason: "the test says so".to_owned(),
            moved_ms: 0,
        };
        assert!(self.database.place(self.balancer, &[row], &[]).await.unwrap());
    }

    /// Takes messages until there is what the test waits for.
    pub async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let delivery = timeout(NEVER, self.consumer.receive()).await.expect("a message").unwrap();
            self.consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
            let Queue::Work(work, partition) = delivery.queue else { panic!("{:?}", delivery.queue) };
            let body = delivery.message.body;
            let id = match work {
                Work::Detect => wire::decode_job(&body).unwrap().id,
                Work::Merge => wire::decode_outcome(&body).unwrap().id,
            };
            self.published.insert(id, (partition, body));
        }
    }

    /// The epochs of what was published.
    pub fn epochs(&self) -> Vec<Epoch> {
        let mut epochs: Vec<Epoch> = self.published.keys().map(|id| id.epoch).collect();
        epochs.dedup();
        epochs
    }

    pub fn jobs(&self, epoch: Epoch) -> Vec<(u16, SegmentJob)> {
        let of = self.published.iter().filter(|(id, _)| id.epoch == epoch);
        of.filter_map(|(_, (partition, body))| Some((*partition, wire::decode_job(body).ok()?))).collect()
    }

    pub fn markers(&self, epoch: Epoch) -> Vec<Marker> {
        let of = self.published.iter().filter(|(id, _)| id.epoch == epoch);
        let outcomes = of.filter_map(|(_, (_, body))| wire::decode_outcome(body).ok());
        let marker = |body| match body {
            OutcomeBody::Marker(marker) => marker,
            other => panic!("{other:?}"),
        };
        outcomes.map(|outcome| marker(outcome.body)).collect()
    }

    pub fn ended(&self, epoch: Epoch) -> bool {
        self.markers(epoch).iter().any(|marker| matches!(marker, Marker::EndOfEpoch { .. }))
    }
}
