//! What goes wrong, and when: drawn from the seed before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use detektor_backends::coordination::Coordination as _;
use detektor_backends::memory::Snapshot;
use fastrand::Rng;
use futures::FutureExt as _;
use turmoil::Sim;

use crate::database::DATABASE;
use crate::hosts::{BALANCERS, DETECTS, Ground, MERGES, SERVERS};

/// One thing that is done to the hosts or the network.
#[derive(Clone, Copy, Debug)]
enum Act {
    Crash(&'static str),
    Bounce(&'static str),
    Drain(&'static str),
    Partition(&'static str, &'static str),
    Repair(&'static str, &'static str),
    Hold(&'static str, &'static str),
    Release(&'static str, &'static str),
    Jump { host: &'static str, by: Duration, ahead: bool },
    Latency(Duration),
    Save,
    Restore,
    Partitions(u16),
}

/// A schedule of faults, all of which are over at its end.
pub struct Faults {
    agenda: BTreeMap<Duration, Vec<Act>>,
    /// How many there are of each kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// Whether the database is put back to an older state.
    pub restores: bool,
    /// How far a clock ever was ahead, in microseconds.
    pub furthest_us: i64,
    saved: Option<Snapshot>,
    down: BTreeSet<&'static str>,
    all: Vec<&'static str>,
}

fn between(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..=to))
}

impl Faults {
    /// Draws a schedule that lasts for `active`.
    pub fn draw(rng: &mut Rng, dispatchers: &[&'static str], active: Duration, latency: Duration) -> Self {
        let mut faults = Self {
            agenda: BTreeMap::new(),
            counts: BTreeMap::new(),
            restores: rng.u8(0..6) == 0,
            saved: None,
            down: BTreeSet::new(),
            all: Vec::new(),
            furthest_us: 0,
        };
        let workers: Vec<&'static str> =
            dispatchers.iter().chain(&DETECTS).chain(&MERGES).chain(&BALANCERS).copied().collect();
        let all: Vec<&'static str> = SERVERS.iter().copied().chain(workers.iter().copied()).collect();
        let last = active.as_millis() as u64;
        for _ in 0..rng.u32(0..8) {
            let at = between(rng, 3_000, last * 3 / 4);
            let over = (at + between(rng, 200, last / 4)).min(active);
            let host = all[rng.usize(..all.len())];
            let other = SERVERS[rng.usize(..SERVERS.len())];
            match rng.u8(0..9) {
                0..=2 => {
                    // Dispatchers are what most depends on.
                    let host = if rng.bool() { dispatchers[rng.usize(..dispatchers.len())] } else { host };
                    faults.plan("crash", at, Act::Crash(host), over, Act::Bounce(host));
                }
                3 if host != other => {
                    faults.plan("partition", at, Act::Partition(host, other), over, Act::Repair(host, other));
                }
                4 if host != other => {
                    faults.plan("hold", at, Act::Hold(host, other), over, Act::Release(host, other));
                }
                5 => {
                    *faults.counts.entry("isolation").or_default() += 1;
                    for other in all.iter().copied().filter(|other| *other != host) {
                        faults.add(at, Act::Partition(host, other));
                        faults.add(over, Act::Repair(host, other));
                    }
                }
                // An older database and wrong clocks at once are more than epochs are made for.
                6 if !faults.restores => {
                    *faults.counts.entry("clock").or_default() += 1;
                    let (host, by, ahead) = (workers[rng.usize(..workers.len())], between(rng, 1, 300_000), rng.bool());
                    faults.add(at, Act::Jump { host, by, ahead });
                }
                7 => {
                    *faults.counts.entry("drain").or_default() += 1;
                    faults.add(at, Act::Drain(workers[rng.usize(..workers.len())]));
                }
                _ => {
                    let slow = latency + between(rng, 10, 600);
                    faults.plan("latency", at, Act::Latency(slow), over, Act::Latency(latency));
                }
            }
        }
        faults.all = all;
        if rng.bool() {
            for _ in 0..rng.u8(1..=3) {
                *faults.counts.entry("partitions").or_default() += 1;
                let (at, number) = (between(rng, 3_000, last * 3 / 4), rng.u16(1..=5));
                faults.add(at, Act::Partitions(number));
            }
        }
        if faults.restores {
            *faults.counts.entry("restore").or_default() += 1;
            let (saved, lost) = (between(rng, 4_000, last / 3), between(rng, last / 2, last * 3 / 4));
            faults.add(saved, Act::Save);
            faults.add(lost, Act::Crash(DATABASE));
            faults.add(lost, Act::Restore);
            faults.add(lost + Duration::from_secs(1), Act::Bounce(DATABASE));
        }
        faults
    }

    fn plan(&mut self, kind: &'static str, at: Duration, act: Act, over: Duration, end: Act) {
        *self.counts.entry(kind).or_default() += 1;
        self.add(at, act);
        self.add(over, end);
    }

    fn add(&mut self, at: Duration, act: Act) {
        self.agenda.entry(at).or_default().push(act);
    }

    /// Does what is due.
    pub fn apply(&mut self, sim: &mut Sim<'_>, ground: &Ground) {
        let now = sim.elapsed();
        while let Some(due) = self.agenda.first_entry().filter(|due| *due.key() <= now) {
            for act in due.remove() {
                self.act(act, sim, ground);
            }
        }
    }

    fn others(&self, host: &'static str) -> impl Iterator<Item = &'static str> {
        self.all.iter().copied().filter(move |other| *other != host)
    }

    fn act(&mut self, act: Act, sim: &mut Sim<'_>, ground: &Ground) {
        match act {
            Act::Crash(host) => {
                if self.down.insert(host) {
                    // As when the power is cut: nobody hears of it. A runtime drops its tasks in an order that does not
                    // repeat, and so would their farewells.
                    self.others(host).for_each(|other| sim.partition(host, other));
                    sim.crash(host);
                }
            }
            Act::Bounce(host) => {
                if self.down.remove(host) {
                    self.others(host).for_each(|other| sim.repair(host, other));
                    sim.bounce(host);
                }
            }
            Act::Drain(host) => ground.drain(host),
            Act::Partition(a, b) => sim.partition(a, b),
            Act::Repair(a, b) => sim.repair(a, b),
            Act::Hold(a, b) => sim.hold(a, b),
            Act::Release(a, b) => sim.release(a, b),
            Act::Jump { host, by, ahead } => {
                if let Some(clock) = ground.clocks.get(host) {
                    clock.jump(by, ahead);
                    self.furthest_us = self.furthest_us.max(clock.skew_us());
                }
            }
            Act::Latency(most) => sim.set_max_message_latency(most),
            // Nothing in memory waits.
            Act::Partitions(number) => drop(ground.database.set_partitions(number).now_or_never()),
            Act::Save => self.saved = Some(ground.database.snapshot()),
            Act::Restore => {
                if let Some(saved) = self.saved.take() {
                    ground.database.restore(saved);
                }
            }
        }
    }
}
