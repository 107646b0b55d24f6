//! PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};
use tokio::sync::OnceCell;

use super::process::{Process, free_port, installed};
use crate::postgres::PostgresOptions;

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
const BROUGHT_BY: &str = "scripts/setup/packages postgres";
const USER: &str = "detektor";
const PASSWORD: &str = "detektor-secret";

/// One server. Its text is not in the order of its bytes unless a column says so.
#[derive(Debug)]
pub struct PostgresServer {
    _process: Process,
    dir: PathBuf,
    port: u16,
    databases: AtomicU32,
}

/// What a server may have besides databases.
#[derive(Clone, Debug, Default)]
pub struct PostgresSetup {
    /// Its certificate and its key (PEM); with them it speaks TLS alone.
    pub certificate: Option<(String, String)>,
}

impl PostgresServer {
    /// The test process's own.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<PostgresServer>> = OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start(PostgresSetup::default()).await) }).await)
    }

    /// Starts one.
    pub async fn start(setup: PostgresSetup) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let port = free_port();
        std::fs::write(dir.join("password"), PASSWORD).unwrap();
        let tls = setup.certificate.is_some();
        if let Some((certificate, key)) = setup.certificate {
            std::fs::write(dir.join("server.crt"), certificate).unwrap();
            std::fs::write(dir.join("server.key"), key).unwrap();
        }
        let user = Unprivileged::owning(&dir);
        initialise(&user, &dir);
        let host = if tls { "hostssl" } else { "host" };
        std::fs::write(dir.join("data/pg_hba.conf"), format!("{host} all all 127.0.0.1/32 scram-sha-256\n")).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        let mut settings = vec![
            ("port", port.to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", String::new()),
            ("max_connections", "300".to_owned()),
            ("shared_buffers", "32MB".to_owned()),
            // A test's server that crashes is not started again.
            ("fsync", "off".to_owned()),
        ];
        if tls {
            settings.extend([
                ("ssl", "on".to_owned()),
                ("ssl_cert_file", at("server.crt")),
                ("ssl_key_file", at("server.key")),
            ]);
        }
        let postgres = program("postgres");
        let mut command = user.prefix();
        command.extend([postgres.display().to_string(), "-D".to_owned(), at("data")]);
        for (name, value) in settings {
            command.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let command: Vec<&Path> = command.iter().map(Path::new).collect();
        let mut process = Process::start("PostgreSQL", &command, &[], &dir);
        let connect = connect(port, tls);
        process.until(async || connect.connect().await.is_ok()).await;
        Self { _process: process, dir, port, databases: AtomicU32::new(0) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to reach a fresh database.
    pub async fn database(&self) -> PostgresOptions {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name}")).await;
        PostgresOptions {
            url: format!("postgres://127.0.0.1:{}/{name}", self.port),
            user: USER.to_owned(),
            password_file: self.dir.join("password"),
            ca_file: None,
            connections: 8,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(30),
        }
    }

    /// Does something in the database that every server has, as its administrator.
    pub async fn execute(&self, statement: &str) {
        let mut db = self.administrator().await;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut db).await.unwrap();
    }

    async fn administrator(&self) -> PgConnection {
        connect(self.port, self.dir.join("server.crt").exists()).connect().await.unwrap()
    }
}

fn connect(port: u16, tls: bool) -> PgConnectOptions {
    let mode = if tls { PgSslMode::Require } else { PgSslMode::Disable };
    let at = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).ssl_mode(mode);
    at.username(USER).password(PASSWORD).database("postgres")
}

fn program(name: &str) -> PathBuf {
    installed("PostgreSQL", &[Path::new(BINARIES).join(name)], BROUGHT_BY)
}

/// Makes a cluster. Its locale sorts "a" before "B".
fn initialise(user: &Unprivileged, dir: &Path) {
    let mut words = user.prefix();
    words.push(program("initdb").display().to_string());
    let options = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-U", USER];
    let collation = ["--locale-provider=icu", "--icu-locale=en-US"];
    words.extend(options.into_iter().chain(collation).map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("--pwfile").arg(dir.join("password")).arg("-D").arg(dir.join("data"));
    let output = command.current_dir(dir).output().unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whom the server runs as: it refuses to be root.
struct Unprivileged {
    root: bool,
}

impl Unprivileged {
    /// Makes a directory and what is in it this user's.
    fn owning(dir: &Path) -> Self {
        let root = std::fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
        if root {
            let done = Command::new("chown").args(["-R", "postgres:"]).arg(dir).status().unwrap();
            assert!(done.success(), "there is no user `postgres`: run `{BROUGHT_BY}`");
        }
        if dir.join("server.key").exists() {
            let done = Command::new("chmod").arg("600").arg(dir.join("server.key")).status().unwrap();
            assert!(done.success());
        }
        Self { root }
    }

    fn prefix(&self) -> Vec<String> {
        let words: &[&str] = match self.root {
            true => &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"],
            false => &["env"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
