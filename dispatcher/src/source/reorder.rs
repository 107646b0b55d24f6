//! Presentation times for a container that keeps none (AVI).
//!
//! Decoding times are one frame apart, and presentation times are the same set of times in another order: the picture
//! that is shown as number k is shown at decoding time k. The order is the pictures' own (picture order count).

use std::collections::VecDeque;

use detektor_media::{Border, ParameterSets, classify};

use super::AccessUnit;

/// H.264 and H.265 hold at most so many pictures back.
const MAX_DEPTH: usize = 16;

pub(super) struct Reorder {
    sets: ParameterSets,
    /// In decode order. The first is not yet placed, unless it is about to leave.
    held: VecDeque<Held>,
    /// Decoding times that no picture was given yet.
    times: VecDeque<i64>,
    unplaced: usize,
}

struct Held {
    unit: AccessUnit,
    order: i32,
    placed: bool,
}

impl Reorder {
    pub(super) fn new(sets: &ParameterSets) -> Self {
        Self { sets: sets.clone(), held: VecDeque::new(), times: VecDeque::new(), unplaced: 0 }
    }

    pub(super) fn sets(&mut self, sets: &ParameterSets) {
        self.sets = sets.clone();
    }

    /// Takes a unit and its picture order count; gives those whose presentation time is known now.
    pub(super) fn push(&mut self, unit: AccessUnit, order: i32) -> Vec<AccessUnit> {
        // A parameter set that cannot be read is reported where it matters; here the depth is then the largest.
        let _ = self.sets.update(&unit.data);
        let begins = matches!(classify(&self.sets, &unit.data).border, Some(Border::Idr | Border::Bla));
        let mut ready = if begins { self.finish() } else { Vec::new() };
        if let Some(dts) = unit.dts {
            self.times.push_back(dts);
        }
        self.held.push_back(Held { unit, order, placed: false });
        self.unplaced += 1;
        let depth = self.sets.max_reorder().map_or(MAX_DEPTH, |depth| (depth as usize).min(MAX_DEPTH));
        if self.unplaced > depth {
            self.place_next();
        }
        self.leave(&mut ready);
        ready
    }

    /// No picture that follows is shown before those held.
    pub(super) fn finish(&mut self) -> Vec<AccessUnit> {
        while self.unplaced > 0 {
            self.place_next();
        }
        let mut ready = Vec::new();
        self.leave(&mut ready);
        ready
    }

    fn place_next(&mut self) {
        let next = self.held.iter_mut().filter(|held| !held.placed).min_by_key(|held| held.order);
        if let Some(held) = next {
            held.placed = true;
            held.unit.pts = self.times.pop_front();
            self.unplaced -= 1;
        }
    }

    fn leave(&mut self, ready: &mut Vec<AccessUnit>) {
        while self.held.front().is_some_and(|held| held.placed) {
            ready.extend(self.held.pop_front().map(|held| held.unit));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use bytes::Bytes;
    use detektor_contract::Codec;

    use super::*;

    fn unit(dts: i64, idr: bool) -> AccessUnit {
        let data = if idr { &[0, 0, 0, 3, 0x65, 0x88, 0x80][..] } else { &[0, 0, 0, 3, 0x41, 0x9a, 0x80] };
        AccessUnit { data: Bytes::copy_from_slice(data), pts: None, dts: Some(dts), arrival: None, hidden: false }
    }

    #[test]
    fn pictures_are_shown_in_their_own_order_at_the_decoders_times() {
        let mut reorder = Reorder::new(&ParameterSets::new(Codec::H264));
        let orders = [0, 8, 4, 2, 6, 16, 12, 10, 14, 0, 4, 2];
        let mut out = Vec::new();
        for (n, order) in orders.into_iter().enumerate() {
            out.extend(reorder.push(unit(n as i64, matches!(n, 0 | 9)), order));
        }
        assert_eq!(out.len(), 9);
        out.extend(reorder.finish());
        let shown: Vec<i64> = out.iter().map(|unit| unit.pts.unwrap()).collect();
        assert_eq!(shown, [0, 4, 2, 1, 3, 8, 6, 5, 7, 9, 11, 10]);
        assert!(out.windows(2).all(|w| w[0].dts < w[1].dts));
    }
}
