//! RabbitMQ.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::OnceCell;

use super::process::{Process, installed, listens, port_to_keep};
use crate::rabbitmq::{RabbitOptions, management, topology};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "rabbitmqctl";
/// Names another release's program.
const OTHER: &str = "DETEKTOR_TEST_RABBITMQ_SERVER";
const USER: &str = "detektor";
const PASSWORD: &str = "detektor-secret";
/// Where a test does not say otherwise, nobody fills a queue.
const MAX_BYTES: u64 = 1 << 30;

/// One broker.
#[derive(Debug)]
pub struct RabbitMq {
    process: Process,
    dir: PathBuf,
    scheme: &'static str,
    port: u16,
    management_port: u16,
    vhosts: AtomicU32,
}

impl RabbitMq {
    /// The test process's own.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<RabbitMq>> = OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start(None).await) }).await)
    }

    /// Starts one. With a certificate and its key (PEM) it speaks TLS alone.
    pub async fn start(certificate: Option<(String, String)>) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let [port, management_port, distribution] = [(); 3].map(|()| port_to_keep());
        write_config(&dir, port, management_port, certificate.as_ref());
        let at = |name: &str| dir.join(name).display().to_string();
        let environment = [
            ("RABBITMQ_NODENAME", node(port)),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_MNESIA_BASE", at("data")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("HOME", at("")),
        ];
        let program = installed("RabbitMQ", &[server()], "scripts/setup/packages rabbitmq");
        let process = Process::start("RabbitMQ", &[&program], &environment, &dir);
        let scheme = if certificate.is_some() { "amqps" } else { "amqp" };
        let mut broker = Self { process, dir, scheme, port, management_port, vhosts: AtomicU32::new(0) };
        broker.until_it_listens().await;
        broker
    }

    async fn until_it_listens(&mut self) {
        let (port, management) = (self.port, self.management_port);
        self.process.until(async || listens(port).await && listens(management).await).await;
    }

    /// Kills it with SIGKILL; returns once nobody listens any more.
    pub async fn kill(&self) {
        self.process.kill();
        while listens(self.port).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts it again, on the same directory and port.
    pub async fn start_again(&mut self) {
        self.process.start_again();
        self.until_it_listens().await;
    }

    /// Lets it hang: connections stand, and nothing comes.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Lets a queue alone hang, or go on.
    pub async fn hang_queue(&self, vhost: &str, queue: &str, hangs: bool) {
        let call = if hangs { "suspend" } else { "resume" };
        let expression = format!("sys:{call}(whereis(binary_to_existing_atom(<<\"{vhost}_{queue}\">>))).");
        let mut control = tokio::process::Command::new(server().with_file_name(CONTROL));
        control.env("RABBITMQ_NODENAME", node(self.port)).env("ERL_EPMD_ADDRESS", "127.0.0.1").env("HOME", &self.dir);
        let done = control.args(["eval", &expression]).output().await.unwrap();
        assert!(done.status.success() && done.stdout.starts_with(b"ok"), "{expression} {done:?}");
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to reach a fresh virtual host.
    pub async fn vhost(&self, delivery_limit: u32) -> RabbitOptions {
        self.vhost_of(delivery_limit, MAX_BYTES).await
    }

    /// The same; its queues are full with so many bytes.
    pub async fn vhost_of(&self, delivery_limit: u32, max_bytes: u64) -> RabbitOptions {
        let vhost = format!("test-{}", self.vhosts.fetch_add(1, Ordering::Relaxed));
        self.put(&format!("vhosts/{vhost}"), json!({})).await;
        self.permit(&vhost, USER).await;
        for policy in topology::policies(delivery_limit, max_bytes) {
            let body = json!({ "pattern": policy.pattern, "definition": policy.definition, "apply-to": "queues" });
            self.put(&format!("policies/{vhost}/{}", policy.name), body).await;
        }
        RabbitOptions {
            url: format!("{}://127.0.0.1:{}/{vhost}", self.scheme, self.port),
            user: USER.to_owned(),
            password_file: self.dir.join("password"),
            ca_file: None,
            management_url: self.management(),
            delivery_limit,
        }
    }

    /// Makes a user, or gives it another password, and lets it into a virtual host.
    pub async fn user(&self, name: &str, password: &str, vhost: &str) {
        self.put(&format!("users/{name}"), json!({ "password": password, "tags": "monitoring" })).await;
        self.permit(vhost, name).await;
    }

    async fn permit(&self, vhost: &str, user: &str) {
        let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        self.put(&format!("permissions/{vhost}/{user}"), all).await;
    }

    fn management(&self) -> String {
        format!("http://127.0.0.1:{}", self.management_port)
    }

    async fn put(&self, path: &str, body: serde_json::Value) {
        let url = format!("{}/api/{path}", self.management());
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

fn server() -> PathBuf {
    std::env::var_os(OTHER).map_or_else(|| SERVER.into(), PathBuf::from)
}

fn node(port: u16) -> String {
    format!("detektor-{port}@localhost")
}

fn write_config(dir: &Path, port: u16, management: u16, certificate: Option<&(String, String)>) {
    let mut config = format!(
        "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n\
         default_user = {USER}\ndefault_pass = {PASSWORD}\ndefault_user_tags.administrator = true\n\
         collect_statistics_interval = 200\nvm_memory_high_watermark.relative = 0.8\ndisk_free_limit.absolute = 50MB\n"
    );
    let listener = match certificate {
        None => format!("listeners.tcp.1 = 127.0.0.1:{port}\n"),
        Some((certificate, key)) => {
            let [certificate, key] = [("certificate.pem", certificate), ("key.pem", key)].map(|(name, text)| {
                std::fs::write(dir.join(name), text).unwrap();
                dir.join(name).display().to_string()
            });
            format!(
                "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {certificate}\n\
                 ssl_options.cacertfile = {certificate}\nssl_options.keyfile = {key}\nssl_options.verify = verify_none\n"
            )
        }
    };
    config.push_str(&listener);
    std::fs::write(dir.join("rabbitmq.conf"), config).unwrap();
    std::fs::write(dir.join("plugins"), "[rabbitmq_management].\n").unwrap();
    std::fs::write(dir.join("password"), PASSWORD).unwrap();
}
