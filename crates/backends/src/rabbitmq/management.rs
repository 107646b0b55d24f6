//! The broker's management API: AMQP itself does not tell what is unacked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use detektor_contract::names::Queue;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::Flow;
use super::{RabbitOptions, unavailable};
use crate::queue::{Depth, QueueError};
use crate::secret::SecretFile;
use crate::trust::certificates;

const ANSWER: Duration = Duration::from_secs(5);
/// It answers 500 where a queue goes while it looks. Asked again, it knows.
const TRIES: u32 = 3;
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Rates as means over the last minute: those of the last five seconds are 0 where work is slow.
const FLOWS: &str =
    "?columns=name,messages_ready,messages_unacknowledged,message_stats&msg_rates_age=60&msg_rates_incr=5";
/// No more than that of each queue.
const DEPTHS: &str = "?columns=name,messages_ready,messages_unacknowledged";

pub(super) struct Management {
    client: reqwest::Client,
    queues_url: String,
    bindings_url: String,
    policies_url: String,
    user: String,
    password: SecretFile,
}

/// What is measured of a queue; none where nothing was yet.
#[derive(Deserialize)]
struct Measured {
    messages_ready: Option<u64>,
    messages_unacknowledged: Option<u64>,
    /// Not there before the first message.
    #[serde(default)]
    message_stats: Rates,
}

/// A queue in a list.
#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(flatten)]
    measured: Measured,
}

/// How fast messages come and go, by kind.
#[derive(Default, Deserialize)]
struct Rates {
    publish_details: Option<Rate>,
    ack_details: Option<Rate>,
}

#[derive(Deserialize)]
struct Rate {
    rate: f64,
    /// Over the time that was asked for, once there is that much.
    avg_rate: Option<f64>,
}

impl Measured {
    fn depth(&self) -> Depth {
        Depth { ready: self.messages_ready.unwrap_or(0), unacked: self.messages_unacknowledged.unwrap_or(0) }
    }

    /// A rate, where rates are measured: where depths are, and nothing of its kind was yet, it is 0.
    fn per_s(&self, rate: &Option<Rate>) -> Option<f64> {
        self.messages_ready.map(|_| rate.as_ref().map_or(0.0, |rate| rate.avg_rate.unwrap_or(rate.rate)))
    }

    fn flow(&self) -> Flow {
        let Rates { publish_details, ack_details } = &self.message_stats;
        Flow { depth: self.depth(), in_per_s: self.per_s(publish_details), out_per_s: self.per_s(ack_details) }
    }
}

/// A binding, of an exchange or of the default one.
#[derive(Deserialize)]
pub(super) struct Binding {
    /// The exchange; empty is the default one.
    pub(super) source: String,
    /// What is bound.
    pub(super) destination: String,
}

impl Management {
    pub(super) fn new(options: &RabbitOptions) -> Result<Self, QueueError> {
        let uri: lapin::uri::AMQPUri =
            options.url.parse().map_err(|error: String| unavailable("reading the broker's URL", error))?;
        let vhost = percent_encoding::utf8_percent_encode(&uri.vhost, percent_encoding::NON_ALPHANUMERIC);
        Ok(Self {
            client: client(options.ca_file.as_ref())?,
            queues_url: format!("{}/api/queues/{vhost}", options.management_url.trim_end_matches('/')),
            bindings_url: format!("{}/api/bindings/{vhost}", options.management_url.trim_end_matches('/')),
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
        Ok(self.measured(queue).await?.map(|measured| measured.depth()).unwrap_or_default())
    }

    /// The same of every queue there is, in one answer.
    pub(super) async fn depths(&self) -> Result<BTreeMap<Queue, Depth>, QueueError> {
        self.all("asking how much the queues hold", DEPTHS, Measured::depth).await
    }

    /// The same, and how fast messages come and go.
    pub(super) async fn flows(&self) -> Result<BTreeMap<Queue, Flow>, QueueError> {
        self.all("asking how fast the queues are", FLOWS, Measured::flow).await
    }

    async fn all<T>(
        &self,
        context: &str,
        columns: &str,
        what: impl Fn(&Measured) -> T,
    ) -> Result<BTreeMap<Queue, T>, QueueError> {
        let queues: Vec<Listed> = self.list(context, &format!("{}{columns}", self.queues_url)).await?;
        // Others may have queues of their own there.
        Ok(queues.iter().filter_map(|queue| Some((queue.name.parse().ok()?, what(&queue.measured)))).collect())
    }

    /// Whether a queue that is there is measured, and found to hold nothing.
    pub(super) async fn holds_nothing(&self, queue: Queue) -> Result<bool, QueueError> {
        let nothing = |found: Option<u64>| found == Some(0);
        let measured = self.measured(queue).await?;
        Ok(measured.is_some_and(|found| nothing(found.messages_ready) && nothing(found.messages_unacknowledged)))
    }

    /// Every binding. It comes from what the broker knows, not from what it measures.
    pub(super) async fn bindings(&self) -> Result<Vec<Binding>, QueueError> {
        self.list("asking which partitions there are", &self.bindings_url).await
    }

    async fn list<T: DeserializeOwned>(&self, context: &str, url: &str) -> Result<Vec<T>, QueueError> {
        let failed = |error: reqwest::Error| unavailable(context, error.without_url());
        let answer = self.get(url).await?.map_err(failed)?;
        answer.error_for_status().map_err(failed)?.json().await.map_err(failed)
    }

    /// What is measured of a queue; none if it is not there.
    async fn measured(&self, queue: Queue) -> Result<Option<Measured>, QueueError> {
        let failed = |error: reqwest::Error| unavailable(format!("asking how much {queue} holds"), error.without_url());
        let answer = self.get(&format!("{}/{queue}", self.queues_url)).await?.map_err(failed)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.error_for_status().map_err(failed)?.json().await.map(Some).map_err(failed)
    }

    async fn get(&self, url: &str) -> Result<reqwest::Result<reqwest::Response>, QueueError> {
        let password = self.password.read().map_err(|error| unavailable("reading the broker's password", error))?;
        let mut tries = 1;
        loop {
            let answer = self.client.get(url).basic_auth(&self.user, Some(&*password)).send().await;
            let failed = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::INTERNAL_SERVER_ERROR);
            if !failed || tries == TRIES {
                return Ok(answer);
            }
            tries += 1;
            sleep(AGAIN_AFTER).await;
        }
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
