//! How the store is reached.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};

use super::DEFAULT_REGION;
use crate::bucket::BucketError;
use crate::secret::SecretFile;
use crate::trust::certificates;

/// Tries of one request, the first included.
const ATTEMPTS: u32 = 3;
/// How long one try may take to connect, and to answer.
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long credentials from files are used before the files are read again.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// Where a bucket is, and how to reach it.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// The store's address, such as `http://minio:9000`; none asks AWS.
    pub endpoint: Option<String>,
    /// The region; none takes the environment's, and `us-east-1` where that has none.
    pub region: Option<String>,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`: what most stores but AWS want.
    pub path_style: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// Certificates (PEM) to trust at the store instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Who we are to the store.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// AWS's chain: environment, shared files, web identity (IAM roles for service accounts), container, instance.
    Chain,
    /// A key and its secret, each in a file, read again when they change.
    Files {
        /// The access key's file.
        access_key: PathBuf,
        /// The secret key's file.
        secret_key: PathBuf,
    },
}

pub(super) async fn client(options: &S3Options) -> Result<Client, BucketError> {
    let region = match (&options.region, &options.endpoint) {
        (Some(region), _) => RegionProviderChain::first_try(Region::new(region.clone())),
        (None, None) => RegionProviderChain::default_provider(),
        // Elsewhere there is no instance to ask where it is.
        (None, Some(_)) => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()),
    };
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        // Who hands out roles is AWS, whomever the store's certificate is from.
        .http_client(https(TrustStore::default())?)
        .region(region.or_else(Region::from_static(DEFAULT_REGION)))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts);
    if let Credentials::Files { access_key, secret_key } = &options.credentials {
        let files = Files { access_key: SecretFile::new(access_key), secret_key: SecretFile::new(secret_key) };
        // What cannot be read at all is better known at start.
        files.keys().map_err(|error| unreadable("the store's credentials", error))?;
        loader = loader.credentials_provider(files);
    }
    let mut config = aws_sdk_s3::config::Builder::from(&loader.load().await)
        .http_client(https(trusted(options)?)?)
        .force_path_style(options.path_style)
        // Stores other than AWS's know older checksums only; TLS and our own digests hold what matters.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

fn https(trusted: TrustStore) -> Result<SharedHttpClient, BucketError> {
    let context = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| {
        BucketError::Unavailable { context: "making a TLS context".to_owned(), source: Some(error.into()) }
    })?;
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    Ok(aws_smithy_http_client::Builder::new().tls_provider(ring).tls_context(context).build_https())
}

fn trusted(options: &S3Options) -> Result<TrustStore, BucketError> {
    match (&options.ca_file, &options.endpoint) {
        (Some(path), _) => {
            let pem = certificates(path).map_err(|error| unreadable(&path.display().to_string(), error))?;
            Ok(TrustStore::empty().with_pem_certificate(pem))
        }
        // Nobody needs to be trusted, and a small image has no certificates.
        (None, Some(endpoint)) if endpoint.starts_with("http:") => Ok(TrustStore::empty()),
        (None, _) => Ok(TrustStore::default()),
    }
}

fn unreadable(what: &str, error: std::io::Error) -> BucketError {
    BucketError::Unavailable { context: format!("reading {what}"), source: Some(error.into()) }
}

/// Credentials from files. The SDK keeps them until they expire, and then asks again.
#[derive(Debug)]
struct Files {
    access_key: SecretFile,
    secret_key: SecretFile,
}

impl Files {
    fn keys(&self) -> std::io::Result<Keys> {
        let (access, secret) = (self.access_key.read()?, self.secret_key.read()?);
        let expires = SystemTime::now() + FRESH_FOR;
        Ok(Keys::new(access.as_str(), secret.as_str(), None, Some(expires), "files"))
    }
}

impl ProvideCredentials for Files {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.keys().map_err(CredentialsError::provider_error))
    }
}
