//! MinIO.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::process::{Process, free_port, installed, listens};
use crate::s3::{Credentials, S3Bucket, S3Options};

const USER: &str = "detektor";
const PASSWORD: &str = "detektor-secret";

/// One MinIO.
#[derive(Debug)]
pub struct Minio {
    _process: Process,
    dir: PathBuf,
    scheme: &'static str,
    port: u16,
    buckets: AtomicU32,
}

/// What a MinIO may have besides buckets.
#[derive(Clone, Debug, Default)]
pub struct MinioSetup {
    /// More for its environment.
    pub environment: Vec<(&'static str, String)>,
    /// Its certificate and its key (PEM); with them it speaks TLS alone.
    pub certificate: Option<(String, String)>,
}

impl Minio {
    /// The test process's own.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<Minio>> = OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start(MinioSetup::default()).await) }).await)
    }

    /// Starts one.
    pub async fn start(setup: MinioSetup) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let (port, data, certificates) = (free_port(), dir.join("data"), dir.join("certs"));
        std::fs::create_dir(&certificates).unwrap();
        let scheme = if setup.certificate.is_some() { "https" } else { "http" };
        if let Some((certificate, key)) = setup.certificate {
            std::fs::write(certificates.join("public.crt"), certificate).unwrap();
            std::fs::write(certificates.join("private.key"), key).unwrap();
        }
        for (name, secret) in [("access", USER), ("secret", PASSWORD)] {
            std::fs::write(dir.join(name), secret).unwrap();
        }
        let program = installed("MinIO", &places(), "scripts/setup/go-program minio");
        let address = format!("127.0.0.1:{port}");
        let options = ["server", "--quiet", "--address", &address, "--certs-dir"].map(Path::new);
        let command = [&[program.as_path()], options.as_slice(), &[&certificates, &data]].concat();
        let mut environment = vec![
            ("MINIO_ROOT_USER", USER.to_owned()),
            ("MINIO_ROOT_PASSWORD", PASSWORD.to_owned()),
            ("MINIO_BROWSER", "off".to_owned()),
            ("MINIO_UPDATE", "off".to_owned()),
            ("HOME", dir.display().to_string()),
        ];
        environment.extend(setup.environment);
        let mut process = Process::start("MinIO", &command, &environment, &dir);
        process.until(async || listens(port).await).await;
        Self { _process: process, dir, scheme, port, buckets: AtomicU32::new(0) }
    }

    /// How to reach a bucket in it.
    pub fn options(&self, bucket: &str) -> S3Options {
        S3Options {
            bucket: bucket.to_owned(),
            endpoint: Some(format!("{}://127.0.0.1:{}", self.scheme, self.port)),
            region: None,
            path_style: true,
            credentials: Credentials::Files {
                access_key: self.dir.join("access"),
                secret_key: self.dir.join("secret"),
            },
            ca_file: None,
        }
    }

    /// How to reach a fresh bucket in it.
    pub async fn bucket(&self) -> S3Options {
        self.bucket_with(self.fresh()).await
    }

    /// The same, reached in another way.
    pub async fn bucket_with(&self, options: S3Options) -> S3Options {
        let bucket = S3Bucket::new(&options).await.unwrap();
        let mut said = None;
        // It listens before it serves.
        for _ in 0..200 {
            match bucket.create().await {
                Ok(_) => return options,
                Err(error) => said = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("MinIO makes no bucket: {said:?}");
    }

    /// How to reach a bucket that is not there yet.
    pub fn fresh(&self) -> S3Options {
        self.options(&format!("test-{}", self.buckets.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Where MinIO may be: where `scripts/setup/go-program minio` puts it, and where programs are.
fn places() -> Vec<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let ours = cache.map(|cache| cache.join("detektor/services/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    ours.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join("minio")).collect()
}
