//! What one dispatcher process does: says that it lives, and runs the cameras that are placed on it.
//!
//! What it does at each beat, about each camera that concerns it:
//!
//! | The camera                                      | The agent                                                       |
//! |--------------------------------------------------|-----------------------------------------------------------------|
//! | is placed here, nobody holds its lease           | takes the lease, starts it                                      |
//! | is placed here, a dead dispatcher holds it       | the same; dead is who showed no sign for a whole time-to-live   |
//! | is placed here, a living one holds it            | starts it beside the other, and takes the lease at a key frame; |
//! |                                                  | where it cannot be there twice, waits                           |
//! | runs here, its lease has a newer epoch           | stops it                                                        |
//! | runs here, is wanted no longer                   | stops it, gives the lease back                                  |
//! | runs here, is placed elsewhere                   | runs it until the other takes it over; where it cannot be there |
//! |                                                  | twice, stops it and gives the lease back                        |
//! | runs here, changed                               | passes the change on, or starts it anew                         |
//!
//! A database that is away changes nothing: what runs goes on. Correctness rests on epochs alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use detektor_backends::coordination::{CameraSeen, Coordination, Lease, LeaseName, Load, Member, Sight, WantedCamera};
use detektor_contract::{CameraId, EndReason, Epoch};
use detektor_runtime::chain;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::cameras::{Cameras, Duty, Ended, Manner, Order, Stop};
use super::{Claim, InvalidTiming, Watch};

mod config;
mod costs;
#[cfg(test)]
mod tests;

pub use config::{AgentConfig, AgentError};
use costs::Costs;

/// Runs the cameras that are placed on one dispatcher.
pub struct Agent {
    config: AgentConfig,
    coordination: Arc<dyn Coordination>,
    cameras: Arc<dyn Cameras>,
    watch: Watch<Member>,
    running: BTreeMap<CameraId, Running>,
    /// Cameras that are not to be started again as they are.
    resting: BTreeMap<CameraId, Resting>,
    tasks: JoinSet<(CameraId, Ended)>,
    costs: Costs,
    /// The database knows this incarnation.
    known: bool,
    /// The database is away, and that was said.
    away: bool,
    leaving: bool,
}

struct Running {
    manner: Manner,
    orders: watch::Sender<Order>,
    stop: Stop,
    /// The lease's epoch, once it is ours.
    epoch: Arc<OnceLock<Epoch>>,
    task: tokio::task::Id,
}

impl Running {
    fn wanted(&self) -> WantedCamera {
        self.orders.borrow().wanted.clone()
    }
}

#[derive(Clone, Copy)]
enum Resting {
    /// Until it is changed: there is no more of it.
    Over(u64),
    /// Until it is changed, or some time has passed: a file or a password may have come since.
    Failed(u64, Instant),
    Until(Instant),
}

/// What a beat came to.
enum Beat {
    Sight(Box<Sight>),
    Away,
    Ousted,
}

impl Agent {
    /// An agent that runs nothing yet.
    ///
    /// # Errors
    /// Every mistake in the configuration.
    pub fn new(
        config: AgentConfig,
        coordination: Arc<dyn Coordination>,
        cameras: Arc<dyn Cameras>,
    ) -> Result<Self, Vec<InvalidTiming>> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self {
            watch: Watch::new(config.ttl),
            config,
            coordination,
            cameras,
            running: BTreeMap::new(),
            resting: BTreeMap::new(),
            tasks: JoinSet::new(),
            costs: Costs::default(),
            known: false,
            away: false,
            leaving: false,
        })
    }

    /// Runs cameras until shutdown. Then others may take them over for a while, what is left is stopped, and the agent leaves.
    ///
    /// # Errors
    /// [`AgentError::Ousted`], once everything is stopped.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), AgentError> {
        let mut beats = tokio::time::interval(self.config.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = None;
        let ousted = loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !self.leaving => {
                    self.leaving = true;
                    deadline = Some(Instant::now() + self.config.hand_over);
                    // Others are to know at once.
                    beats.reset_immediately();
                }
                Some(ended) = self.tasks.join_next_with_id() => self.note(ended).await,
                _ = beats.tick() => match self.beat().await {
                    Beat::Sight(sight) => {
                        if self.leaving && !self.has_heirs(&sight) {
                            self.stop_all(EndReason::Stopped);
                        }
                        self.apply(*sight).await;
                    }
                    Beat::Away => {}
                    Beat::Ousted => break true,
                },
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.stop_all(EndReason::Stopped);
            }
            if self.leaving && self.running.is_empty() {
                break false;
            }
        };
        if ousted {
            tracing::error!(
                dispatcher = self.config.member.name,
                "another process has this dispatcher's name: stopping"
            );
            self.stop_all(EndReason::Stopped);
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.note(ended).await;
            }
            return Err(AgentError::Ousted(self.config.member.name));
        }
        self.leave().await;
        Ok(())
    }

    async fn beat(&mut self) -> Beat {
        let measured = self.cameras.measured();
        let load = Load { leaving: self.leaving, ..measured.load };
        let asked = Instant::now();
        let beat = self.coordination.beat(&self.config.member, load, !self.known);
        let error = match tokio::time::timeout(self.config.ttl, beat).await {
            Ok(Ok(Some(sight))) => {
                if std::mem::take(&mut self.away) {
                    tracing::info!("the database is back");
                }
                self.known = true;
                self.look(asked, &sight);
                self.tell_costs(measured.costs).await;
                return Beat::Sight(Box::new(sight));
            }
            Ok(Ok(None)) => return Beat::Ousted,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {:?}", self.config.ttl),
        };
        self.watch.look_away();
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(error, "the database is away, cameras go on as they are");
        }
        Beat::Away
    }

    /// Watches all members, and those who hold a lease and are no members.
    fn look(&mut self, asked: Instant, sight: &Sight) {
        let mut signs: BTreeMap<Member, Option<u64>> = BTreeMap::new();
        let holders = sight.cameras.iter().filter_map(|seen| seen.lease.as_ref()?.holder.clone());
        signs.extend(holders.map(|holder| (holder, None)));
        signs.extend(sight.members.iter().map(|seen| (seen.member.clone(), Some(seen.renewal))));
        self.watch.look(asked, Instant::now(), signs);
    }

    async fn tell_costs(&mut self, costs: Vec<(CameraId, u32)>) {
        let news = self.costs.news(costs, |camera| self.running.get(camera).is_some_and(|r| r.epoch.get().is_some()));
        if news.is_empty() {
            return;
        }
        match tokio::time::timeout(self.config.ttl, self.coordination.set_costs(&news)).await {
            Ok(Ok(())) => self.costs.told(&news),
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "the cameras' costs cannot be told"),
            Err(_) => tracing::debug!("the cameras' costs cannot be told"),
        }
    }

    /// Whether there is anybody who could take over what runs here.
    fn has_heirs(&self, sight: &Sight) -> bool {
        let me = &self.config.member.name;
        sight
            .members
            .iter()
            .any(|seen| seen.member.name != *me && !seen.load.leaving && !self.watch.is_dead(&seen.member))
    }

    async fn apply(&mut self, sight: Sight) {
        let seen: BTreeSet<CameraId> = sight.cameras.iter().map(|seen| seen.id.clone()).collect();
        let lost = self.running.iter().filter(|(id, running)| !seen.contains(*id) && !running.stop.is_stopped());
        for (id, running) in lost {
            self.let_go(id, running).await;
        }
        self.resting.retain(|id, _| seen.contains(id));
        for seen in sight.cameras {
            match self.running.get(&seen.id) {
                Some(running) => self.go_on(running, &seen),
                None => self.begin(seen).await,
            }
        }
    }

    /// Stops a camera that is neither placed here nor ours: another dispatcher took it over, and its lease says where.
    async fn let_go(&self, id: &CameraId, running: &Running) {
        match self.coordination.lease(&LeaseName::Camera(id.clone())).await {
            Ok(lease) => {
                tracing::info!(camera = %id, "another dispatcher has the camera");
                running.stop.hand_over(lease.and_then(|lease| lease.seam).and_then(|seam| seam.key_frame));
            }
            Err(error) => tracing::debug!(camera = %id, error = chain(&error), "who has the camera is not known yet"),
        }
    }

    /// Whether a camera is placed on this dispatcher.
    fn is_mine(&self, seen: &CameraSeen) -> bool {
        let at = seen.placed.as_ref().and_then(|placed| placed.dispatcher.as_ref());
        at == Some(&self.config.member.name)
    }

    /// Does what is to be done about a camera that runs here.
    fn go_on(&self, running: &Running, seen: &CameraSeen) {
        if running.stop.is_stopped() {
            return;
        }
        let (id, epoch) = (&seen.id, running.epoch.get());
        if epoch.is_some() && seen.lease.as_ref().map(|lease| &lease.epoch) > epoch {
            tracing::info!(camera = %id, "another dispatcher took the camera over");
            let seam = seen.lease.as_ref().and_then(|lease| lease.seam);
            return running.stop.hand_over(seam.and_then(|seam| seam.key_frame));
        }
        let Some(wanted) = &seen.wanted else {
            tracing::info!(camera = %id, "the camera is not wanted any more");
            return running.stop.stop(EndReason::Stopped);
        };
        let elsewhere = seen.placed.as_ref().is_some_and(|placed| placed.dispatcher.is_some()) && !self.is_mine(seen);
        if elsewhere {
            // One that serves several is let go once the other has it; one that is not ours yet need not become so.
            if running.manner != Manner::MakeBeforeBreak || epoch.is_none() {
                tracing::info!(camera = %id, "the camera moves to another dispatcher");
                running.stop.stop(EndReason::HandedOver);
            }
            return;
        }
        let partition =
            seen.placed.as_ref().map_or_else(|| running.orders.borrow().partition, |placed| placed.partition);
        let order = Order { wanted: wanted.clone(), partition };
        if *running.orders.borrow() == order {
            return;
        }
        let old = running.wanted();
        let other_manner = self.cameras.manner(wanted).as_ref() != Ok(&running.manner);
        if old.revision != wanted.revision && (other_manner || self.cameras.needs_restart(&old, wanted)) {
            tracing::info!(camera = %id, "the camera changed, it begins again");
            return running.stop.stop(EndReason::Stopped);
        }
        tracing::info!(camera = %id, partition, "the camera's orders changed");
        running.orders.send_replace(order);
    }

    /// Starts a camera that does not run here, if it is to run and can; gives back a lease that it has no use for.
    async fn begin(&mut self, seen: CameraSeen) {
        let order = match (&seen.wanted, &seen.placed) {
            (Some(wanted), Some(placed)) if self.is_mine(&seen) && !self.leaving => {
                Order { wanted: wanted.clone(), partition: placed.partition }
            }
            _ => return self.return_lease(seen.lease).await,
        };
        if self.rests(&seen.id, order.wanted.revision) {
            return;
        }
        let manner = match self.cameras.manner(&order.wanted) {
            Ok(manner) => manner,
            Err(error) => {
                tracing::error!(camera = %seen.id, error, "the camera cannot be run as it is wanted");
                self.resting.insert(seen.id, self.failed(order.wanted.revision));
                return;
            }
        };
        let held = seen.lease.as_ref().and_then(|lease| lease.holder.as_ref()).filter(|holder| self.holds_on(holder));
        let hand_over = match (held, manner) {
            (None, _) => false,
            (Some(_), Manner::MakeBeforeBreak) => true,
            // It lets go once it has seen that the camera is placed here.
            (Some(_), Manner::BreakBeforeMake | Manner::Replayable) => return,
        };
        if let Some(holder) = held {
            tracing::info!(camera = %seen.id, from = holder.name, "the camera is to be taken over");
        }
        self.start(seen.id, order, manner, seen.lease.map(|lease| lease.epoch), hand_over);
    }

    /// Whether the holder of a lease has to be reckoned with. Who had this dispatcher's name before has not: it is replaced.
    fn holds_on(&self, holder: &Member) -> bool {
        holder.name != self.config.member.name && !self.watch.is_dead(holder)
    }

    fn rests(&self, id: &CameraId, revision: u64) -> bool {
        match self.resting.get(id) {
            None => false,
            Some(Resting::Over(over)) => *over == revision,
            Some(Resting::Failed(failed, until)) => *failed == revision && Instant::now() < *until,
            Some(Resting::Until(until)) => Instant::now() < *until,
        }
    }

    fn failed(&self, revision: u64) -> Resting {
        Resting::Failed(revision, Instant::now() + self.config.pause_failed)
    }

    fn start(&mut self, id: CameraId, order: Order, manner: Manner, seen: Option<Epoch>, hand_over: bool) {
        let claim = Claim {
            coordination: Arc::clone(&self.coordination),
            camera: id.clone(),
            member: self.config.member.clone(),
            now_ms: Arc::clone(&self.config.now_ms),
            seen,
            hand_over,
            live: manner != Manner::Replayable,
            epoch: Arc::default(),
        };
        let (orders, receiver) = watch::channel(order);
        let (stop, epoch) = (Stop::default(), Arc::clone(&claim.epoch));
        let duty = Duty { camera: id.clone(), orders: receiver, claim: claim.clone(), stop: stop.clone() };
        let cameras = Arc::clone(&self.cameras);
        let camera = id.clone();
        let work = async move {
            let take_now = async { hand_over || claim.take_now().await };
            let ended = match duty.stop.token().clone().run_until_cancelled(take_now).await {
                None => Ended::Stopped,
                Some(false) => Ended::Lost,
                Some(true) => cameras.run(duty).await,
            };
            claim.give_back().await;
            (camera, ended)
        };
        self.resting.remove(&id);
        let task = self.tasks.spawn(work).id();
        self.running.insert(id, Running { manner, orders, stop, epoch, task });
    }

    /// Gives a lease back that this incarnation holds and nobody here works under: giving it back failed before, or the answer
    /// to taking it was lost.
    async fn return_lease(&self, lease: Option<Lease>) {
        let Some(Lease { name, holder: Some(holder), epoch, .. }) = lease else { return };
        if holder == self.config.member
            && let Err(error) = self.coordination.give_back(&name, epoch).await
        {
            tracing::debug!(error = chain(&error), "a lease stays for now");
        }
    }

    /// Takes note of a camera that ended.
    async fn note(&mut self, ended: Result<(tokio::task::Id, (CameraId, Ended)), tokio::task::JoinError>) {
        let (id, ended) = match ended {
            Ok((_, ended)) => ended,
            Err(error) => {
                let Some(id) =
                    self.running.iter().find(|(_, running)| running.task == error.id()).map(|(id, _)| id.clone())
                else {
                    return;
                };
                tracing::error!(camera = %id, error = chain(&error), "a camera's task died");
                if let Some(epoch) = self.running.get(&id).and_then(|running| running.epoch.get()) {
                    let name = LeaseName::Camera(id.clone());
                    let lease = Lease { name, holder: Some(self.config.member.clone()), epoch: *epoch, seam: None };
                    self.return_lease(Some(lease)).await;
                }
                self.resting.insert(id.clone(), Resting::Until(Instant::now() + self.config.pause));
                self.running.remove(&id);
                return;
            }
        };
        let Some(running) = self.running.remove(&id) else { return };
        let revision = running.orders.borrow().wanted.revision;
        match ended {
            Ended::Stopped => {}
            Ended::Over => drop(self.resting.insert(id, Resting::Over(revision))),
            Ended::Failed(error) => {
                tracing::error!(camera = %id, error, "the camera failed");
                self.resting.insert(id, self.failed(revision));
            }
            Ended::Lost => tracing::info!(camera = %id, "another dispatcher was quicker"),
        }
    }

    fn stop_all(&self, reason: EndReason) {
        self.running.values().for_each(|running| running.stop.stop(reason));
    }

    async fn leave(&self) {
        let leave = self.coordination.leave(&self.config.member);
        let error = match tokio::time::timeout(self.config.ttl, leave).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {:?}", self.config.ttl),
        };
        tracing::warn!(error, "leaving cannot be said; others will notice");
    }
}
