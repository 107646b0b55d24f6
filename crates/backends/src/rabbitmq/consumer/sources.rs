//! Where a consumer's messages come from: which queues are its homes, and which are worth a look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use detektor_contract::names::Queue;

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
            Home::new(queue, prefetch)
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

    /// Whether anything is to come from there.
    pub(super) fn takes_from(&self, queue: Queue) -> bool {
        self.open.contains(&queue) || self.retired.contains(&queue)
    }

    /// Homes that stay.
    pub(super) fn open_homes(&self) -> Vec<Queue> {
        self.homes.iter().map(|home| home.queue).filter(|queue| !self.retired.contains(queue)).collect()
    }

    /// Subscribes to a queue rather than to one of its homes.
    pub(super) fn move_home(&mut self, from: Queue, to: Queue) {
        let Some(place) = self.others.iter_mut().find(|other| **other == to) else { return };
        if !self.homes.iter().any(|home| home.queue == from) {
            return;
        }
        *place = from;
        let moved = |home: &Home| match home.queue == from {
            true => Home::new(to, home.prefetch),
            false => home.clone(),
        };
        self.homes = self.homes.iter().map(moved).collect();
    }

    /// Queues that no subscription brings messages from, whatever they hold, beginning anywhere: those that are no home or not yet,
    /// and, with permits `idle`, homes whose share is taken.
    pub(super) fn worth_a_look(&self, idle: bool) -> Vec<Look> {
        let (there, not_yet): (Vec<&Home>, _) = self.homes.iter().partition(|home| home.is_subscribed());
        let full = |home: &&Home| idle && home.taken.load(Ordering::Relaxed) >= u32::from(home.prefetch);
        let homes = there.into_iter().filter(full).map(|home| self.look(home.queue, Some(Arc::clone(&home.taken))));
        let mut others = self.others.clone();
        others.extend(not_yet.into_iter().map(|home| home.queue));
        let first = fastrand::usize(..others.len().max(1));
        others.rotate_left(first);
        others.into_iter().map(|queue| self.look(queue, None)).chain(homes).collect()
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
    subscribed: Arc<AtomicBool>,
}

impl Home {
    fn new(queue: Queue, prefetch: u16) -> Self {
        Self { queue, prefetch, taken: Arc::default(), subscribed: Arc::default() }
    }

    /// Whether the subscription to it is there.
    fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }

    pub(super) fn set_subscribed(&self, is: bool) {
        self.subscribed.store(is, Ordering::Relaxed);
    }

    /// Whether it is the same one, drawn once.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.taken, &other.taken)
    }
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
