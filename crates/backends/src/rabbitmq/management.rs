//! The broker's management API: AMQP itself does not tell what is unacked.

use std::path::PathBuf;
use std::time::Duration;

use detektor_contract::names::Queue;
use serde::Deserialize;

use super::{RabbitOptions, unavailable};
use crate::queue::{Depth, QueueError};
use crate::secret::SecretFile;
use crate::trust::certificates;

const ANSWER: Duration = Duration::from_secs(5);

pub(super) struct Management {
    client: reqwest::Client,
    queues_url: String,
    policies_url: String,
    user: String,
    password: SecretFile,
}

#[derive(Deserialize)]
struct Measured {
    #[serde(default)]
    messages_ready: u64,
    #[serde(default)]
    messages_unacknowledged: u64,
}

impl Management {
    pub(super) fn new(options: &RabbitOptions) -> Result<Self, QueueError> {
        let uri: lapin::uri::AMQPUri =
            options.url.parse().map_err(|error: String| unavailable("reading the broker's URL", error))?;
        let vhost = percent_encoding::utf8_percent_encode(&uri.vhost, percent_encoding::NON_ALPHANUMERIC);
        Ok(Self {
            client: client(options.ca_file.as_ref())?,
            queues_url: format!("{}/api/queues/{vhost}", options.management_url.trim_end_matches('/')),
            policies_url: format!("{}/api/policies/{vhost}", options.management_url.trim_end_matches('/')),
            user: options.user.clone(),
            password: SecretFile::new(&options.password_file),
        })
    }

    pub(super) async fn put_policy(&self, name: &str, policy: &serde_json::Value) -> Result<(), QueueError> {
        let failed = |error: reqwest::Error| unavailable(format!("setting the policy {name}"), error.without_url());
        let password = self.password.read().map_err(|error| unavailable("reading the broker's password", error))?;
        let put = self.client.put(format!("{}/{name}", self.policies_url)).basic_auth(&self.user, Some(&*password));
        let answer = put.json(policy).send().await.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(failed)
    }

    pub(super) async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        let failed = |error: reqwest::Error| unavailable(format!("asking how much {queue} holds"), error.without_url());
        let password = self.password.read().map_err(|error| unavailable("reading the broker's password", error))?;
        let ask = self.client.get(format!("{}/{queue}", self.queues_url)).basic_auth(&self.user, Some(&*password));
        let answer = ask.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let measured: Measured = answer.json().await.map_err(failed)?;
        Ok(Depth { ready: measured.messages_ready, unacked: measured.messages_unacknowledged })
    }
}

/// An HTTP client that trusts the system's certificates, or those in a file.
pub(crate) fn client(ca_file: Option<&PathBuf>) -> Result<reqwest::Client, QueueError> {
    // Where the process has another already, that one is as good.
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().timeout(ANSWER);
    if let Some(path) = ca_file {
        let pem = certificates(path).map_err(|error| unavailable(format!("reading {}", path.display()), error))?;
        let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| unavailable(format!("reading {}", path.display()), error))?;
        builder = builder.tls_certs_only(trusted);
    }
    builder.build().map_err(|error| unavailable("making an HTTP client", error))
}
