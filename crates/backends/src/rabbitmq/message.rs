//! Messages as AMQP has them.

use bytes::Bytes;
use detektor_contract::names::{CONTENT_TYPE, HEADER_ATTEMPTS, HEADER_ERROR, Queue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::queue::Message;

/// Written to disk before it is confirmed.
const PERSISTENT: u8 = 2;
/// How often a quorum queue saw the message come back.
const DELIVERY_COUNT: &str = "x-delivery-count";

pub(super) fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        headers.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().into()));
    }
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(CONTENT_TYPE.into())
        .with_headers(headers)
}

/// The message, and how often it has been delivered. What the broker itself gave up says so as our own dead letters do.
pub(super) fn read(queue: Queue, body: Vec<u8>, properties: &BasicProperties, delivery_limit: u32) -> (Message, u32) {
    let mut message = Message { body: Bytes::from(body), ..Message::default() };
    let mut returned = 0;
    let fields = properties.headers().as_ref().map(FieldTable::inner);
    for (name, value) in fields.into_iter().flatten() {
        match value {
            _ if name.as_str() == DELIVERY_COUNT => returned = whole(value),
            AMQPValue::LongString(text) if !name.as_str().starts_with("x-") => {
                message.headers.insert(name.to_string(), text.to_string());
            }
            _ => {}
        }
    }
    if matches!(queue, Queue::Dead(_)) && !message.headers.contains_key(HEADER_ERROR) {
        let error = format!("delivered {delivery_limit} times without an answer");
        message.headers.insert(HEADER_ERROR.to_owned(), error);
        message.headers.insert(HEADER_ATTEMPTS.to_owned(), delivery_limit.to_string());
    }
    (message, returned.saturating_add(1))
}

fn whole(value: &AMQPValue) -> u32 {
    let number = match value {
        AMQPValue::LongLongInt(n) => *n,
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        _ => 0,
    };
    u32::try_from(number).unwrap_or(0)
}
