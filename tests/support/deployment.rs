//! Roles on RabbitMQ, S3 and Postgres, all of them real.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use detektor_backends::postgres::PostgresOptions;
use detektor_backends::queue::{Message, Queues, Settle, Standing};
use detektor_backends::rabbitmq::{RabbitMq, RabbitOptions};
use detektor_backends::s3::{Credentials, S3Options};
use detektor_backends::servers;
use detektor_contract::SegmentJob;
use detektor_contract::names::{HEADER_ATTEMPTS, HEADER_ERROR, Queue, Work};
use detektor_contract::wire::decode_job;
use serde_json::Value;

use super::detektor;

/// Partitions that the configuration asks for.
pub const PARTITIONS: u16 = 2;

/// Longer than anything takes that ought to happen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The three servers with nothing in them, and the configuration file that names them.
pub struct Deployment {
    pub rabbitmq: RabbitOptions,
    pub s3: S3Options,
    pub postgres: PostgresOptions,
    pub config: PathBuf,
}

impl Deployment {
    pub async fn new(dir: &Path) -> Self {
        let rabbitmq = servers::RabbitMq::shared().await.vhost(3).await;
        let s3 = servers::Minio::shared().await.bucket().await;
        let postgres = servers::PostgresServer::shared().await.database().await;
        let config = dir.join("detektor.toml");
        let Credentials::Files { access_key, secret_key } = &s3.credentials else { panic!() };
        let text = format!(
            "[rabbitmq]\nurl = {:?}\nmanagement_url = {:?}\nuser = {:?}\npassword_file = {:?}\npartitions = {}\n\
             [s3]\nbucket = {:?}\nendpoint = {:?}\naccess_key_file = {access_key:?}\nsecret_key_file = {secret_key:?}\n\
             [postgres]\nurl = {:?}\nuser = {:?}\npassword_file = {:?}\n",
            rabbitmq.url,
            rabbitmq.management_url,
            rabbitmq.user,
            rabbitmq.password_file,
            PARTITIONS,
            s3.bucket,
            s3.endpoint.as_deref().unwrap(),
            postgres.url,
            postgres.user,
            postgres.password_file,
        );
        std::fs::write(&config, text).unwrap();
        let made = Self { rabbitmq, s3, postgres, config };
        made.does(&["migrate"]);
        made
    }

    /// What a tool does on it.
    pub fn tool(&self, args: &[&str]) -> Output {
        let mut command = detektor(args);
        command.env_remove("DETEKTOR_DATA_DIR").arg("--config").arg(&self.config).output().unwrap()
    }

    /// What a tool that works prints.
    pub fn does(&self, args: &[&str]) -> String {
        let output = self.tool(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `detektor events|detections|ledger --json` print.
    pub fn reads(&self, kind: &str) -> String {
        self.does(&[kind, "--json"])
    }

    /// A camera's ledger once it is as it should be.
    pub async fn ledger_when(&self, camera: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let printed = self.reads("ledger");
            let mut ledgers = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            if let Some(ledger) = ledgers.find(|ledger| ledger["camera"] == camera).filter(|ledger| ready(ledger)) {
                return ledger;
            }
            assert!(begun.elapsed() < PATIENCE, "this takes too long; so far {printed}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Wants one camera, on a file.
    pub fn wants(&self, camera: &str, footage: &Path, dir: &Path) {
        let cameras = dir.join("cameras.yaml");
        let url = footage.display().to_string();
        std::fs::write(&cameras, format!("cameras: [{{ name: {camera}, url: {url:?} }}]")).unwrap();
        self.does(&["cameras", "apply", "-f", cameras.to_str().unwrap()]);
    }

    /// A role, until it is dropped.
    pub fn role(&self, role: &str, more: &[&str], log: &Path) -> Running {
        self.role_at(role, "127.0.0.1:0", more, log)
    }

    /// The same, at this address.
    pub fn role_at(&self, role: &str, listen: &str, more: &[&str], log: &Path) -> Running {
        let log = std::fs::File::create(log.join(format!("{role}.log"))).unwrap();
        let mut command = detektor(&[role, "--listen", listen, "--config"]);
        command.arg(&self.config).args(more).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap())
    }
}

/// Takes one job out of its queue and has it fail for good.
pub async fn fails_one(queues: &RabbitMq) -> SegmentJob {
    let all: Vec<Queue> = (0..PARTITIONS).map(|partition| Queue::Work(Work::Detect, partition)).collect();
    // The balancer opens them.
    let begun = Instant::now();
    while queues.partitions().await.unwrap().of(Work::Detect, Standing::Open) != all {
        assert!(begun.elapsed() < PATIENCE, "no balancer opens the queues");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let consumer = queues.consume(&all, 1).await.unwrap();
    let delivery = tokio::time::timeout(PATIENCE, consumer.receive()).await.expect("no job came").unwrap();
    let dead = Message {
        headers: [(HEADER_ERROR, "no picture came out"), (HEADER_ATTEMPTS, "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..delivery.message.clone()
    };
    queues.publish(Queue::Dead(Work::Detect), vec![dead]).await.unwrap();
    consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    consumer.close().await.unwrap();
    decode_job(&delivery.message.body).unwrap()
}

/// A process that is killed when it is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
