//! Subscriptions to home queues, and how one ends without a message being delivered again, or lost from sight.
//!
//! A quorum queue takes back what is on its way to a subscription that is cancelled, and counts it as delivered though nobody has
//! seen it (`rabbit_fifo_client`, `handle_delivery` for a consumer that is gone). Nothing is on its way to a subscription whose whole
//! prefetch is held here, as long as nothing of it is settled: so it is filled up before it is cancelled, and what is finished
//! meanwhile is left to it, to be settled right after.
//!
//! And a queue forgets to give back what a cancelled subscription holds when the broker's node that its connection goes to is cut
//! off (`rabbit_fifo`, `{down, Pid, noconnection}`: only consumers that are `up`). So it is cancelled once all that it holds is
//! finished: what may be forgotten was done, but for what is given back in that moment.
//!
//! A subscription that nothing comes for is cancelled all the same, one that holds something for long too, and one to a queue that
//! is no longer taken from at once, unless it is full. What comes for it in just that moment, the milliseconds that the queue's
//! members take to agree on it, is then delivered again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::sources::{GONE_FOR, Home, Taken};
use super::{AGAIN_AFTER, Held, Shared, give_back};
use crate::queue::{QueueError, Settle};
use crate::rabbitmq::broker::{is_not_found, within};
use crate::rabbitmq::unavailable;

/// The code for a channel that is closed because it is not needed any more (AMQP 0-9-1, 1.1).
const REPLY_SUCCESS: u16 = 200;
/// How long a subscription that ends waits for its prefetch to be full.
const FILLED_WITHIN: Duration = Duration::from_secs(1);
/// How long, in all, until what it holds is finished: its permits bring nothing else meanwhile.
const FINISHED_WITHIN: Duration = Duration::from_secs(3);

/// A home that is subscribed to, until that is over.
struct Running {
    home: Home,
    over: CancellationToken,
    task: AbortHandle,
}

impl Shared {
    /// Stays subscribed to the home queues, whichever they are, until it is told to stop.
    ///
    /// `subscribed` is let go once nothing that is settled makes room for more.
    pub(super) async fn subscribe_to_homes(self: Arc<Self>, arrive: mpsc::Sender<Held>, subscribed: mpsc::Sender<()>) {
        let mut tasks = JoinSet::new();
        self.stop.run_until_cancelled(self.follow_homes(&mut tasks, &arrive, &subscribed)).await;
        drop(subscribed);
        while tasks.join_next().await.is_some() {}
    }

    /// Has a task for each home queue, whichever they are.
    async fn follow_homes(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        arrive: &mpsc::Sender<Held>,
        subscribed: &mpsc::Sender<()>,
    ) {
        let mut sources = self.sources.subscribe();
        let mut running: Vec<Running> = Vec::new();
        loop {
            let homes = Arc::clone(&sources.borrow_and_update().homes);
            for one in running.iter().filter(|one| !homes.iter().any(|home| home.is(&one.home))) {
                one.over.cancel();
            }
            // Before they have ended, a prefetch of the old ones and one of the new ones would be held at once.
            while running.iter().any(|one| one.over.is_cancelled()) {
                tasks.join_next().await;
                running.retain(|one| !one.task.is_finished());
            }
            for home in homes.iter() {
                if running.iter().any(|one| home.is(&one.home)) {
                    continue;
                }
                let over = self.stop.child_token();
                let subscribe =
                    Arc::clone(self).subscribe(home.clone(), over.clone(), arrive.clone(), subscribed.clone());
                running.push(Running { home: home.clone(), over, task: tasks.spawn(subscribe) });
            }
            // The sender is ours: it cannot be gone.
            _ = sources.wait_for(|now| !Arc::ptr_eq(&now.homes, &homes)).await;
        }
    }

    /// Stays subscribed to a home queue until that is over.
    async fn subscribe(
        self: Arc<Self>,
        home: Home,
        over: CancellationToken,
        arrive: mpsc::Sender<Held>,
        subscribed: mpsc::Sender<()>,
    ) {
        let mut subscribed = Some(subscribed);
        while !over.is_cancelled() {
            if let Err(error) = self.deliver(&home, &over, &arrive, &mut subscribed).await {
                tracing::info!(queue = %home.queue, error = %error, "subscribing anew");
                let pause = if is_not_found(&error) { GONE_FOR } else { AGAIN_AFTER };
                over.run_until_cancelled(sleep(pause)).await;
            }
        }
    }

    /// Subscribes, and passes on what comes.
    async fn deliver(
        &self,
        home: &Home,
        over: &CancellationToken,
        arrive: &mpsc::Sender<Held>,
        subscribed: &mut Option<mpsc::Sender<()>>,
    ) -> Result<(), QueueError> {
        let mut subscription = Subscription::begin(self, home, arrive).await?;
        home.set_subscribed(true);
        let ended = async {
            subscription.pass_on_until(over.cancelled()).await?;
            subscription.share.settle_later().await;
            *subscribed = None;
            subscription.end().await
        };
        let ended = ended.await;
        home.set_subscribed(false);
        ended?;
        subscription.pass_on_rest().await;
        Ok(())
    }
}

/// A subscription, while it lasts.
struct Subscription<'s> {
    shared: &'s Shared,
    home: &'s Home,
    arrive: &'s mpsc::Sender<Held>,
    channel: Channel,
    stream: Consumer,
    share: Arc<Share>,
    /// What has come and waits for a permit: a prefetch at most.
    waiting: VecDeque<(Delivery, Unsettled)>,
}

impl<'s> Subscription<'s> {
    async fn begin(shared: &'s Shared, home: &'s Home, arrive: &'s mpsc::Sender<Held>) -> Result<Self, QueueError> {
        let channel = shared.link.channel().await?;
        let context = format!("subscribing to {}", home.queue);
        within(&context, channel.basic_qos(home.prefetch, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            home.queue.to_string().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = match within(&context, consume).await {
            Ok(stream) => stream,
            Err(error) => {
                // An answer that is late is a subscription all the same: what it brings waits for nobody here, and comes to
                // nobody else.
                _ = within("closing the channel", channel.close(REPLY_SUCCESS, "".into())).await;
                return Err(error);
            }
        };
        Ok(Self { shared, home, arrive, channel, stream, share: Arc::default(), waiting: VecDeque::new() })
    }

    /// Passes on what comes until that is over.
    async fn pass_on_until(&mut self, over: impl Future<Output = ()>) -> Result<(), QueueError> {
        tokio::pin!(over);
        let (shared, share) = (self.shared, Arc::clone(&self.share));
        loop {
            tokio::select! {
                biased;
                () = &mut over => return Ok(()),
                permit = permit(shared, &share), if !self.waiting.is_empty() => {
                    if let Some((delivery, unsettled)) = self.waiting.pop_front() {
                        self.pass_on(delivery, unsettled, permit).await;
                    }
                }
                next = self.next() => {
                    let delivery = next?;
                    self.waiting.push_back((delivery, Unsettled::of(&self.share)));
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Delivery, QueueError> {
        let context = || format!("taking from {}", self.home.queue);
        match self.stream.next().await {
            Some(Ok(delivery)) => Ok(delivery),
            // The broker ends a subscription without its channel where the queue is gone.
            None if self.channel.status().connected() => {
                sleep(GONE_FOR).await;
                Err(unavailable(context(), "the queue is gone"))
            }
            Some(Err(_)) | None => Err(unavailable(context(), "the channel is gone")),
        }
    }

    /// Cancels it once nothing can be on its way and all is finished, and settles that.
    async fn end(&mut self) -> Result<(), QueueError> {
        let cancelled = self.cancel_when_finished().await;
        // With its channel gone the broker has taken it back.
        join_all(self.share.settle_at_once().into_iter().map(Finished::settle)).await;
        cancelled
    }

    async fn cancel_when_finished(&mut self) -> Result<(), QueueError> {
        let (share, close) = (Arc::clone(&self.share), &self.shared.close);
        // From a queue that the consumer has turned away from nothing new is to come.
        let goes_on = self.shared.sources.borrow().takes_from(self.home.queue);
        let (prefetch, patience) = (self.home.prefetch.into(), if goes_on { FILLED_WITHIN } else { Duration::ZERO });
        let finished = async {
            let full = timeout(patience, share.is_full(prefetch)).await.is_ok();
            if full || goes_on {
                share.is_finished().await;
            }
        };
        let enough = async {
            tokio::select! {
                _ = timeout(FINISHED_WITHIN, finished) => {}
                () = close.cancelled() => {}
            }
        };
        self.pass_on_until(enough).await?;
        let cancel = self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        within(&format!("cancelling the subscription to {}", self.home.queue), cancel).await
    }

    /// Passes on what had come by the end: it is worked off here, rather than delivered again elsewhere.
    async fn pass_on_rest(mut self) {
        loop {
            let (delivery, unsettled) = match self.waiting.pop_front() {
                Some(waiting) => waiting,
                None => match self.stream.next().await {
                    Some(Ok(delivery)) => (delivery, Unsettled::of(&self.share)),
                    _ => return,
                },
            };
            match self.shared.close.run_until_cancelled(self.shared.permit()).await {
                Some(permit) => self.pass_on(delivery, unsettled, permit).await,
                None => give_back(&delivery.acker).await,
            }
        }
    }

    async fn pass_on(&self, delivery: Delivery, unsettled: Unsettled, permit: OwnedSemaphorePermit) {
        let taken = Taken::of(&self.home.taken);
        let held = Held::new(self.home.queue, delivery, &self.channel, Some(unsettled), permit, taken);
        if let Err(mpsc::error::SendError(held)) = self.arrive.send(held).await {
            give_back(&held.acker).await;
        }
    }
}

/// A permit, or that of what is finished.
async fn permit(shared: &Shared, share: &Share) -> OwnedSemaphorePermit {
    tokio::select! {
        biased;
        permit = share.permit() => permit,
        permit = shared.permit() => permit,
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        // What is finished holds its share, and is held by it.
        self.share.settle_at_once();
    }
}

/// What a subscription has brought and the broker has not heard of again.
#[derive(Default)]
struct Share(watch::Sender<Counts>);

#[derive(Default)]
struct Counts {
    unsettled: u32,
    /// Of these, what is being settled.
    settling: u32,
    /// What was finished since the subscription began to end; none before.
    finished: Option<Vec<Finished>>,
}

/// A delivery that its subscription settles once that has ended.
struct Finished {
    held: Held,
    how: Settle,
}

impl Finished {
    async fn settle(self) {
        self.held.settle(self.how).await;
    }
}

impl Share {
    async fn is_full(&self, prefetch: u32) {
        self.wait_for(|counts| counts.unsettled >= prefetch).await;
    }

    /// Waits until all that it has is finished, once it ends.
    async fn is_finished(&self) {
        let finished =
            |counts: &Counts| counts.finished.as_ref().is_some_and(|list| list.len() == counts.unsettled as usize);
        self.wait_for(finished).await;
    }

    /// From here on nothing is settled. Returns once nothing is being settled any more.
    async fn settle_later(&self) {
        self.0.send_modify(|counts| counts.finished = Some(Vec::new()));
        self.wait_for(|counts| counts.settling == 0).await;
    }

    /// From here on everything is settled at once, again. Answers what was left to be settled.
    fn settle_at_once(&self) -> Vec<Finished> {
        let mut left = None;
        self.0.send_modify(|counts| left = counts.finished.take());
        left.unwrap_or_default()
    }

    /// Waits for the permit of what is finished: what waits for one is to be finished too, before the subscription ends.
    async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            self.wait_for(|counts| counts.finished.iter().flatten().any(|one| one.held.permit.is_some())).await;
            let mut permit = None;
            self.0.send_if_modified(|counts| {
                permit = counts.finished.iter_mut().flatten().find_map(|one| one.held.permit.take());
                false
            });
            if let Some(permit) = permit {
                return permit;
            }
        }
    }

    async fn wait_for(&self, met: impl FnMut(&Counts) -> bool) {
        // The sender is ours: it cannot be gone.
        _ = self.0.subscribe().wait_for(met).await;
    }
}

/// Counts a delivery in its subscription's share as long as it lives.
pub(super) struct Unsettled {
    share: Arc<Share>,
    settling: bool,
}

impl Unsettled {
    fn of(share: &Arc<Share>) -> Self {
        share.0.send_modify(|counts| counts.unsettled += 1);
        Self { share: Arc::clone(share), settling: false }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.share.0.send_modify(|counts| {
            counts.unsettled -= 1;
            counts.settling -= u32::from(self.settling);
        });
    }
}

/// Answers a delivery that is to be settled now. One whose subscription ends is left to that, and nobody has to wait for it: whether
/// the broker hears of it is then as uncertain as with an ack that goes out just as the connection breaks.
pub(super) fn to_settle_now(held: Held, how: Settle) -> Option<Held> {
    let Some(share) = held.unsettled.as_ref().map(|unsettled| Arc::clone(&unsettled.share)) else {
        return Some(held);
    };
    let mut held = Some(held);
    share.0.send_modify(|counts| match &mut counts.finished {
        Some(finished) => finished.extend(held.take().map(|held| Finished { held, how })),
        None => counts.settling += 1,
    });
    if let Some(unsettled) = held.as_mut().and_then(|held| held.unsettled.as_mut()) {
        unsettled.settling = true;
    }
    held
}
