//! Notifications to an exchange of RabbitMQ.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::Mutex;

use super::{Sink, SinkError};
use crate::queue::QueueError;
use crate::rabbitmq::broker::{Broker, within};

/// Written to disk before it is confirmed.
const PERSISTENT: u8 = 2;
const CONTENT_TYPE: &str = "application/json";

/// Where to publish.
#[derive(Clone, Debug)]
pub struct ExchangeOptions {
    /// `amqp://host:port/vhost` or `amqps://…`, without credentials.
    pub url: String,
    /// The user.
    pub user: String,
    /// A file that holds the user's password; read again at every connection.
    pub password_file: PathBuf,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The exchange. Whoever wants to hear declares it, and binds a durable queue to it.
    pub exchange: String,
    /// The routing key of every notification.
    pub routing_key: String,
}

/// Publishes every notification. A notification is accepted once the broker has confirmed it; one that no queue takes is refused.
pub struct Exchange {
    broker: Broker,
    exchange: String,
    routing_key: String,
    current: Mutex<Option<(Connection, Channel)>>,
}

impl Exchange {
    /// Publishes as `options` say. Nothing is connected yet.
    ///
    /// # Errors
    /// Where the URL is none, or a file that `options` name cannot be read.
    pub fn new(options: ExchangeOptions) -> Result<Self, SinkError> {
        let ExchangeOptions { url, user, password_file, ca_file, exchange, routing_key } = options;
        let broker = Broker::new(&url, user, &password_file, ca_file.as_deref())?;
        Ok(Self { broker, exchange, routing_key, current: Mutex::default() })
    }

    async fn channel(&self) -> Result<Channel, SinkError> {
        let mut current = self.current.lock().await;
        if let Some((_, channel)) = current.as_ref().filter(|(_, channel)| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let connection = self.broker.connect().await?;
        let channel = within("opening a channel", connection.create_channel()).await?;
        within("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *current = Some((connection, channel.clone()));
        Ok(channel)
    }

    async fn publish(&self, channel: &Channel, body: &[u8]) -> Result<(), SinkError> {
        let context = format!("publishing to the exchange {}", self.exchange);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties =
            BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type(CONTENT_TYPE.into());
        let (exchange, key) = (self.exchange.as_str().into(), self.routing_key.as_str().into());
        let publish = async { channel.basic_publish(exchange, key, options, body, properties).await?.await };
        let source = match within(&context, publish).await? {
            Confirmation::Ack(None) => return Ok(()),
            Confirmation::Ack(Some(_)) => {
                return Err(SinkError::Refused(format!("no queue hears of what the exchange {} gets", self.exchange)));
            }
            Confirmation::Nack(_) => "a queue that hears of it is full",
            Confirmation::NotRequested => "the channel does not confirm",
        };
        Err(SinkError::Unavailable { context, source: Some(source.into()) })
    }
}

#[async_trait]
impl Sink for Exchange {
    async fn accept(&self, notification: Bytes) -> Result<(), SinkError> {
        let channel = self.channel().await?;
        let answer = self.publish(&channel, &notification).await;
        if matches!(answer, Err(SinkError::Unavailable { .. })) {
            // Whoever comes next opens another; those that wait for confirms on this one hear of it themselves.
            let mut current = self.current.lock().await;
            current.take_if(|(_, current)| current.id() == channel.id());
        }
        answer
    }
}

impl From<QueueError> for SinkError {
    fn from(error: QueueError) -> Self {
        Self::Unavailable { context: "using the broker".to_owned(), source: Some(error.into()) }
    }
}
