//! Every order and repetition of one set of outcomes gives the same state, with checkpoints, run-ahead and refolds.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/sets.rs"]
mod sets;

use std::collections::BTreeMap;

use common::camera;
use detektor_contract::fold::{CameraFold, Seams, diff, project};
use detektor_contract::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sets::deliveries;

/// What merge does, on maps instead of a database.
#[derive(Default)]
struct Merge {
    outcomes: BTreeMap<Position, Outcome>,
    checkpoints: BTreeMap<Position, Vec<u8>>,
    head: Option<CameraFold>,
    /// With the position of the outcome that last touched it.
    events: BTreeMap<EventId, (Position, Event)>,
    gaps: BTreeMap<Position, Gap>,
}

impl Merge {
    fn seams(&self) -> Seams {
        self.outcomes.values().filter_map(|o| Some((o.id.epoch, o.seam()?))).collect()
    }

    fn frontier(&self) -> Option<Position> {
        self.head.as_ref().and_then(CameraFold::frontier)
    }

    fn put(&mut self, outcome: &Outcome, run_ahead: bool, checkpoint_every: u64) {
        let position = outcome.id.position();
        if self.outcomes.get(&position).is_some_and(|known| !outcome.wins_over(known)) {
            return;
        }
        let mut seams = self.seams();
        let news = outcome.seam().filter(|seam| seams.insert(outcome.id.epoch, *seam)).is_some();
        self.outcomes.insert(position, outcome.clone());
        let limit_reaches = |o: &Outcome| {
            let limit = seams.limit(o.id.epoch);
            let gap = match o.body {
                OutcomeBody::Marker(Marker::Gap { from, until, clock, cause }) => {
                    Some(Gap { from, until, clock, cause })
                }
                _ => None,
            };
            let cuts_gap = gap.is_some_and(|gap| limit.of_gap(gap) != Some(gap));
            let before_seam = limit.gaps_at.is_some_and(|at| o.seam().is_some_and(|seam| seam.at > at));
            let cuts = |span: &Span| limit.opens(span) || limit.covers(span.end.plus(-1));
            cuts_gap || before_seam || o.span().is_some_and(cuts)
        };
        let behind_seam = |o: &&Outcome| news && o.id.epoch < outcome.id.epoch && limit_reaches(o);
        let seam_from = self.outcomes.values().find(behind_seam).map(|o| o.id.position());
        let first = seam_from.into_iter().chain([position]).min().unwrap();
        match self.frontier() {
            Some(frontier) if first <= frontier => self.refold(first, run_ahead, checkpoint_every),
            _ => {
                let mut head = self.head.take().unwrap_or_else(|| CameraFold::new(camera()));
                let changes = self.advance(&mut head, None, run_ahead, checkpoint_every);
                self.store(changes);
                self.head = Some(head);
            }
        }
    }

    fn refold(&mut self, first: Position, run_ahead: bool, checkpoint_every: u64) {
        let until = self.frontier();
        self.checkpoints.split_off(&first);
        let (from, mut fold) = match self.checkpoints.last_key_value() {
            Some((at, bytes)) => (Some(*at), CameraFold::from_bytes(bytes).unwrap()),
            None => (None, CameraFold::new(camera())),
        };
        self.gaps.retain(|at, _| from.is_some_and(|from| *at <= from));
        let open = fold.open_events();
        let touched = self.events.values().filter(|(at, _)| from.is_none_or(|from| *at > from));
        let before: Vec<Event> = touched.map(|(_, event)| event.clone()).collect();
        let changes = self.advance(&mut fold, until, run_ahead, checkpoint_every);
        let last: BTreeMap<EventId, Position> =
            changes.iter().map(|(at, change)| (change.event().id.clone(), *at)).collect();
        let told = diff(&before, &open, changes.into_iter().map(|(_, change)| change).collect());
        let place = |change: &EventChange| last.get(&change.event().id).copied().or(from).unwrap_or_default();
        self.store(told.into_iter().map(|change| (place(&change), change)).collect());
        self.head = Some(fold);
    }

    /// Applies what is contiguous; everything up to `until`; with `run_ahead` everything there is.
    fn advance(
        &mut self,
        fold: &mut CameraFold,
        until: Option<Position>,
        run_ahead: bool,
        every: u64,
    ) -> Vec<(Position, EventChange)> {
        let seams = self.seams();
        let mut changes = Vec::new();
        for (at, outcome) in &self.outcomes {
            if fold.frontier().is_some_and(|frontier| *at <= frontier) {
                continue;
            }
            if !fold.expects(*at) && !run_ahead && until.is_none_or(|until| *at > until) {
                break;
            }
            let said = fold.apply(outcome, &seams.limit(at.epoch));
            self.gaps.extend(said.gap.map(|gap| (*at, gap)));
            changes.extend(said.changes.into_iter().map(|change| (*at, change)));
            if at.sequence % every == 0 {
                self.checkpoints.insert(*at, fold.to_bytes());
            }
        }
        changes
    }

    fn store(&mut self, changes: Vec<(Position, EventChange)>) {
        for (at, change) in changes {
            let id = change.event().id.clone();
            let known = self.events.contains_key(&id);
            match change {
                EventChange::Withdrawn(_) => {
                    assert!(known, "{id} is withdrawn and was never told");
                    self.events.remove(&id);
                }
                EventChange::Opened(event) => {
                    assert!(!known, "{id} opens twice");
                    self.events.insert(id, (at, event));
                }
                EventChange::Revised(event) => {
                    assert!(known, "{id} is revised and was never told");
                    assert_ne!(self.events[&id].1, event, "{id} is revised to what it was");
                    self.events.insert(id, (at, event));
                }
                EventChange::Continued(event) | EventChange::Updated(event) => {
                    assert!(known, "{id} goes on and was never told");
                    self.events.insert(id, (at, event));
                }
                // Within one advance an event opens before it closes; told after a refold it may be new.
                EventChange::Closed(event) => {
                    self.events.insert(id, (at, event));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_what_the_set_gives(
        (set, sent) in deliveries(),
        ahead in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
        every in 1u64..9,
    ) {
        let mut merge = Merge::default();
        for (outcome, run_ahead) in sent.iter().zip(ahead.iter().cycle()) {
            merge.put(outcome, *run_ahead, every);
        }
        // What still waits behind a hole does not wait for ever.
        let mut head = merge.head.take().unwrap();
        let changes = merge.advance(&mut head, None, true, every);
        merge.store(changes);
        let expected = project(&camera(), &set);
        prop_assert_eq!(&head, &expected.fold);
        let events: BTreeMap<EventId, Event> =
            merge.events.into_iter().map(|(id, (_, event))| (id, event)).collect();
        prop_assert_eq!(events, expected.events);
        prop_assert_eq!(merge.gaps, expected.gaps);
    }

    #[test]
    fn the_ledger_closes_where_nothing_is_missing((set, _) in deliveries()) {
        let fold = project(&camera(), &set).fold;
        let ledger = fold.ledger();
        prop_assert_eq!(ledger.captured, ledger.detected + ledger.skipped_total() + ledger.failed_total());
        prop_assert_eq!((ledger.holes, ledger.miscounted), (0, 0));
    }

    #[test]
    fn checkpoints_read_back((set, _) in deliveries()) {
        let fold = project(&camera(), &set).fold;
        prop_assert_eq!(CameraFold::from_bytes(&fold.to_bytes()).unwrap(), fold);
    }

    #[test]
    fn rubbish_is_no_checkpoint(
        (set, _) in deliveries(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = project(&camera(), &set).fold.to_bytes();
        prop_assert!(CameraFold::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        // Damage may leave a state that reads; it must still be one that goes on.
        if let Ok(mut fold) = CameraFold::from_bytes(&bytes) {
            for outcome in &set {
                fold.apply(outcome, &fold::Limit::default());
            }
        }
    }
}

#[test]
fn other_layouts_are_refused() {
    assert!(CameraFold::from_bytes(&[]).is_err());
    assert!(CameraFold::from_bytes(&[0]).is_err());
    let mut bytes = CameraFold::new(camera()).to_bytes();
    bytes[0] += 1;
    let error = CameraFold::from_bytes(&bytes).unwrap_err();
    assert!(error.to_string().contains("layout"), "{error}");
}
