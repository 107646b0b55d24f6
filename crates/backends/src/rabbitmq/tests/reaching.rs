//! Who may reach a broker, and which broker is believed.

use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::queue::Settle;
use crate::servers::certificates::{authority, certificate};
use crate::servers::{RabbitMq as Broker, Wire};

const NEVER: Duration = Duration::from_secs(60);
const QUEUE: Queue = Queue::Work(Work::Detect, 0);

/// An error with everything behind it.
fn told<T>(result: Result<T, QueueError>) -> String {
    let Err(error) = result else { panic!("it works") };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_trusted_by_its_authority_alone() {
    let (ours, other) = (authority("ours"), authority("other"));
    let broker = Broker::start(Some(certificate(&ours))).await;
    let dir = tempfile::tempdir().unwrap();
    let [ours, other] =
        [("ours", ours.pem()), ("other", other.pem())].map(|(name, pem)| written(dir.path(), name, &pem));
    let options = broker.vhost(LIMIT).await;
    assert!(options.url.starts_with("amqps://"));

    let queues = connected(&RabbitOptions { ca_file: Some(ours), ..options.clone() }).await;
    queues.publish(QUEUE, vec![Message::default()]).await.unwrap();
    for ca_file in [Some(other), None] {
        let error = told(RabbitMq::connect(RabbitOptions { ca_file, ..options.clone() }).await);
        assert!(error.contains("certificate") && error.contains("UnknownIssuer"), "{error}");
    }
    let empty = Some(written(dir.path(), "empty", ""));
    let error = told(RabbitMq::connect(RabbitOptions { ca_file: empty, ..options.clone() }).await);
    assert!(error.contains("empty: it holds no certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_is_read_anew_at_the_next_connection() {
    let broker = Broker::shared().await;
    let wire = Wire::to(broker.port()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = broker.vhost(LIMIT).await;
    let vhost = options.url.rsplit('/').next().unwrap().to_owned();
    broker.user("rotating", "first", &vhost).await;
    options.url = options.url.replace(&format!(":{}/", broker.port()), &format!(":{}/", wire.port()));
    options.user = "rotating".to_owned();
    options.password_file = written(dir.path(), "password", "first\n");
    let queues = connected(&options).await;
    let consumer = queues.consume(&[QUEUE], 1).await.unwrap();
    queues.publish(QUEUE, vec![Message::default()]).await.unwrap();
    let delivery = timeout(NEVER, consumer.receive()).await.unwrap().unwrap();
    consumer.settle(delivery.tag, Settle::Ack).await.unwrap();

    broker.user("rotating", "second", &vhost).await;
    wire.cut();
    wire.restore();
    // The file still holds the first one.
    let refused = async {
        loop {
            if let Err(error) = queues.publish(QUEUE, vec![Message::default()]).await {
                let error = told::<()>(Err(error));
                assert!(!error.contains("first"), "{error}");
                if error.contains("ACCESS_REFUSED") || error.contains("ACCESS-REFUSED") {
                    return;
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(NEVER, refused).await.expect("the broker says why");
    written(dir.path(), "password", "second\n");
    let published = async {
        while queues.publish(QUEUE, vec![Message::default()]).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(NEVER, published).await.expect("it is let in again");
    let delivery = timeout(NEVER, consumer.receive()).await.expect("the consumer, too").unwrap();
    consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
    assert!(queues.depth(QUEUE).await.is_ok(), "and so is who asks for depths");
    consumer.close().await.unwrap();
}
