#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::names::Work;

use super::*;
use crate::conformance::Bench;

mod outages;
mod reaching;

const LIMIT: u32 = 3;

struct OnRabbit {
    options: RabbitOptions,
    queues: Arc<RabbitMq>,
}

impl OnRabbit {
    async fn fresh() -> Self {
        let options = crate::servers::RabbitMq::shared().await.vhost(LIMIT).await;
        let queues = Arc::new(RabbitMq::connect(options.clone()).await.unwrap());
        Self { options, queues }
    }
}

#[async_trait]
impl Bench<dyn Queues> for OnRabbit {
    fn backend(&self) -> Arc<dyn Queues> {
        Arc::clone(&self.queues) as Arc<dyn Queues>
    }

    async fn crash(&mut self) {
        self.queues = Arc::new(RabbitMq::connect(self.options.clone()).await.unwrap());
    }

    fn delivery_limit(&self) -> u32 {
        LIMIT
    }
}

crate::queue_conformance!(OnRabbit::fresh());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_permits_take_from_where_the_work_is() {
    const MESSAGES: usize = 6;
    let bench = OnRabbit::fresh().await;
    let (hot, cold) = (Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 1));
    let message = |n: usize| Message { body: Bytes::from(n.to_string()), ..Message::default() };
    bench.queues.publish(hot, (0..MESSAGES).map(message).collect()).await.unwrap();
    // Three of the six permits are the cold queue's share.
    let consumer = bench.queues.consume(&[hot, cold], MESSAGES as u32).await.unwrap();
    let all = async {
        for _ in 0..MESSAGES {
            consumer.receive().await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap();
    consumer.close().await.unwrap();
}
