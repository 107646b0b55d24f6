//! Roles on RabbitMQ, S3 and Postgres, all of them real.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use detektor_backends::postgres::PostgresOptions;
use detektor_backends::rabbitmq::RabbitOptions;
use detektor_backends::s3::{Credentials, S3Options};
use detektor_backends::servers;

use super::detektor;

/// Partitions that the configuration asks for.
pub const PARTITIONS: u16 = 2;

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

    /// Wants one camera, on a file.
    pub fn wants(&self, camera: &str, footage: &Path, dir: &Path) {
        let cameras = dir.join("cameras.yaml");
        let url = footage.display().to_string();
        std::fs::write(&cameras, format!("cameras: [{{ name: {camera}, url: {url:?} }}]")).unwrap();
        self.does(&["cameras", "apply", "-f", cameras.to_str().unwrap()]);
    }

    /// A role, until it is dropped.
    pub fn role(&self, role: &str, more: &[&str], log: &Path) -> Running {
        let log = std::fs::File::create(log.join(format!("{role}.log"))).unwrap();
        let mut command = detektor(&[role, "--listen", "127.0.0.1:0", "--config"]);
        command.arg(&self.config).args(more).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap())
    }
}

/// A process that is killed when it is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
