//! Items on bins, evenly: where loose items go, and which few moves even the load. Arithmetic, blind to what it is for.
//!
//! A bin's load is what its items cost by its weight. The measure of evenness is the spread: the loads' standard deviation as
//! a share of their mean.

use std::collections::BTreeSet;

/// Levelling ends here. From here, costs that are 5 % off do not reach what is levelled at all: see [`worthwhile`].
const LEVEL: f64 = 0.04;
/// A spread up to this is even enough.
const EVEN: f64 = 0.095;
/// What a spread may rise by when moves that gain little are left out.
const LITTLE: f64 = 0.01;

/// Whether to move items for a spread that falls from `present` to `best`. Costs that are 5 % off move a spread by about 0.05:
/// that must neither look like a gain nor hide one, so a gain counts only beyond what both spreads may be off.
pub(super) fn worthwhile(present: f64, best: f64) -> bool {
    present > EVEN + 1.1 * best
}

/// What items are put on.
#[derive(Clone, Debug)]
struct Bin {
    weight: f64,
    /// Whether it takes items.
    open: bool,
    cost: u64,
    items: usize,
    /// Those that may be moved, by cost.
    movable: BTreeSet<(u64, usize)>,
}

/// Items on bins. Both are known by their index.
#[derive(Clone, Debug)]
pub(super) struct Level {
    bins: Vec<Bin>,
    costs: Vec<u64>,
    /// The bin of each item.
    places: Vec<Option<usize>>,
}

/// One or two items change places: net, cost goes from one bin to another.
#[derive(Clone, Copy, Debug)]
struct Step {
    gain: f64,
    from: usize,
    to: usize,
    there: usize,
    back: Option<usize>,
}

impl Level {
    /// Bins, by weight and whether they take items, and items that are nowhere yet, by cost.
    pub(super) fn new(bins: impl IntoIterator<Item = (f64, bool)>, costs: Vec<u64>) -> Self {
        let bin = |(weight, open)| Bin { weight, open, cost: 0, items: 0, movable: BTreeSet::new() };
        let mut bins: Vec<Bin> = bins.into_iter().map(bin).collect();
        if !bins.iter().any(|bin| bin.open) {
            bins.iter_mut().for_each(|bin| bin.open = true);
        }
        Self { bins, places: vec![None; costs.len()], costs }
    }

    /// Where an item is.
    pub(super) fn place(&self, item: usize) -> Option<usize> {
        self.places[item]
    }

    /// Puts an item where it is.
    pub(super) fn put(&mut self, item: usize, bin: usize, movable: bool) {
        let cost = self.costs[item];
        let to = &mut self.bins[bin];
        to.cost += cost;
        to.items += 1;
        if movable {
            to.movable.insert((cost, item));
        }
        self.places[item] = Some(bin);
    }

    /// Every item that is anywhere may be moved from here on.
    pub(super) fn loosen(&mut self) {
        for (item, bin) in self.places.iter().enumerate() {
            if let Some(bin) = bin {
                self.bins[*bin].movable.insert((self.costs[item], item));
            }
        }
    }

    /// Puts items that are nowhere where there is least load, the dearest first.
    pub(super) fn add(&mut self, mut loose: Vec<usize>) {
        loose.sort_by_key(|item| (std::cmp::Reverse(self.costs[*item]), *item));
        for item in loose {
            let cost = self.costs[item];
            let then = |bin: &Bin| (bin.cost + cost) as f64 / bin.weight;
            let open = self.bins.iter().enumerate().filter(|(_, bin)| bin.open);
            let least = open.min_by(|(_, a), (_, b)| then(a).total_cmp(&then(b)).then(a.items.cmp(&b.items)));
            if let Some((bin, _)) = least {
                self.put(item, bin, true);
            }
        }
    }

    /// A bin's load.
    pub(super) fn load(&self, bin: usize) -> f64 {
        self.bins[bin].load()
    }

    /// The loads' standard deviation as a share of their mean.
    pub(super) fn spread(&self) -> f64 {
        let weight: f64 = self.bins.iter().map(|bin| bin.weight).sum();
        let mean = self.bins.iter().map(|bin| bin.cost as f64).sum::<f64>() / weight;
        let off = |bin: &Bin| bin.weight * (bin.load() - mean).powi(2);
        let variance = self.bins.iter().map(off).sum::<f64>() / weight;
        if mean > 0.0 { variance.sqrt() / mean } else { 0.0 }
    }

    /// Gives bins without an item one of a bin with several.
    pub(super) fn use_all(&mut self) {
        for to in 0..self.bins.len() {
            if !self.bins[to].open || self.bins[to].items > 0 {
                continue;
            }
            let givers = (0..self.bins.len()).filter(|from| *from != to);
            let best = givers.filter_map(|from| self.one(from, to)).max_by(better);
            if let Some(step) = best {
                self.apply(step);
            }
        }
    }

    /// Evens the load in steps, each the best there is, until it is level or no step helps.
    pub(super) fn level(&mut self) {
        for _ in 0..self.costs.len() + 8 * self.bins.len() {
            if self.spread() <= LEVEL {
                return;
            }
            let Some(step) = self.best_step() else { return };
            self.apply(step);
        }
    }

    /// Takes back moves since `before` that gained little, the cheapest first.
    pub(super) fn leave_out_little(&mut self, before: &Self) {
        let most = LEVEL.max(self.spread() + LITTLE);
        let moved = |item: &usize| before.places[*item].is_some() && before.places[*item] != self.places[*item];
        let mut moved: Vec<usize> = (0..self.costs.len()).filter(moved).collect();
        moved.sort_by_key(|item| (self.costs[*item], *item));
        for item in moved {
            let (Some(now), Some(then)) = (self.places[item], before.places[item]) else { continue };
            if self.bins[now].items > 1 {
                self.shift(item, now, then);
                if self.spread() > most {
                    self.shift(item, then, now);
                }
            }
        }
    }

    /// The cheapest item that a bin can give to another without making the load uneven.
    pub(super) fn relief(&self, from: usize) -> Option<(usize, usize)> {
        let giver = &self.bins[from];
        if giver.items < 2 {
            return None;
        }
        let open = (0..self.bins.len()).filter(|to| *to != from && self.bins[*to].open);
        let to = open.min_by(|a, b| self.load(*a).total_cmp(&self.load(*b)))?;
        let (_, item) = giver.movable.first()?;
        let mut after = self.clone();
        after.shift(*item, from, to);
        (after.spread() <= EVEN.max(self.spread())).then_some((*item, to))
    }

    /// Moves an item.
    pub(super) fn shift(&mut self, item: usize, from: usize, to: usize) {
        let cost = self.costs[item];
        let giver = &mut self.bins[from];
        giver.cost -= cost;
        giver.items -= 1;
        giver.movable.remove(&(cost, item));
        self.put(item, to, true);
    }

    fn apply(&mut self, step: Step) {
        self.shift(step.there, step.from, step.to);
        if let Some(back) = step.back {
            self.shift(back, step.to, step.from);
        }
    }

    /// The best step from the fullest bin or to the emptiest. One item rather than two.
    fn best_step(&self) -> Option<Step> {
        let by_load = |a: &usize, b: &usize| self.load(*a).total_cmp(&self.load(*b));
        let all = || 0..self.bins.len();
        let high = all().filter(|bin| !self.bins[*bin].movable.is_empty()).max_by(by_load)?;
        let low = all().filter(|bin| self.bins[*bin].open).min_by(by_load)?;
        let helps = |step: &Step| step.gain > self.noise();
        if let Some(step) = self.one(high, low).filter(helps) {
            return Some(step);
        }
        let pairs = || all().map(|to| (high, to)).chain(all().map(|from| (from, low))).filter(|(from, to)| from != to);
        let one = pairs().filter_map(|(from, to)| self.one(from, to)).max_by(better).filter(helps);
        let two = || pairs().filter_map(|(from, to)| self.two(from, to)).max_by(better).filter(helps);
        one.or_else(two)
    }

    /// The item whose move from one bin to another helps most, or harms least.
    fn one(&self, from: usize, to: usize) -> Option<Step> {
        if self.bins[from].items < 2 || !self.bins[to].open {
            return None;
        }
        let (cost, there) = self.bins[from].closest(self.ideal(from, to))?;
        Some(Step { gain: self.gain(from, to, cost as f64), from, to, there, back: None })
    }

    /// The two items whose exchange helps most.
    fn two(&self, from: usize, to: usize) -> Option<Step> {
        if !self.bins[to].open {
            return None;
        }
        let ideal = self.ideal(from, to);
        let exchange = |&(cost, there): &(u64, usize)| {
            let (other, back) = self.bins[to].closest(cost as f64 - ideal)?;
            let gain = self.gain(from, to, cost as f64 - other as f64);
            Some(Step { gain, from, to, there, back: Some(back) })
        };
        self.bins[from].movable.iter().filter_map(exchange).max_by(better)
    }

    /// The cost whose move from one bin to another makes their loads equal.
    fn ideal(&self, from: usize, to: usize) -> f64 {
        (self.load(from) - self.load(to)) / (1.0 / self.bins[from].weight + 1.0 / self.bins[to].weight)
    }

    /// By how much the loads' squares fall when this cost moves.
    fn gain(&self, from: usize, to: usize, cost: f64) -> f64 {
        let apart = self.load(from) - self.load(to);
        2.0 * cost * apart - cost * cost * (1.0 / self.bins[from].weight + 1.0 / self.bins[to].weight)
    }

    /// A gain that is only rounding.
    fn noise(&self) -> f64 {
        let mean = self.bins.iter().map(|bin| bin.cost as f64).sum::<f64>() / self.bins.len() as f64;
        mean * mean * 1e-6
    }
}

impl Bin {
    fn load(&self) -> f64 {
        self.cost as f64 / self.weight
    }

    /// The movable item whose cost is closest to this.
    fn closest(&self, cost: f64) -> Option<(u64, usize)> {
        let at = cost.max(0.0) as u64;
        let below = self.movable.range(..(at, 0)).next_back();
        let above = self.movable.range((at, 0)..).next();
        let off = |item: &&(u64, usize)| (item.0 as f64 - cost).abs();
        below.into_iter().chain(above).min_by(|a, b| off(a).total_cmp(&off(b))).copied()
    }
}

fn better(a: &Step, b: &Step) -> std::cmp::Ordering {
    // Of equal ones the first: `max_by` gives the last.
    a.gain.total_cmp(&b.gain).then((b.from, b.to, b.there, b.back).cmp(&(a.from, a.to, a.there, a.back)))
}
