//! Notifications by HTTP POST.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode};

use super::{Sink, SinkError};
use crate::secret::SecretFile;

/// How long the other side may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Where to post to.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// `http://…` or `https://…`. It shows in no log: it may hold a secret.
    pub url: String,
    /// A file with a token, sent as `Authorization: Bearer`; read again at every notification.
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Posts every notification. What answers 2xx has accepted it; 4xx refuses it for good, except 408 and 429, which like anything
/// else ask for another try.
pub struct Webhook {
    client: Client,
    url: String,
    token: Option<SecretFile>,
}

impl Webhook {
    /// Posts as `options` say. Nothing is posted yet.
    ///
    /// # Errors
    /// Where a file that `options` name cannot be read.
    pub fn new(options: WebhookOptions) -> Result<Self, SinkError> {
        // Where the process has another already, that one is as good.
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder().timeout(ANSWER).redirect(Policy::none());
        if let Some(path) = &options.ca_file {
            let context = || format!("reading {}", path.display());
            let pem = std::fs::read(path).map_err(|error| unavailable(context(), error))?;
            let trusted = Certificate::from_pem_bundle(&pem).map_err(|error| unavailable(context(), error))?;
            builder = builder.tls_certs_only(trusted);
        }
        let client = builder.build().map_err(|error| unavailable("making an HTTP client".to_owned(), error))?;
        Ok(Self { client, url: options.url, token: options.token_file.map(|path| SecretFile::new(&path)) })
    }
}

#[async_trait]
impl Sink for Webhook {
    async fn accept(&self, notification: Bytes) -> Result<(), SinkError> {
        let mut post = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(notification);
        if let Some(token) = &self.token {
            let token = token.read().map_err(|error| unavailable("reading the webhook's token".to_owned(), error))?;
            post = post.bearer_auth(token.as_str());
        }
        let answer = post.send().await.map_err(|error| unavailable("posting".to_owned(), error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => Err(busy(status)),
            status if status.is_client_error() => Err(SinkError::Refused(format!("it answers {status}"))),
            status => Err(busy(status)),
        }
    }
}

fn busy(status: StatusCode) -> SinkError {
    SinkError::Unavailable { context: format!("it answers {status}"), source: None }
}

fn unavailable(context: String, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SinkError {
    SinkError::Unavailable { context, source: Some(error.into()) }
}
