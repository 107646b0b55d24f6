//! Which messages are ready and who holds the others. Pure bookkeeping: no I/O, no waiting.

use std::collections::{BTreeMap, BTreeSet};

use detektor_contract::names::{DEFAULT_PARTITIONS, Queue, Work};

use crate::queue::{Depth, Partitions, QueueError, Standing, Tag, may_retire};

/// A message's place in the file. Rises in the order of publishing.
pub(crate) type Id = i64;

/// Names a consumer.
pub(crate) type ConsumerId = u64;

/// All queues and consumers.
///
/// The ready messages' ids are in memory, about 50 bytes each; their number is bounded by the queue's limit.
#[derive(Default)]
pub(crate) struct State {
    queues: BTreeMap<Queue, Content>,
    /// The partitions that take messages. One that is not here and is in `queues` is retired.
    open: BTreeSet<Queue>,
    consumers: BTreeMap<ConsumerId, Subscriber>,
    /// Those that were delivered too often and wait to be moved to the dead-letter queue.
    doomed: Vec<Doomed>,
    last_consumer: ConsumerId,
    last_tag: u64,
}

#[derive(Default)]
struct Content {
    /// In the order of delivery. What comes back has a lower id than what was never out, so it goes first.
    ready: BTreeMap<Id, u32>,
    unacked: u64,
}

struct Subscriber {
    queues: Vec<Queue>,
    /// Which of them is asked first next time.
    turn: usize,
    prefetch: usize,
    held: BTreeMap<Tag, Held>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It takes messages.
    Open,
    /// It takes no more and may settle what it holds.
    Cancelled,
    /// It is gone; what it still holds is being acked.
    Closed,
}

#[derive(Clone, Copy)]
struct Held {
    queue: Queue,
    id: Id,
    /// How often it was delivered before.
    attempts: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Taken, and not yet in the caller's hands: going back does not count.
    Claimed,
    /// In the caller's hands.
    Delivered,
    /// Its ack is on the way to the disk.
    Settling,
}

/// A message that is being handed to a consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) queue: Queue,
    pub(crate) id: Id,
    pub(crate) attempt: u32,
    pub(crate) tag: Tag,
}

/// A message that was delivered too often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doomed {
    pub(crate) id: Id,
    pub(crate) work: Work,
    pub(crate) attempts: u32,
}

impl State {
    /// Nothing is in it, and as many partitions are open as there are by default.
    pub(crate) fn new() -> Self {
        let works = Work::ALL.into_iter();
        let open = works.flat_map(|work| (0..DEFAULT_PARTITIONS).map(move |partition| Queue::Work(work, partition)));
        Self { open: open.collect(), ..Self::default() }
    }

    pub(crate) fn partitions(&self) -> Partitions {
        let retired = self.queues.keys().filter(|queue| matches!(queue, Queue::Work(..)));
        let mut all: BTreeMap<Queue, Standing> = retired.map(|queue| (*queue, Standing::Retired)).collect();
        all.extend(self.open.iter().map(|queue| (*queue, Standing::Open)));
        Partitions(all)
    }

    pub(crate) fn open(&mut self, queue: Queue) {
        if matches!(queue, Queue::Work(..)) {
            self.open.insert(queue);
        }
    }

    pub(crate) fn retire(&mut self, queue: Queue) {
        if may_retire(queue) && self.open.remove(&queue) {
            self.queues.entry(queue).or_default();
        }
    }

    /// Where a message for `queue` goes.
    pub(crate) fn takes(&self, queue: Queue) -> Result<Queue, QueueError> {
        let Queue::Work(work, _) = queue else { return Ok(queue) };
        let open = [queue, Queue::Work(work, 0)].into_iter().find(|queue| self.open.contains(queue));
        open.ok_or_else(|| QueueError::Unavailable { context: format!("{queue} is not open"), source: None })
    }

    pub(crate) fn is_drained(&self, queue: Queue) -> bool {
        let empty = self.queues.get(&queue).is_some_and(|content| content.ready.is_empty() && content.unacked == 0);
        may_retire(queue) && !self.open.contains(&queue) && empty
    }

    /// Removes a queue if it is drained.
    pub(crate) fn remove(&mut self, queue: Queue) -> bool {
        self.is_drained(queue) && self.queues.remove(&queue).is_some()
    }

    pub(crate) fn depth(&self, queue: Queue) -> Depth {
        let content = self.queues.get(&queue);
        content.map_or_else(Depth::default, |c| Depth { ready: c.ready.len() as u64, unacked: c.unacked })
    }

    /// Makes a message ready, or dooms it if its attempts are used up.
    pub(crate) fn insert(&mut self, queue: Queue, id: Id, attempts: u32, limit: u32) {
        match queue {
            Queue::Work(work, _) if attempts >= limit => self.doomed.push(Doomed { id, work, attempts }),
            Queue::Work(..) | Queue::Dead(_) => {
                self.queues.entry(queue).or_default().ready.insert(id, attempts);
            }
        }
    }

    pub(crate) fn take_doomed(&mut self) -> Vec<Doomed> {
        std::mem::take(&mut self.doomed)
    }

    pub(crate) fn give_back_doomed(&mut self, doomed: Vec<Doomed>) {
        self.doomed.extend(doomed);
    }

    pub(crate) fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    pub(crate) fn subscribe(&mut self, queues: Vec<Queue>, prefetch: usize) -> ConsumerId {
        self.last_consumer += 1;
        let subscriber = Subscriber { queues, turn: 0, prefetch, held: BTreeMap::new(), phase: Phase::Open };
        self.consumers.insert(self.last_consumer, subscriber);
        self.last_consumer
    }

    /// A consumer takes from other queues from here on.
    pub(crate) fn turn_to(&mut self, consumer: ConsumerId, queues: Vec<Queue>) -> Result<(), QueueError> {
        let subscriber =
            self.consumers.get_mut(&consumer).filter(|s| s.phase == Phase::Open).ok_or(QueueError::Closed)?;
        (subscriber.queues, subscriber.turn) = (queues, 0);
        Ok(())
    }

    /// The next message for a consumer: its queues take turns. None if there is none, or it holds as many as it may.
    pub(crate) fn claim(&mut self, consumer: ConsumerId) -> Result<Option<Claim>, QueueError> {
        let subscriber =
            self.consumers.get_mut(&consumer).filter(|s| s.phase == Phase::Open).ok_or(QueueError::Closed)?;
        if subscriber.held.len() >= subscriber.prefetch {
            return Ok(None);
        }
        for step in 0..subscriber.queues.len() {
            let at = (subscriber.turn + step) % subscriber.queues.len();
            let queue = subscriber.queues[at];
            let Some(content) = self.queues.get_mut(&queue) else { continue };
            let Some((id, attempts)) = content.ready.pop_first() else { continue };
            content.unacked += 1;
            subscriber.turn = at + 1;
            self.last_tag += 1;
            let tag = Tag(self.last_tag);
            subscriber.held.insert(tag, Held { queue, id, attempts, stage: Stage::Claimed });
            return Ok(Some(Claim { queue, id, attempt: attempts.saturating_add(1), tag }));
        }
        Ok(None)
    }

    /// A claimed message reaches its caller; not if the consumer was closed meanwhile.
    pub(crate) fn deliver(&mut self, consumer: ConsumerId, tag: Tag) -> Result<(), QueueError> {
        let held = self.consumers.get_mut(&consumer).and_then(|s| s.held.get_mut(&tag)).ok_or(QueueError::Closed)?;
        held.stage = Stage::Delivered;
        held.attempts = held.attempts.saturating_add(1);
        Ok(())
    }

    /// Begins to settle a delivery.
    pub(crate) fn begin_ack(&mut self, consumer: ConsumerId, tag: Tag) -> Result<Id, QueueError> {
        let held = self.consumers.get_mut(&consumer).and_then(|s| s.held.get_mut(&tag));
        let held = held.filter(|held| held.stage == Stage::Delivered).ok_or(QueueError::NotHeld(tag))?;
        held.stage = Stage::Settling;
        Ok(held.id)
    }

    /// An ack is on the disk, or was refused and can be tried again.
    pub(crate) fn end_ack(&mut self, consumer: ConsumerId, tag: Tag, acked: bool, limit: u32) {
        let Some(subscriber) = self.consumers.get_mut(&consumer) else { return };
        if acked {
            if let Some(held) = subscriber.held.remove(&tag) {
                self.left(held.queue);
            }
        } else if let Some(held) = subscriber.held.get_mut(&tag) {
            held.stage = Stage::Delivered;
            if subscriber.phase == Phase::Closed {
                let _ = self.put_back(consumer, tag, limit);
            }
        }
        self.forget(consumer);
    }

    /// Takes a message back that is not being acked.
    pub(crate) fn put_back(&mut self, consumer: ConsumerId, tag: Tag, limit: u32) -> Result<(), QueueError> {
        let subscriber = self.consumers.get_mut(&consumer).ok_or(QueueError::NotHeld(tag))?;
        match subscriber.held.get(&tag) {
            Some(held) if held.stage != Stage::Settling => {
                let Held { queue, id, attempts, .. } = *held;
                subscriber.held.remove(&tag);
                self.left(queue);
                self.insert(queue, id, attempts, limit);
                Ok(())
            }
            Some(_) | None => Err(QueueError::NotHeld(tag)),
        }
    }

    /// Drops a claim whose message is not in the file any more.
    pub(crate) fn drop_claim(&mut self, consumer: ConsumerId, tag: Tag) {
        let held = self.consumers.get_mut(&consumer).and_then(|s| s.held.remove(&tag));
        if let Some(held) = held {
            self.left(held.queue);
        }
    }

    /// A consumer takes no more.
    pub(crate) fn cancel(&mut self, consumer: ConsumerId) {
        if let Some(subscriber) = self.consumers.get_mut(&consumer)
            && subscriber.phase == Phase::Open
        {
            subscriber.phase = Phase::Cancelled;
        }
    }

    /// A consumer is gone: everything goes back but what is being acked.
    pub(crate) fn close(&mut self, consumer: ConsumerId, limit: u32) {
        let Some(subscriber) = self.consumers.get_mut(&consumer) else { return };
        subscriber.phase = Phase::Closed;
        let tags: Vec<Tag> = subscriber.held.keys().copied().collect();
        for tag in tags {
            // What is being acked stays until its ack has ended.
            let _ = self.put_back(consumer, tag, limit);
        }
        self.forget(consumer);
    }

    fn left(&mut self, queue: Queue) {
        if let Some(content) = self.queues.get_mut(&queue) {
            content.unacked = content.unacked.saturating_sub(1);
        }
    }

    /// Forgets a consumer that is closed and holds nothing.
    fn forget(&mut self, consumer: ConsumerId) {
        if self.consumers.get(&consumer).is_some_and(|s| s.phase == Phase::Closed && s.held.is_empty()) {
            self.consumers.remove(&consumer);
        }
    }
}

#[cfg(test)]
mod tests;
