//! The connection: one a process, opened anew where it broke.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{RabbitOptions, topology, unavailable};
use crate::queue::QueueError;
use crate::secret::SecretFile;

/// How long anything may take that the broker answers at once.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// A node that is gone is noticed within twice this.
const HEARTBEAT_S: u16 = 5;

pub(super) struct Link {
    uri: AMQPUri,
    password: SecretFile,
    tls: OwnedTLSConfig,
    partitions: u16,
    current: Mutex<Option<Connection>>,
    /// What a dead letter was delivered, where the broker does not say.
    pub(super) delivery_limit: u32,
}

impl Link {
    pub(super) fn new(options: RabbitOptions) -> Result<Self, QueueError> {
        let mut uri: AMQPUri =
            options.url.parse().map_err(|error: String| unavailable("reading the broker's URL", error))?;
        uri.authority.userinfo.username = options.user;
        uri.query.heartbeat = Some(HEARTBEAT_S);
        let read = |path| std::fs::read_to_string(path).map_err(|error| unavailable("reading certificates", error));
        let cert_chain = options.ca_file.map(read).transpose()?;
        Ok(Self {
            uri,
            password: SecretFile::new(&options.password_file),
            tls: OwnedTLSConfig { cert_chain, ..OwnedTLSConfig::default() },
            partitions: options.partitions,
            current: Mutex::default(),
            delivery_limit: options.delivery_limit,
        })
    }

    /// A new channel, on a new connection if there is none that works.
    pub(super) async fn channel(&self) -> Result<Channel, QueueError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            match timeout(ANSWER, connection.create_channel()).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(error)) => tracing::info!(%error, "the broker's connection broke; connecting anew"),
                Err(_) => tracing::info!("the broker does not answer; connecting anew"),
            }
        }
        *current = None;
        let connection = within("connecting to the broker", self.connect()).await?;
        let channel = within("opening a channel", connection.create_channel()).await?;
        self.declare(&channel).await?;
        *current = Some(connection);
        Ok(channel)
    }

    async fn connect(&self) -> lapin::Result<Connection> {
        let mut uri = self.uri.clone();
        let password = self.password.read().map_err(lapin::Error::from)?;
        uri.authority.userinfo.password = password.to_string();
        let properties = ConnectionProperties::default().with_connection_name("detektor".into());
        let runtime = lapin::runtime::default_runtime()?;
        Connection::connect_uri_with_config(uri, properties, self.tls.clone(), runtime).await
    }

    async fn declare(&self, channel: &Channel) -> Result<(), QueueError> {
        for declaration in topology::declarations(self.partitions) {
            let mut arguments = FieldTable::default();
            for (name, value) in declaration.arguments {
                if let Value::String(text) = value {
                    arguments.insert(name.into(), AMQPValue::LongString(text.into()));
                }
            }
            let name = declaration.queue.to_string();
            let declare = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments);
            within(&format!("declaring {}", declaration.queue), declare).await?;
        }
        Ok(())
    }
}

/// What the broker answers in time.
pub(super) async fn within<T>(context: &str, call: impl Future<Output = lapin::Result<T>>) -> Result<T, QueueError> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| unavailable(context, error)),
        Err(late) => Err(unavailable(context, late)),
    }
}
