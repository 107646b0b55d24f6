//! Looks into queues that no subscription brings messages from: into those that are no home here, and into homes whose own share
//! is taken while permits are idle.
//!
//! A look asks how much is ready, which costs the broker a quarter of taking what is not there; only what is there is taken, one
//! message at a time. All consumers together look into a queue about as often, however many they are: and the less often, the longer
//! those that are subscribed to it have kept it empty. A worker that has no idle permit waits for one in turn with its
//! subscriptions, once it has seen that nobody idle comes for a message: so a queue that is nobody's home, as a retired one may
//! be, does not wait for as long as there is work elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use detektor_contract::names::Queue;
use lapin::Channel;
use lapin::options::BasicGetOptions;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use super::sources::{GONE_FOR, Look, Taken};
use super::{AGAIN_AFTER, Held, Shared, give_back};
use crate::queue::QueueError;
use crate::rabbitmq::broker::{Found, look_at, within};
use crate::rabbitmq::link::Link;

/// How often a queue is looked into by all its consumers together.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// So many times more seldom is a queue looked into that its subscribers keep empty.
const PATIENCE: u32 = 8;
/// The longest between two looks of one consumer into one queue.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row find an empty queue without subscribers until it is believed to be nobody's home: a broker that has not
/// learnt it within 250 ms answers that there is nothing and nobody (`rabbit_quorum_queue`, `stat`).
const BELIEVED: u32 = 8;
/// How often a consumer may move to a queue that is nobody's home, give or take a half.
const MOVE_EVERY: Duration = Duration::from_secs(1);

/// What is known of a queue that is looked into.
struct Known {
    next_look: Instant,
    /// How many were subscribed to it.
    consumers: u32,
    /// Looks in a row that found its subscribers keep it empty.
    empty: u32,
    /// Looks in a row that found no subscriber.
    deserted: u32,
    /// The last look found messages that no permit was idle for.
    waits: bool,
    /// A retired queue may be gone at any time, and with it the channel that looks into it.
    own: Option<Channel>,
}

impl Default for Known {
    fn default() -> Self {
        Self { next_look: Instant::now(), consumers: 0, empty: 0, deserted: 0, waits: false, own: None }
    }
}

/// The looks of one consumer.
pub(super) struct Looks {
    /// For queues that stay. None after one has failed, until there is another.
    shared: Option<Channel>,
    known: BTreeMap<Queue, Known>,
    next_move: Instant,
}

impl Looks {
    pub(super) fn new(shared: Channel) -> Self {
        Self { shared: Some(shared), known: BTreeMap::new(), next_move: after(MOVE_EVERY) }
    }

    /// Which of these are due.
    fn due(&mut self, mut looks: Vec<Look>) -> Vec<Look> {
        self.known.retain(|queue, _| looks.iter().any(|look| look.queue == *queue));
        let now = Instant::now();
        looks.retain(|look| self.known.entry(look.queue).or_default().next_look <= now);
        looks
    }

    /// When there is something to do again. What is worth a look changes meanwhile.
    fn next(&self) -> Instant {
        let first = self.known.values().map(|known| known.next_look).min();
        let soon = Instant::now() + LOOK_EVERY;
        first.map_or(soon, |first| first.min(soon))
    }

    /// Notes what a look found, and how long one that takes from so many homes leaves the queue alone.
    fn note(&mut self, queue: Queue, found: &Found, homes: usize) -> &mut Known {
        let subscribed: u32 = self.known.values().map(|known| known.consumers).sum();
        // All have about as many homes.
        let workers = subscribed / u32::try_from(homes).unwrap_or(1).max(1) + 1;
        let known = self.known.entry(queue).or_default();
        known.consumers = found.consumers;
        known.deserted = if found.consumers == 0 { known.deserted.saturating_add(1) } else { 0 };
        let kept_empty = found.ready == 0 && found.consumers > 0;
        known.empty = if kept_empty { PATIENCE.min(known.empty + 1) } else { 0 };
        let pause = LOOK_EVERY.saturating_mul(workers.saturating_mul(known.empty.max(1)));
        known.next_look = Instant::now() + pause.min(LOOK_AT_LEAST_EVERY);
        known
    }

    async fn channel(&mut self, look: &Look, link: &Link) -> Result<Channel, QueueError> {
        let channel = if look.retired { &mut self.known.entry(look.queue).or_default().own } else { &mut self.shared };
        match channel {
            Some(channel) => Ok(channel.clone()),
            None => Ok(channel.insert(link.channel().await?).clone()),
        }
    }
}

/// About so much later.
fn after(time: Duration) -> Instant {
    Instant::now() + time.mul_f64(0.5 + fastrand::f64())
}

impl Shared {
    /// Looks into what is worth it until it is told to stop.
    pub(super) async fn look_around(
        self: Arc<Self>,
        mut looks: Looks,
        arrive: mpsc::Sender<Held>,
        _looking: mpsc::Sender<()>,
    ) {
        while self.stop.run_until_cancelled(sleep_until(looks.next())).await.is_some() {
            let worth = self.sources.borrow().worth_a_look(self.permits.available_permits() > 0);
            for look in looks.due(worth) {
                if let Err(error) = self.look_into(&look, &mut looks, &arrive).await {
                    tracing::debug!(queue = %look.queue, %error, "a look failed");
                    self.recover(&look, &mut looks).await;
                }
            }
        }
    }

    /// A channel does not outlive what fails on it, but for what it has brought: an answer that is late may be a message, which
    /// the broker takes back as the channel goes. The queue rests meanwhile.
    async fn recover(&self, look: &Look, looks: &mut Looks) {
        let pause = if look.retired { GONE_FOR } else { AGAIN_AFTER };
        looks.known.insert(look.queue, Known { next_look: Instant::now() + pause, ..Known::default() });
        if look.retired {
            return;
        }
        looks.shared = None;
        if looks.channel(look, &self.link).await.is_err() {
            // The subscriptions tell of it.
            self.stop.run_until_cancelled(sleep(AGAIN_AFTER)).await;
        }
    }

    /// Takes what a queue has and permits are there for.
    async fn look_into(&self, look: &Look, looks: &mut Looks, arrive: &mpsc::Sender<Held>) -> Result<(), QueueError> {
        let channel = looks.channel(look, &self.link).await?;
        let found = look_at(&channel, look.queue).await?;
        let known = looks.note(look.queue, &found, self.sources.borrow().homes.len());
        let waited = std::mem::take(&mut known.waits);
        let nobodys = known.deserted >= if found.ready > 0 { 1 } else { BELIEVED };
        if nobodys && looks.next_move <= Instant::now() {
            looks.next_move = after(MOVE_EVERY);
            self.move_to(look.queue, &channel).await?;
        }
        for taken in 0..found.ready {
            let permit = match Arc::clone(&self.permits).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) if taken == 0 && waited => match self.stop.run_until_cancelled(self.permit()).await {
                    Some(permit) => permit,
                    None => return Ok(()),
                },
                Err(_) => {
                    // With one of them taken, the next one waits in turn; else somebody idle may come for it first.
                    let soon = if taken == 0 { LOOK_EVERY } else { Duration::ZERO };
                    let known = looks.known.entry(look.queue).or_default();
                    (known.waits, known.next_look) = (true, Instant::now() + soon);
                    return Ok(());
                }
            };
            if !self.take_one(&channel, look, permit, arrive).await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether there was one.
    async fn take_one(
        &self,
        channel: &Channel,
        Look { queue, taken, .. }: &Look,
        permit: OwnedSemaphorePermit,
        arrive: &mpsc::Sender<Held>,
    ) -> Result<bool, QueueError> {
        let get = channel.basic_get(queue.to_string().into(), BasicGetOptions::default());
        let Some(got) = within(&format!("looking into {queue}"), get).await? else { return Ok(false) };
        let taken = taken.as_ref().map_or_else(Taken::none, Taken::of);
        let held = Held::new(*queue, got.delivery, channel, None, permit, taken);
        if let Err(mpsc::error::SendError(held)) = arrive.send(held).await {
            give_back(&held.acker).await;
        }
        Ok(true)
    }

    /// Moves to a queue that is nobody's home, from a home that is somebody else's too.
    async fn move_to(&self, nobodys: Queue, channel: &Channel) -> Result<(), QueueError> {
        let homes = self.sources.borrow().open_homes();
        for home in homes {
            if look_at(channel, home).await?.consumers > 1 {
                tracing::debug!(from = %home, to = %nobodys, "moving to a queue that is nobody's home");
                self.sources.send_modify(|sources| sources.move_home(home, nobodys));
                break;
            }
        }
        Ok(())
    }
}
