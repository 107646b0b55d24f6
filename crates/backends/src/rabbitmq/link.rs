//! The connection: one a process, opened anew where it broke.

use detektor_contract::names::WORK_EXCHANGE;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::broker::{ANSWER, Broker, within};
use super::topology::Declaration;
use super::{RabbitOptions, topology};
use crate::queue::QueueError;

pub(super) struct Link {
    broker: Broker,
    current: Mutex<Option<Connection>>,
    /// What a dead letter was delivered, where the broker does not say.
    pub(super) delivery_limit: u32,
}

impl Link {
    pub(super) fn new(options: RabbitOptions) -> Result<Self, QueueError> {
        let RabbitOptions { url, user, password_file, ca_file, delivery_limit, .. } = options;
        let broker = Broker::new(&url, user, &password_file, ca_file.as_deref())?;
        Ok(Self { broker, current: Mutex::default(), delivery_limit })
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
        self.declare_all(&channel).await?;
        *current = Some(connection);
        Ok(channel)
    }

    /// What is always there. Partitions come and go.
    async fn declare_all(&self, channel: &Channel) -> Result<(), QueueError> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declare =
            channel.exchange_declare(WORK_EXCHANGE.into(), ExchangeKind::Direct, options, FieldTable::default());
        within(&format!("declaring {WORK_EXCHANGE}"), declare).await?;
        for declaration in topology::dead() {
            self.declare(channel, declaration).await?;
        }
        Ok(())
    }

    pub(super) async fn declare(&self, channel: &Channel, declaration: Declaration) -> Result<(), QueueError> {
        let mut arguments = FieldTable::default();
        for (name, value) in declaration.arguments {
            if let Value::String(text) = value {
                arguments.insert(name.into(), AMQPValue::LongString(text.into()));
            }
        }
        let name = declaration.queue.to_string();
        let declare = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments);
        within(&format!("declaring {}", declaration.queue), declare).await.map(drop)
    }
}
