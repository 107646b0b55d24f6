//! A broker, and how it is reached.

use std::path::Path;
use std::time::Duration;

use detektor_contract::names::Queue;
use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::unavailable;
use crate::queue::QueueError;
use crate::secret::SecretFile;
use crate::trust::certificates;

/// How long anything may take that the broker answers at once.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// A node that is gone is noticed within twice this.
const HEARTBEAT_S: u16 = 5;

pub(crate) struct Broker {
    uri: AMQPUri,
    password: SecretFile,
    tls: OwnedTLSConfig,
}

impl Broker {
    pub(crate) fn new(
        url: &str,
        user: String,
        password_file: &Path,
        ca_file: Option<&Path>,
    ) -> Result<Self, QueueError> {
        let mut uri: AMQPUri = url.parse().map_err(|error: String| unavailable("reading the broker's URL", error))?;
        uri.authority.userinfo.username = user;
        uri.query.heartbeat = Some(HEARTBEAT_S);
        let read =
            |path: &Path| certificates(path).map_err(|error| unavailable(format!("reading {}", path.display()), error));
        let cert_chain = ca_file.map(read).transpose()?;
        let tls = OwnedTLSConfig { cert_chain, ..OwnedTLSConfig::default() };
        Ok(Self { uri, password: SecretFile::new(password_file), tls })
    }

    /// A new connection, with the password as it is now.
    pub(crate) async fn connect(&self) -> Result<Connection, QueueError> {
        let connect = async {
            let mut uri = self.uri.clone();
            let password = self.password.read().map_err(lapin::Error::from)?;
            uri.authority.userinfo.password = password.to_string();
            let properties = ConnectionProperties::default().with_connection_name("detektor".into());
            let runtime = lapin::runtime::default_runtime()?;
            Connection::connect_uri_with_config(uri, properties, self.tls.clone(), runtime).await
        };
        within("connecting to the broker", connect).await
    }
}

/// Whether the broker says that there is no such thing.
pub(super) fn is_not_found(error: &QueueError) -> bool {
    let QueueError::Unavailable { source: Some(source), .. } = error else { return false };
    let kind = source.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(ErrorKind::ProtocolError(said)) if *said.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

/// What a queue says of itself.
pub(super) struct Found {
    /// Messages that nobody holds.
    pub(super) ready: u32,
    /// Subscriptions.
    pub(super) consumers: u32,
}

/// Asks a queue. Its leader knows, without a word in its log. A channel does not outlive the answer that there is no such queue.
pub(super) async fn look_at(channel: &Channel, queue: Queue) -> Result<Found, QueueError> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let declare = channel.queue_declare(queue.to_string().into(), options, FieldTable::default());
    let found = within(&format!("looking at {queue}"), declare).await?;
    Ok(Found { ready: found.message_count(), consumers: found.consumer_count() })
}

/// What the broker answers in time.
pub(crate) async fn within<T>(context: &str, call: impl Future<Output = lapin::Result<T>>) -> Result<T, QueueError> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| unavailable(context, error)),
        Err(late) => Err(unavailable(context, late)),
    }
}
