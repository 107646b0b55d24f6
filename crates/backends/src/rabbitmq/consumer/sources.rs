//! Where a consumer's messages come from: which queues are its homes, and which are worth a look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use detektor_contract::names::Queue;
use lapin::Channel;
use tokio::time::Instant;

use crate::queue::QueueError;
use crate::rabbitmq::link::Link;

/// How long a queue that is not there is left alone: whoever knows which ones there are says so before.
pub(super) const GONE_FOR: Duration = Duration::from_secs(10);

/// Where messages come from.
pub(super) struct Sources {
    open: Vec<Queue>,
    retired: Vec<Queue>,
    permits: usize,
    /// Those that are subscribed to.
    pub(super) homes: Arc<[Home]>,
    /// Those that are not.
    others: Vec<Queue>,
}

impl Sources {
    /// Takes from these queues, with so many permits.
    pub(super) fn new(open: &[Queue], permits: usize) -> Self {
        let (retired, others) = (Vec::new(), Vec::new());
        let mut sources = Self { open: open.to_vec(), retired, permits, homes: Arc::default(), others };
        sources.draw();
        sources
    }

    /// Draws home queues, the retired ones last. Whoever subscribes to some only begins anywhere.
    fn draw(&mut self) {
        let mut order = self.open.clone();
        let first = fastrand::usize(..order.len().max(1));
        order.rotate_left(first);
        order.extend(&self.retired);
        self.others = order.split_off(self.permits.min(order.len()));
        let (share, more) = (self.permits / order.len().max(1), self.permits % order.len().max(1));
        let home = |(n, queue): (usize, Queue)| {
            let prefetch = (share + usize::from(n < more)) as u16;
            Home { queue, prefetch, taken: Arc::default() }
        };
        self.homes = order.into_iter().enumerate().map(home).collect();
    }

    /// Takes from these queues from here on.
    pub(super) fn turn_to(&mut self, open: &[Queue], retired: &[Queue]) {
        let all = |open: &[Queue], retired: &[Queue]| BTreeSet::from_iter([open, retired].concat());
        // One that is open again may have been gone meanwhile.
        let again = open.iter().any(|queue| self.retired.contains(queue));
        let same = !again && all(&self.open, &self.retired) == all(open, retired);
        (self.open, self.retired) = (open.to_vec(), retired.to_vec());
        if !same {
            self.draw();
        }
    }

    /// Those that may be gone at any time.
    pub(super) fn retired(&self) -> &[Queue] {
        &self.retired
    }

    /// Queues that no subscription brings messages from, whatever they hold.
    pub(super) fn worth_a_look(&self) -> Vec<Look> {
        let full = |home: &&Home| home.taken.load(Ordering::Relaxed) >= u32::from(home.prefetch);
        let homes = self.homes.iter().filter(full).map(|home| self.look(home.queue, Some(Arc::clone(&home.taken))));
        self.others().into_iter().chain(homes).collect()
    }

    /// Queues that are nobody's home here, beginning anywhere.
    pub(super) fn others(&self) -> Vec<Look> {
        let mut others = self.others.clone();
        let first = fastrand::usize(..others.len().max(1));
        others.rotate_left(first);
        others.into_iter().map(|queue| self.look(queue, None)).collect()
    }

    fn look(&self, queue: Queue, taken: Option<Arc<AtomicU32>>) -> Look {
        Look { queue, taken, retired: self.retired.contains(&queue) }
    }
}

/// A queue that is worth a look.
pub(super) struct Look {
    pub(super) queue: Queue,
    /// Counts what is held of a home.
    pub(super) taken: Option<Arc<AtomicU32>>,
    /// Then its channel is its own; others share one.
    pub(super) retired: bool,
}

/// A queue that is subscribed to.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) queue: Queue,
    pub(super) prefetch: u16,
    /// Deliveries of it that are held.
    pub(super) taken: Arc<AtomicU32>,
}

/// Counts a delivery as long as it lives.
pub(super) struct Taken(Option<Arc<AtomicU32>>);

impl Taken {
    /// Nobody counts it.
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(counter: &Arc<AtomicU32>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Some(Arc::clone(counter)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The channels of retired queues; none while one rests after a failure.
#[derive(Default)]
pub(super) struct LastLooks(BTreeMap<Queue, (Option<Channel>, Instant)>);

impl LastLooks {
    pub(super) async fn channel(&mut self, queue: Queue, link: &Link) -> Result<Option<Channel>, QueueError> {
        match self.0.get(&queue) {
            Some((Some(channel), _)) => return Ok(Some(channel.clone())),
            Some((None, until)) if Instant::now() < *until => return Ok(None),
            Some((None, _)) | None => {}
        }
        self.rest(queue);
        let channel = link.channel().await?;
        self.0.insert(queue, (Some(channel.clone()), Instant::now()));
        Ok(Some(channel))
    }

    pub(super) fn rest(&mut self, queue: Queue) {
        self.0.insert(queue, (None, Instant::now() + GONE_FOR));
    }

    pub(super) fn only(&mut self, retired: &[Queue]) {
        self.0.retain(|queue, _| retired.contains(queue));
    }
}
