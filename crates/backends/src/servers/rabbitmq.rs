//! RabbitMQ.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::OnceCell;

use super::process::{Process, free_port, installed, listens};
use crate::rabbitmq::{RabbitOptions, management, topology};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const USER: &str = "detektor";
const PASSWORD: &str = "detektor-secret";
/// No test fills a queue.
const MAX_BYTES: u64 = 1 << 30;

/// One broker.
#[derive(Debug)]
pub struct RabbitMq {
    _process: Process,
    dir: PathBuf,
    port: u16,
    management: String,
    vhosts: AtomicU32,
}

impl RabbitMq {
    /// The test process's own.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<RabbitMq>> = OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start().await) }).await)
    }

    /// Starts one.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let (port, management, distribution) = (free_port(), free_port(), free_port());
        write_config(&dir, port, management);
        let at = |name: &str| dir.join(name).display().to_string();
        let environment = [
            ("RABBITMQ_NODENAME", format!("detektor-{port}@localhost")),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_MNESIA_BASE", at("data")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("HOME", at("")),
        ];
        let program = installed("RabbitMQ", &[SERVER.into()], "scripts/setup/packages rabbitmq");
        let mut process = Process::start("RabbitMQ", &[&program], &environment, &dir);
        process.until(async || listens(port).await && listens(management).await).await;
        let management = format!("http://127.0.0.1:{management}");
        Self { _process: process, dir, port, management, vhosts: AtomicU32::new(0) }
    }

    /// How to reach a fresh virtual host.
    pub async fn vhost(&self, delivery_limit: u32) -> RabbitOptions {
        let vhost = format!("test-{}", self.vhosts.fetch_add(1, Ordering::Relaxed));
        self.put(&format!("vhosts/{vhost}"), json!({})).await;
        let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        self.put(&format!("permissions/{vhost}/{USER}"), all).await;
        for policy in topology::policies(delivery_limit, MAX_BYTES) {
            let body = json!({ "pattern": policy.pattern, "definition": policy.definition, "apply-to": "queues" });
            self.put(&format!("policies/{vhost}/{}", policy.name), body).await;
        }
        RabbitOptions {
            url: format!("amqp://127.0.0.1:{}/{vhost}", self.port),
            user: USER.to_owned(),
            password_file: self.dir.join("password"),
            ca_file: None,
            management_url: self.management.clone(),
            partitions: 2,
            delivery_limit,
        }
    }

    async fn put(&self, path: &str, body: serde_json::Value) {
        let url = format!("{}/api/{path}", self.management);
        let client = management::client(None).unwrap();
        let mut said = String::new();
        // It listens before it serves.
        for _ in 0..100 {
            match client.put(&url).basic_auth(USER, Some(PASSWORD)).json(&body).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => said = format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => said = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("RabbitMQ refuses {path}: {said}");
    }
}

fn write_config(dir: &Path, port: u16, management: u16) {
    let config = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n\
         default_user = {USER}\ndefault_pass = {PASSWORD}\ndefault_user_tags.administrator = true\n\
         collect_statistics_interval = 200\nvm_memory_high_watermark.relative = 0.8\ndisk_free_limit.absolute = 50MB\n"
    );
    std::fs::write(dir.join("rabbitmq.conf"), config).unwrap();
    std::fs::write(dir.join("plugins"), "[rabbitmq_management].\n").unwrap();
    std::fs::write(dir.join("password"), PASSWORD).unwrap();
}
