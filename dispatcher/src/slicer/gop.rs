//! The units since the last key frame: what a part cut inside a GOP must repeat.

use super::{Entry, Facts, Unit};

/// What becomes of the leading pictures that follow a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// The segment that holds the key frame also holds what they refer to.
    Held,
    /// They refer to what nobody has.
    Lost,
    /// All have passed, or there can be none.
    Done,
}

pub(super) struct Gop<T> {
    units: Vec<Unit<T>>,
    bytes: usize,
    lead: Lead,
    /// Gradual refreshes: the unit it begins at, and how many reference pictures it still wants.
    refreshes: Vec<(usize, u32)>,
}

impl<T> Default for Gop<T> {
    fn default() -> Self {
        Self { units: Vec::new(), bytes: 0, lead: Lead::Done, refreshes: Vec::new() }
    }
}

impl<T: Clone> Gop<T> {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins anew at a unit where decoding can begin.
    pub(super) fn restart(&mut self, key: Unit<T>, lead: Lead) {
        self.clear();
        self.lead = if key.facts.entry == Entry::Open { lead } else { Lead::Done };
        self.push(key);
    }

    pub(super) fn push(&mut self, unit: Unit<T>) {
        if unit.facts.reference {
            self.refreshes.iter_mut().for_each(|(_, wants)| *wants = wants.saturating_sub(1));
        }
        if let Entry::Gradual { frames } = unit.facts.entry {
            self.refreshes.push((self.units.len(), frames));
        }
        self.bytes += unit.facts.bytes;
        self.units.push(unit);
    }

    /// What becomes of a unit, if it is one of the key frame's leading pictures. The first that is not ends their run.
    pub(super) fn leading(&mut self, facts: &Facts) -> Option<Lead> {
        let key = &self.units.first()?.facts;
        if self.lead == Lead::Done || (facts.second_field && self.units.len() == 1) {
            return None;
        }
        if facts.leads(key) {
            return Some(self.lead);
        }
        self.lead = Lead::Done;
        None
    }

    /// The units that what comes next must repeat. What lies before a complete refresh is forgotten.
    pub(super) fn pre_roll(&mut self) -> Vec<Unit<T>> {
        let complete = self.refreshes.iter().rposition(|(_, wants)| *wants == 0);
        if let Some((begin, _)) = complete.and_then(|n| self.refreshes.get(n).copied()) {
            self.bytes -= self.units.drain(..begin).map(|unit| unit.facts.bytes).sum::<usize>();
            self.refreshes.retain_mut(|(at, _)| {
                let kept = *at >= begin;
                *at = at.saturating_sub(begin);
                kept
            });
        }
        self.units.iter().cloned().map(Unit::uncounted).collect()
    }
}
