//! A queue in memory, for a paused clock, that can be away and writes down what is done to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use detektor_backends::queue::{
    Consumer, Delivery, Depth, Message, Partitions, QueueError, Queues, Settle, Standing, Tag,
};
use detektor_contract::names::Queue;
use tokio::sync::Notify;

/// What the double does not do for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Away {
    pub(super) publish: bool,
    pub(super) receive: bool,
    pub(super) settle: bool,
    pub(super) partitions: bool,
}

pub(super) const ALL_AWAY: Away = Away { publish: true, receive: true, settle: true, partitions: true };

#[derive(Default)]
struct State {
    ready: BTreeMap<Queue, VecDeque<(Message, u32)>>,
    held: BTreeMap<Tag, Delivery>,
    next_tag: u64,
    away: Away,
    cancelled: bool,
    closed: bool,
    prefetch: usize,
    subscribed: Vec<Queue>,
    partitions: Partitions,
    log: Vec<String>,
    most_held: usize,
    given_back: u64,
}

/// One consumer is enough here.
#[derive(Clone, Default)]
pub(super) struct Memory {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Memory {
    pub(super) fn put(&self, queue: Queue, body: &str) {
        self.put_again(queue, body, 1);
    }

    /// A message that was delivered `attempt - 1` times before.
    pub(super) fn put_again(&self, queue: Queue, body: &str, attempt: u32) {
        self.put_message(queue, Message { body: body.to_owned().into(), ..Message::default() }, attempt);
    }

    pub(super) fn put_message(&self, queue: Queue, message: Message, attempt: u32) {
        self.state().ready.entry(queue).or_default().push_back((message, attempt));
        self.changed.notify_waiters();
    }

    pub(super) fn set_away(&self, away: Away) {
        self.state().away = away;
        self.changed.notify_waiters();
    }

    /// A partition stands like this from here on; none removes it.
    pub(super) fn set_partition(&self, queue: Queue, standing: Option<Standing>) {
        let partitions = &mut self.state().partitions.0;
        match standing {
            Some(standing) => drop(partitions.insert(queue, standing)),
            None => drop(partitions.remove(&queue)),
        }
    }

    /// The source has no more than what is in it: then it says that it is closed.
    pub(super) fn end(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    /// As if the connection broke: whatever is held is nobody's any more.
    pub(super) fn forget_held(&self) {
        self.state().held.clear();
    }

    pub(super) fn messages(&self, queue: Queue) -> Vec<Message> {
        self.state().ready.get(&queue).into_iter().flatten().map(|(message, _)| message.clone()).collect()
    }

    pub(super) fn bodies(&self, queue: Queue) -> Vec<String> {
        self.messages(queue).iter().map(body).collect()
    }

    pub(super) fn note(&self, line: impl Into<String>) {
        self.state().log.push(line.into());
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    pub(super) fn most_held(&self) -> usize {
        self.state().most_held
    }

    /// How many deliveries went back: each is a redelivery to come.
    pub(super) fn given_back(&self) -> u64 {
        self.state().given_back
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn try_receive(&self) -> Option<Result<Delivery, QueueError>> {
        let mut state = self.state();
        if state.away.receive {
            return Some(Err(away("receiving")));
        }
        if state.cancelled {
            return Some(Err(QueueError::Closed));
        }
        if state.held.len() >= state.prefetch {
            return None;
        }
        for queue in state.subscribed.clone() {
            if let Some((message, attempt)) = state.ready.get_mut(&queue).and_then(VecDeque::pop_front) {
                let tag = Tag(state.next_tag);
                state.next_tag += 1;
                let delivery = Delivery { queue, message, attempt, tag };
                state.held.insert(tag, delivery.clone());
                state.most_held = state.most_held.max(state.held.len());
                return Some(Ok(delivery));
            }
        }
        state.closed.then_some(Err(QueueError::Closed))
    }
}

pub(super) fn body(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

fn away(context: &str) -> QueueError {
    QueueError::Unavailable { context: context.to_owned(), source: None }
}

#[async_trait]
impl Queues for Memory {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        tokio::task::yield_now().await;
        if self.state().away.publish {
            return Err(away("publishing"));
        }
        for message in messages {
            self.note(format!("publish {queue} {}", body(&message)));
            self.put_message(queue, message, 1);
        }
        Ok(())
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError> {
        let mut state = self.state();
        if state.away.receive {
            return Err(away("subscribing"));
        }
        state.prefetch = prefetch as usize;
        state.subscribed = queues.to_vec();
        Ok(Arc::new(self.clone()))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        let state = self.state();
        let unacked = state.held.values().filter(|delivery| delivery.queue == queue).count();
        Ok(Depth { ready: state.ready.get(&queue).map_or(0, VecDeque::len) as u64, unacked: unacked as u64 })
    }

    async fn partitions(&self) -> Result<Partitions, QueueError> {
        let state = self.state();
        if state.away.partitions { Err(away("asking for partitions")) } else { Ok(state.partitions.clone()) }
    }

    async fn open(&self, _: Queue) -> Result<(), QueueError> {
        unreachable!("a host opens none")
    }

    async fn retire(&self, _: Queue) -> Result<(), QueueError> {
        unreachable!("a host retires none")
    }

    async fn is_drained(&self, _: Queue) -> Result<bool, QueueError> {
        unreachable!("a host removes none")
    }

    async fn remove(&self, _: Queue) -> Result<bool, QueueError> {
        unreachable!("a host removes none")
    }
}

#[async_trait]
impl Consumer for Memory {
    async fn receive(&self) -> Result<Delivery, QueueError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(result) = self.try_receive() {
                return result;
            }
            changed.await;
        }
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<(), QueueError> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        if state.away.settle {
            return Err(away("settling"));
        }
        let delivery = state.held.remove(&tag).ok_or(QueueError::NotHeld(tag))?;
        assert_eq!(how, Settle::Ack, "a host never rejects");
        state.log.push(format!("ack {}", body(&delivery.message)));
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<(), QueueError> {
        let names: Vec<String> = queues.iter().map(ToString::to_string).collect();
        let leaving: Vec<String> = retired.iter().map(ToString::to_string).collect();
        self.note(format!("turn to {}; {}", names.join(" "), leaving.join(" ")));
        self.state().subscribed = [queues, retired].concat();
        self.changed.notify_waiters();
        Ok(())
    }

    async fn cancel(&self) -> Result<(), QueueError> {
        self.state().cancelled = true;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn close(&self) -> Result<(), QueueError> {
        let mut state = self.state();
        for (_, delivery) in std::mem::take(&mut state.held) {
            state.given_back += 1;
            state.ready.entry(delivery.queue).or_default().push_front((delivery.message, delivery.attempt + 1));
        }
        Ok(())
    }
}
