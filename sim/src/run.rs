//! One seed, from beginning to end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use detektor_backends::coordination::{Coordination as _, LeaseName, Member};
use detektor_backends::queue::Queues as _;
use detektor_backends::store::EventStore as _;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{CameraId, Digest};
use detektor_merge::reindex;
use fastrand::Rng;
use turmoil::{Builder, Sim};

use crate::cameras::Spec;
use crate::checker::{self, Left};
use crate::faults::Faults;
use crate::history::Notes;
use crate::hosts::{self, DISPATCHERS, Flaw, Ground};

/// How fine time is.
const TICK: Duration = Duration::from_millis(20);
/// So long cameras show something, and faults happen.
const ACTIVE: Duration = Duration::from_secs(30);
/// So long everything has to come to rest afterwards.
const REST: Duration = Duration::from_secs(120);

/// What a seed came to.
pub struct Report {
    /// Which.
    pub seed: u64,
    /// What is not as promised.
    pub wrong: Vec<String>,
    /// Equal runs have equal ones.
    pub digest: Digest,
    /// How many faults of each kind there were.
    pub faults: BTreeMap<&'static str, u64>,
    /// Segments and markers that were confirmed.
    pub segments: u64,
    /// How often a camera's lease was taken after the first time.
    pub take_overs: u64,
    /// How often merge went back.
    pub refolds: u64,
    /// What happened.
    pub notes: Notes,
    /// What was left of it; none if it never came to rest.
    pub left: Option<Left>,
}

/// Runs a seed and checks what it leaves. With a flaw it should not be as promised.
pub fn run(seed: u64, flaw: Option<Flaw>) -> Report {
    // Whatever draws at random draws from this: nothing else does on this thread.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let dispatchers = &DISPATCHERS[..rng.usize(2..=DISPATCHERS.len())];
    let latency = Duration::from_millis(rng.u64(2..80));
    let mut faults = Faults::draw(&mut rng, dispatchers, ACTIVE, latency);
    let mut ground = Ground::new(flaw);
    let mut report = Report {
        seed,
        wrong: Vec::new(),
        digest: Digest::of(b""),
        faults: faults.counts.clone(),
        segments: 0,
        take_overs: 0,
        refolds: 0,
        notes: Notes::default(),
        left: None,
    };
    match play(&mut rng, &mut ground, &mut faults, dispatchers, latency) {
        Ok(left) => {
            report.notes = std::mem::take(&mut *ground.history.notes());
            let notes = &report.notes;
            report.wrong = checker::check(notes, &left);
            report.digest = left.digest(notes);
            report.left = Some(left);
        }
        Err(error) => {
            report.notes = std::mem::take(&mut *ground.history.notes());
            report.wrong.push(format!("{error:#}"));
        }
    }
    let notes = &report.notes;
    report.segments = notes.confirmed.len() as u64;
    report.refolds = notes.refolds;
    let cameras = notes.takes.iter().filter(|(name, ..)| matches!(name, LeaseName::Camera(_)));
    report.take_overs = cameras.clone().count() as u64;
    report.take_overs -= cameras.map(|(name, ..)| name).collect::<std::collections::BTreeSet<_>>().len() as u64;
    report
}

fn play(
    rng: &mut Rng,
    ground: &mut Ground,
    faults: &mut Faults,
    dispatchers: &[&'static str],
    latency: Duration,
) -> anyhow::Result<Left> {
    let outside = tokio::runtime::Builder::new_current_thread().build()?;
    let mut sim = Builder::new()
        .rng_seed(rng.u64(..))
        .tick_duration(TICK)
        .simulation_duration(ACTIVE + REST + REST)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(latency)
        .tcp_capacity(1_024)
        .enable_random_order()
        .build();
    hosts::build(&mut sim, ground, dispatchers);
    let cameras = wanted(rng)?;
    let want: Vec<_> = cameras.iter().map(|(id, spec)| (id.clone(), Some(spec.text()))).collect();
    outside.block_on(ground.database.want(&want))?;
    while sim.elapsed() < ACTIVE {
        faults.apply(&mut sim, ground);
        step(&mut sim)?;
    }
    faults.apply(&mut sim, ground);
    // Clocks agree again, and so late that nobody waits for a time that a wrong one gave.
    ground.clocks.values().for_each(|clock| clock.set(faults.furthest_us));
    let unwant: Vec<_> = cameras.into_iter().map(|(id, _)| (id, None)).collect();
    outside.block_on(ground.database.want(&unwant))?;
    let mut restless = String::new();
    while sim.elapsed() < ACTIVE + REST {
        for _ in 0..25 {
            step(&mut sim)?;
        }
        restless = outside.block_on(unrest(ground, dispatchers.len()))?;
        if restless.is_empty() {
            break;
        }
    }
    // All connections end with it, and what they hold.
    drop(sim);
    if !restless.is_empty() {
        bail!("it does not come to rest: {restless}");
    }
    if faults.restores {
        outside.block_on(reindex(&ground.database, &*ground.bucket, |_| {}))?;
    }
    outside.block_on(Left::read(ground, faults.restores))
}

fn step(sim: &mut Sim<'_>) -> anyhow::Result<()> {
    sim.step().map(drop).map_err(|error| anyhow::anyhow!("a host failed: {error}"))
}

/// Which cameras there are.
fn wanted(rng: &mut Rng) -> anyhow::Result<Vec<(CameraId, Spec)>> {
    let mut cameras = Vec::new();
    let mut add = |name: String, spec| -> anyhow::Result<()> {
        cameras.push((CameraId::new(name)?, spec));
        Ok(())
    };
    for n in 0..rng.u8(1..=3) {
        add(format!("live-{n}"), Spec::Live)?;
    }
    if rng.bool() {
        add("single-0".to_owned(), Spec::Single)?;
    }
    for n in 0..rng.u8(0..=2) {
        add(format!("file-{n}"), Spec::File { segments: rng.u64(5..40) })?;
    }
    Ok(cameras)
}

/// What is still going on; empty if nothing is.
async fn unrest(ground: &Ground, dispatchers: usize) -> anyhow::Result<String> {
    let mut queues: Vec<Queue> = [Work::Detect, Work::Merge].map(Queue::Dead).to_vec();
    queues.extend(ground.queues().partitions().await.context("asking for partitions")?.0.into_keys());
    for queue in queues {
        let depth = ground.queues().depth(queue).await.context("asking for a depth")?;
        if depth.ready + depth.unacked > 0 {
            return Ok(format!("{queue} holds {depth:?}"));
        }
    }
    let database = &ground.database;
    let members: Vec<Member> = database.members().await?.into_iter().map(|seen| seen.member).collect();
    if members.len() < dispatchers {
        return Ok(format!("of {dispatchers} dispatchers there are {members:?}"));
    }
    // One that a dead dispatcher had stays until somebody wants it.
    let leases = database.leases().await?;
    let held = leases.iter().find(|lease| lease.holder.as_ref().is_some_and(|holder| members.contains(holder)));
    if let Some(lease) = held {
        return Ok(format!("{lease:?} is held"));
    }
    if let Some(camera) = database.waiting_cameras(i64::MAX, i64::MAX).await?.first() {
        return Ok(format!("{camera} waits behind a hole"));
    }
    if let Some(object) = database.pending_objects(1).await?.first() {
        return Ok(format!("{} is to be written", object.key));
    }
    Ok(String::new())
}
