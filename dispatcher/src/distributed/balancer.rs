//! The one that places cameras: of several, the one that holds the lease.
//!
//! It takes the lease as dispatchers take a camera's: by watching. What it writes is fenced by the lease's epoch, so one that
//! was taken for dead writes nothing more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::coordination::{Coordination, LeaseName, Member, MemberSeen, Placed, Placement, Take};
use detektor_backends::queue::Queues;
use detektor_backends::store::StoreError;
use detektor_contract::names::DEFAULT_PARTITIONS;
use detektor_contract::{CameraId, Epoch};
use detektor_runtime::chain;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::partitions::{Keeper, KeeperConfig};
use super::placement::{Move, Node, Plan, Spot, plan};
use super::{InvalidTiming, UnixMillis, Watch, system_millis};

#[cfg(test)]
mod tests;

/// How a balancer works.
#[derive(Clone)]
pub struct BalancerConfig {
    /// Who it is.
    pub member: Member,
    /// How often it looks, and says that it lives.
    pub interval: Duration,
    /// Without a sign of life for so long, dispatchers and balancers are dead.
    pub ttl: Duration,
    /// After cameras were moved to even the load, and after it became the leader, so long passes until the next such move:
    /// what members use shows late. What has nowhere to run is placed at once.
    pub calm: Duration,
    /// How many partitions there are to be where nobody has said so yet.
    pub partitions: u16,
    /// How partitions change.
    pub keeping: KeeperConfig,
    /// The clock, for people.
    pub now_ms: UnixMillis,
}

impl BalancerConfig {
    /// As it is without further ado.
    pub fn new(member: Member) -> Self {
        Self {
            member,
            interval: Duration::from_secs(1),
            ttl: Duration::from_secs(5),
            calm: Duration::from_secs(30),
            partitions: DEFAULT_PARTITIONS,
            keeping: KeeperConfig::default(),
            now_ms: system_millis(),
        }
    }

    /// Every mistake.
    pub fn mistakes(&self) -> Vec<InvalidTiming> {
        let mut mistakes = InvalidTiming::of("interval", self.interval, self.ttl);
        if self.partitions == 0 {
            mistakes.push(InvalidTiming::new("partitions", "0", "at least 1"));
        }
        mistakes
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// Another balancer leads.
    Standby,
    /// It leads, and changed this.
    Led(Plan),
}

/// Places cameras, if it is the leader.
pub struct Balancer {
    config: BalancerConfig,
    coordination: Arc<dyn Coordination>,
    leaders: Watch<Epoch>,
    members: Watch<Member>,
    /// The lease's epoch, while it leads.
    epoch: watch::Sender<Option<Epoch>>,
    led_since: Instant,
    /// Makes the partitions, where there are queues to make.
    keeper: Option<Keeper>,
    usable: Option<watch::Receiver<Option<u16>>>,
    calm_until: Instant,
}

impl Balancer {
    /// A balancer that does not lead yet.
    ///
    /// # Errors
    /// Every mistake in the configuration.
    pub fn new(config: BalancerConfig, coordination: Arc<dyn Coordination>) -> Result<Self, Vec<InvalidTiming>> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self {
            leaders: Watch::new(config.ttl),
            members: Watch::new(config.ttl),
            config,
            coordination,
            epoch: watch::Sender::new(None),
            led_since: Instant::now(),
            keeper: None,
            usable: None,
            calm_until: Instant::now(),
        })
    }

    /// Whether it leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.epoch.borrow().is_some()
    }

    /// The lease's epoch while it leads, as it changes, for timers that one in a deployment is enough for.
    pub fn watch(&self) -> watch::Receiver<Option<Epoch>> {
        self.epoch.subscribe()
    }

    /// Makes the partitions in these queues as many as they are to be, while it leads.
    #[must_use]
    pub fn keeping(mut self, queues: Arc<dyn Queues>) -> Self {
        let (coordination, leads) = (Arc::clone(&self.coordination), self.watch());
        let (keeper, usable) = Keeper::new(self.config.keeping, coordination, queues, leads);
        (self.keeper, self.usable) = (Some(keeper), Some(usable));
        self
    }

    /// Steps until shutdown; then gives the lease back.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let keeper = self.keeper.take();
        let keeping = async {
            if let Some(keeper) = keeper {
                keeper.run(shutdown.clone()).await;
            }
        };
        tokio::join!(keeping, self.lead(&shutdown));
    }

    async fn lead(&mut self, shutdown: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut away = false;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let step = tokio::time::timeout(self.config.ttl, self.step());
            let error = match shutdown.run_until_cancelled(step).await {
                None => break,
                Some(Ok(Ok(_))) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("the database is back");
                    }
                    continue;
                }
                Some(Ok(Err(error))) => chain(&error),
                Some(Err(_)) => format!("no answer within {:?}", self.config.ttl),
            };
            self.look_away();
            if !std::mem::replace(&mut away, true) {
                tracing::warn!(error, "the database is away, the placement stays as it is");
            }
        }
        let epoch = *self.epoch.borrow();
        if let Some(epoch) = epoch {
            let give_back = self.coordination.give_back(&LeaseName::Balancer, epoch);
            if !matches!(tokio::time::timeout(self.config.ttl, give_back).await, Ok(Ok(()))) {
                tracing::warn!("the balancer's lease cannot be given back; another takes it once it has watched it");
            }
        }
    }

    /// Looks once, and does what is to be done.
    ///
    /// # Errors
    /// Of the database. The watching begins anew.
    pub async fn step(&mut self) -> Result<Stepped, StoreError> {
        let stepped = self.try_step().await;
        if stepped.is_err() {
            self.look_away();
        }
        stepped
    }

    fn look_away(&mut self) {
        self.leaders.look_away();
        self.members.look_away();
    }

    async fn try_step(&mut self) -> Result<Stepped, StoreError> {
        let epoch = *self.epoch.borrow();
        let epoch = match epoch {
            Some(epoch) if self.coordination.renew_balancer(epoch).await? => epoch,
            Some(_) => {
                self.depose();
                return Ok(Stepped::Standby);
            }
            None => match self.take_over().await? {
                Some(epoch) => epoch,
                None => {
                    // Who dies together with the leader is known to be dead as soon as that is.
                    self.watched_members().await?;
                    return Ok(Stepped::Standby);
                }
            },
        };
        let live = self.live_members().await?;
        let mut wanted: Vec<CameraId> = self.coordination.wanted().await?.into_iter().map(|wanted| wanted.id).collect();
        let mut placement = self.coordination.placement().await?;
        if placement.partitions == 0 {
            self.coordination.set_partitions(self.config.partitions).await?;
            placement.partitions = self.config.partitions;
        }
        self.keep_to_usable(&mut wanted, &mut placement);
        let plan = self.due(plan(&wanted, &live, &placement));
        if plan.is_empty() {
            return Ok(Stepped::Led(plan));
        }
        let rows = rows(&plan, (self.config.now_ms)());
        if !self.coordination.place(epoch, &rows, &plan.gone).await? {
            self.depose();
            return Ok(Stepped::Standby);
        }
        if plan.moves.iter().any(|m| !m.urgent) {
            self.calm_until = Instant::now() + self.config.calm;
        }
        tell(&plan);
        Ok(Stepped::Led(plan))
    }

    /// Leaves only the partitions that cameras may be placed on, and only cameras that may be placed.
    fn keep_to_usable(&self, wanted: &mut Vec<CameraId>, placement: &mut Placement) {
        let Some(usable) = &self.usable else { return };
        if let Some(usable) = *usable.borrow() {
            placement.partitions = usable;
            return;
        }
        // The queues are away: nothing new, and as little change as there can be. What has a place moves away from the dead
        // all the same, its queue is there; but the first look at the queues may yet say where a new camera goes.
        let used = placement.cameras.iter().map(|row| row.partition.saturating_add(1)).max().unwrap_or(1);
        placement.partitions = used.min(placement.partitions);
        if self.led_since.elapsed() < self.config.ttl {
            let placed: HashSet<&CameraId> = placement.cameras.iter().map(|row| &row.camera).collect();
            wanted.retain(|camera| placed.contains(camera));
        }
    }

    /// Takes the lease if nobody has it, or the one who has it is dead.
    async fn take_over(&mut self) -> Result<Option<Epoch>, StoreError> {
        let asked = Instant::now();
        let seen = self.coordination.balancer().await?;
        let signs = seen.iter().map(|seen| (seen.lease.epoch, Some(seen.renewal)));
        self.leaders.look(asked, Instant::now(), signs);
        if let Some(seen) = &seen
            && let Some(holder) = &seen.lease.holder
            && holder.name != self.config.member.name
            && !self.leaders.is_dead(&seen.lease.epoch)
        {
            return Ok(None);
        }
        let take = Take {
            name: LeaseName::Balancer,
            seen: seen.map(|seen| seen.lease.epoch),
            holder: self.config.member.clone(),
            now_ms: (self.config.now_ms)(),
            live: false,
            seam: None,
        };
        let epoch = self.coordination.take(&take).await?;
        self.epoch.send_replace(epoch);
        if let Some(epoch) = epoch {
            tracing::info!(balancer = self.config.member.name, %epoch, "this balancer leads");
            self.led_since = Instant::now();
            self.calm_until = Instant::now() + self.config.ttl.min(self.config.calm);
        }
        Ok(epoch)
    }

    fn depose(&mut self) {
        self.epoch.send_replace(None);
        tracing::warn!(balancer = self.config.member.name, "another balancer leads");
    }

    /// The dispatchers, after one more look at whether they live.
    async fn watched_members(&mut self) -> Result<Vec<MemberSeen>, StoreError> {
        let asked = Instant::now();
        let members = self.coordination.members().await?;
        let signs = members.iter().map(|seen| (seen.member.clone(), Some(seen.renewal)));
        self.members.look(asked, Instant::now(), signs);
        Ok(members)
    }

    /// The dispatchers that live; the dead are forgotten.
    async fn live_members(&mut self) -> Result<Vec<Node>, StoreError> {
        let members = self.watched_members().await?;
        let (dead, live): (Vec<MemberSeen>, Vec<MemberSeen>) =
            members.into_iter().partition(|seen| self.members.is_dead(&seen.member));
        for seen in dead {
            tracing::warn!(dispatcher = seen.member.name, "dispatcher {} is dead", seen.member.name);
            self.coordination.forget(&seen).await?;
        }
        Ok(live.iter().map(Node::from).collect())
    }

    /// What of a plan is to be done now.
    fn due(&self, mut plan: Plan) -> Plan {
        if Instant::now() < self.calm_until {
            plan.moves.retain(|m| m.urgent);
        }
        plan
    }
}

fn rows(plan: &Plan, moved_ms: u64) -> Vec<Placed> {
    let row = |m: &Move| Placed {
        camera: m.camera.clone(),
        dispatcher: m.to.dispatcher.clone(),
        partition: m.to.partition.unwrap_or_default(),
        // The placement keeps what it knows.
        cost_millis: 0,
        reason: m.reason.clone(),
        moved_ms,
    };
    plan.moves.iter().map(row).collect()
}

fn tell(plan: &Plan) {
    for Move { camera, from, to, reason, .. } in &plan.moves {
        tracing::info!(%camera, from = spot(from), to = spot(to), reason, "rebalanced");
    }
    for camera in &plan.gone {
        tracing::info!(%camera, reason = "not wanted any more", "rebalanced");
    }
}

fn spot(spot: &Spot) -> String {
    let dispatcher = spot.dispatcher.as_deref().unwrap_or("nowhere");
    spot.partition.map_or_else(|| dispatcher.to_owned(), |partition| format!("{dispatcher}, partition {partition}"))
}
