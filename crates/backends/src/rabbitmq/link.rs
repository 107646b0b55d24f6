//! The connection: one a process, opened anew where it broke.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::broker::{ANSWER, Broker, within};
use super::{RabbitOptions, topology};
use crate::queue::QueueError;

pub(super) struct Link {
    broker: Broker,
    partitions: u16,
    current: Mutex<Option<Connection>>,
    /// What a dead letter was delivered, where the broker does not say.
    pub(super) delivery_limit: u32,
}

impl Link {
    pub(super) fn new(options: RabbitOptions) -> Result<Self, QueueError> {
        let RabbitOptions { url, user, password_file, ca_file, partitions, delivery_limit, .. } = options;
        let broker = Broker::new(&url, user, &password_file, ca_file.as_deref())?;
        Ok(Self { broker, partitions, current: Mutex::default(), delivery_limit })
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
        let connection = self.broker.connect().await?;
        let channel = within("opening a channel", connection.create_channel()).await?;
        self.declare(&channel).await?;
        *current = Some(connection);
        Ok(channel)
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
