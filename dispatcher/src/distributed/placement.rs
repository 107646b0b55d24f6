//! Which dispatcher slices a camera, and which partition its work goes to: a table, and the moves that keep it even.
//!
//! Pure: the same cameras, members and table give the same moves. Even by measured cost, with few moves, and none for a gain
//! that costs which are a little off could feign. What was moved is never moved back by the next plan.

use std::collections::{BTreeMap, BTreeSet};

use detektor_backends::coordination::{MemberSeen, Placed, Placement};
use detektor_contract::CameraId;

mod level;
mod report;
#[cfg(test)]
mod tests;

use level::{Level, worthwhile};
pub use report::{LastMove, NodeReport, PlacementReport};

/// A camera that was never measured, where none was, costs so many thousandths of a core.
const UNMEASURED: u64 = 20;
/// What costs less counts as this: so little is measured too coarsely to tell cameras apart, and not worth moving one for.
const CHEAP: u64 = 20;
/// A member that uses so many hundredths of its processors runs hot.
const HOT_PERCENT: u64 = 90;

/// A dispatcher that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How many processor cores it may use, in thousandths. 0 if unknown.
    pub capacity_millis: u32,
    /// It is about to stop.
    pub leaving: bool,
    /// It uses nearly all of its processors.
    pub hot: bool,
}

impl From<&MemberSeen> for Node {
    fn from(seen: &MemberSeen) -> Self {
        let load = seen.load;
        let used = u64::from(load.cpu_millis) * 100;
        let hot = load.capacity_millis > 0 && used >= u64::from(load.capacity_millis) * HOT_PERCENT;
        let (name, leaving) = (seen.member.name.clone(), load.leaving);
        Self { name, capacity_millis: load.capacity_millis, leaving, hot }
    }
}

/// Where a camera's work is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The dispatcher.
    pub dispatcher: Option<String>,
    /// The partition.
    pub partition: Option<u16>,
}

/// A camera's row in the table changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which camera.
    pub camera: CameraId,
    /// Where it was.
    pub from: Spot,
    /// Where it is to be; always with a partition.
    pub to: Spot,
    /// Why, for people.
    pub reason: String,
    /// It cannot stay where it is; else it only evens the load.
    pub urgent: bool,
}

/// What is to change in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In id order.
    pub moves: Vec<Move>,
    /// Cameras that are wanted no longer, in id order.
    pub gone: Vec<CameraId>,
}

impl Plan {
    /// Whether everything may stay as it is.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.gone.is_empty()
    }
}

/// What is to change so that every camera is sliced by one of `nodes`, evenly. `wanted` is in id order.
pub fn plan(wanted: &[CameraId], nodes: &[Node], present: &Placement) -> Plan {
    let rows: BTreeMap<&CameraId, &Placed> = present.cameras.iter().map(|row| (&row.camera, row)).collect();
    let rows_of_wanted: Vec<Option<&Placed>> = wanted.iter().map(|id| rows.get(id).copied()).collect();
    let dispatchers = place_on_dispatchers(&rows_of_wanted, nodes);
    let partitions = place_on_partitions(&rows_of_wanted, present.partitions.max(1));
    let mut moves = Vec::new();
    for (((id, row), dispatcher), partition) in wanted.iter().zip(&rows_of_wanted).zip(dispatchers).zip(partitions) {
        let from = row.map_or_else(Spot::default, |row| Spot {
            dispatcher: row.dispatcher.clone(),
            partition: Some(row.partition),
        });
        let (mut to, mut urgent) = (from.clone(), false);
        let mut reasons = Vec::new();
        if let Some(Away { to: name, reason, urgent: now }) = dispatcher {
            to.dispatcher = Some(name);
            urgent |= now;
            reasons.push(reason);
        }
        if let Some(Away { to: number, reason, urgent: now }) = partition {
            to.partition = Some(number);
            urgent |= now;
            reasons.push(reason);
        }
        if to != from {
            reasons.dedup();
            moves.push(Move { camera: id.clone(), from, to, reason: reasons.join("; "), urgent });
        }
    }
    let wanted: BTreeSet<&CameraId> = wanted.iter().collect();
    let gone = rows.keys().filter(|id| !wanted.contains(*id)).map(|id| (*id).clone()).collect();
    Plan { moves, gone }
}

const NEW: &str = "new camera";

/// Where an item goes that does not stay.
struct Away<N> {
    to: N,
    reason: String,
    urgent: bool,
}

/// Even by measured cost. A camera that nobody can take stays where it is.
fn place_on_dispatchers(rows: &[Option<&Placed>], nodes: &[Node]) -> Vec<Option<Away<String>>> {
    let staying: Vec<&Node> = nodes.iter().filter(|node| !node.leaving).collect();
    let weights = weights(&staying);
    let bins = staying.iter().zip(weights).map(|(node, weight)| (node.name.clone(), weight, !node.hot)).collect();
    let homes = rows.iter().map(|row| {
        let Some(row) = row else { return Err(NEW.to_owned()) };
        let Some(name) = &row.dispatcher else { return Err("no dispatcher had it".to_owned()) };
        staying.iter().position(|node| node.name == *name).ok_or_else(|| {
            let leaving = nodes.iter().any(|node| node.name == *name);
            if leaving { format!("{name} is leaving") } else { format!("dispatcher {name} is gone") }
        })
    });
    let evened = |from: &String, to: &String, was: [f64; 2], is: [f64; 2]| {
        let [a, b, c, d] = [was[0], was[1], is[0], is[1]].map(|millis| millis / 1_000.0);
        format!("evens the load: {from} {a:.2}, {to} {b:.2} -> {c:.2}, {d:.2}")
    };
    spread_over(bins, costs(rows), homes.collect(), evened)
}

/// Even by count: any detect pod takes from any partition, so what a camera costs does not matter, only that none is crowded.
fn place_on_partitions(rows: &[Option<&Placed>], partitions: u16) -> Vec<Option<Away<u16>>> {
    let bins = (0..partitions).map(|number| (number, 1.0, true)).collect();
    let homes = rows.iter().map(|row| match row {
        Some(row) if row.partition < partitions => Ok(usize::from(row.partition)),
        Some(row) => Err(format!("partition {} is gone", row.partition)),
        None => Err(NEW.to_owned()),
    });
    let evened = |from: &u16, to: &u16, was: [f64; 2], is: [f64; 2]| {
        format!("evens the partitions: {from} {}, {to} {} -> {}, {} cameras", was[0], was[1], is[0], is[1])
    };
    spread_over(bins, vec![1; rows.len()], homes.collect(), evened)
}

/// What cameras cost; one that was not measured counts as the mean of those that were.
pub(super) fn costs(rows: &[Option<&Placed>]) -> Vec<u64> {
    let measured = |row: &Option<&Placed>| {
        row.map(|row| u64::from(row.cost_millis)).filter(|cost| *cost > 0).map(|cost| cost.max(CHEAP))
    };
    let known: Vec<u64> = rows.iter().filter_map(measured).collect();
    let mean = known.iter().sum::<u64>().checked_div(known.len() as u64).unwrap_or(UNMEASURED).max(1);
    rows.iter().map(|row| measured(row).unwrap_or(mean)).collect()
}

/// What members can carry, 1 on average; all alike if any does not say.
pub(super) fn weights(nodes: &[&Node]) -> Vec<f64> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.capacity_millis)).sum();
    if nodes.iter().any(|node| node.capacity_millis == 0) {
        return vec![1.0; nodes.len()];
    }
    nodes.iter().map(|node| f64::from(node.capacity_millis) * nodes.len() as f64 / total as f64).collect()
}

/// Places items on bins (a name, a weight, and whether it takes more), given where each is or why it is nowhere. Returns where
/// items go that do not stay, and why.
fn spread_over<N: Clone + std::fmt::Display>(
    bins: Vec<(N, f64, bool)>,
    costs: Vec<u64>,
    homes: Vec<Result<usize, String>>,
    evened: impl Fn(&N, &N, [f64; 2], [f64; 2]) -> String,
) -> Vec<Option<Away<N>>> {
    if bins.is_empty() {
        return homes.iter().map(|_| None).collect();
    }
    let mut level = Level::new(bins.iter().map(|(_, weight, open)| (*weight, *open)), costs);
    let mut loose = Vec::new();
    for (item, home) in homes.iter().enumerate() {
        match home {
            Ok(bin) => level.put(item, *bin, false),
            Err(_) => loose.push(item),
        }
    }
    // What has to move anyway goes where it is best.
    level.add(loose);
    level.level();
    level.loosen();
    let mut because: BTreeMap<usize, String> = BTreeMap::new();
    let mut note = |before: &Level, after: &Level, why: &dyn Fn(usize, usize) -> String| {
        for (item, home) in homes.iter().enumerate() {
            if let (Ok(_), Some(from), Some(to)) = (home, before.place(item), after.place(item))
                && from != to
            {
                because.insert(item, why(from, to));
            }
        }
    };

    let before = level.clone();
    level.use_all();
    note(&before, &level, &|_, to| format!("{} had no camera", bins[to].0));

    let before = level.clone();
    let mut best = level.clone();
    best.level();
    best.leave_out_little(&before);
    if worthwhile(level.spread(), best.spread()) {
        level = best;
    }
    note(&before, &level, &|from, to| {
        let loads = |level: &Level| [level.load(from), level.load(to)];
        evened(&bins[from].0, &bins[to].0, loads(&before), loads(&level))
    });

    // One at a time: what a member uses shows late, and follows every move.
    let before = level.clone();
    let hot = (0..bins.len()).filter(|bin| !bins[*bin].2);
    if let Some((from, (item, to))) = hot.filter_map(|bin| Some((bin, level.relief(bin)?))).next() {
        level.shift(item, from, to);
    }
    note(&before, &level, &|from, _| format!("{} runs hot", bins[from].0));

    let moved = |(item, home): (usize, &Result<usize, String>)| {
        let to = level.place(item)?;
        let (reason, urgent) = match home {
            Ok(from) if *from == to => return None,
            Ok(_) => (because.remove(&item).unwrap_or_default(), false),
            Err(why) => (why.clone(), true),
        };
        Some(Away { to: bins[to].0.clone(), reason, urgent })
    };
    homes.iter().enumerate().map(moved).collect()
}
