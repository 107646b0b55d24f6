//! Tracks over looks: ByteTrack's two passes (Zhang et al., ECCV 2022), with a gate by covariance behind them.
//!
//! In every look, detections are matched with what should be there:
//! 1. those of at least `report_score` with tracks that have an event, then with the others, by overlap;
//! 2. those below it with what is left, by overlap, so that a dim object is not lost: they never begin a track;
//! 3. what is left of the first kind by distance, for objects that move further than their own size between two looks.
//!
//! Time is *looked-at* time: the time between two looks, at most [`LONGEST_STEP_US`]. So what was not looked at (quiet,
//! shed, a gap) makes nothing older, and a long quiet stretch is one step.

use serde::{Deserialize, Serialize};

use super::assignment::assign;
use super::kalman::GATE;
use super::track::{Look, Track, group};
use crate::{Box2, CameraId, Clock, CloseReason, Detection, Event, EventState, TimeUs};

/// A step between two looks counts for at most this much, in microseconds.
const LONGEST_STEP_US: i64 = 1_000_000;
/// Least overlap in the first pass, in ten-thousandths.
const FIRST_OVERLAP: u16 = 2_000;
/// Least overlap in the second pass.
const SECOND_OVERLAP: u16 = 4_000;
/// From here on, two boxes of one group in one look are one object.
const SAME_OVERLAP: u16 = 7_000;
/// From here on, a new track stands where an event that is not seen stood, and goes on with it.
const CONTINUE_OVERLAP: u16 = 4_000;
/// What was not seen for longer than this (looked-at time) is found by overlap alone: its place is too uncertain.
const DISTANCE_WITHIN_US: i64 = 1_000_000;
/// Detections considered in one look, the best ones.
const MOST_DETECTIONS: usize = 128;
/// Tracks held at once.
const MOST_TRACKS: usize = 512;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tracker {
    tracks: Vec<Track>,
    last_look: Option<TimeUs>,
    /// Looked-at time in microseconds.
    looked: i64,
}

/// A detection that counts, and its index in the frame.
type Seen<'a> = (u32, &'a Detection);

impl Tracker {
    /// Takes in one looked-at frame. Events that it ends are pushed to `closed`.
    pub(super) fn look(&mut self, look: &Look<'_>, seen: &[Detection], ended: &mut Vec<Track>) {
        let step = self.last_look.map_or(0, |last| look.at.since(last).clamp(0, LONGEST_STEP_US));
        self.last_look = Some(look.at);
        self.looked = self.looked.saturating_add(step);
        for track in &mut self.tracks {
            track.predict(step as f64 / 1e6);
        }
        let objects = distinct(seen);
        let (high, low): (Vec<Seen<'_>>, Vec<Seen<'_>>) =
            objects.into_iter().partition(|(_, d)| d.score >= look.rules.report_score);
        let mut pass = Pass::new(self.tracks.len(), high.len(), low.len());
        let (open, tentative): (Vec<usize>, Vec<usize>) = (0..self.tracks.len()).partition(|t| self.tracks[*t].open);
        pass.by_overlap(self, look, &open, &high, FIRST_OVERLAP);
        pass.by_overlap(self, look, &tentative, &high, FIRST_OVERLAP);
        pass.low_by_overlap(self, look, &low);
        pass.by_distance(self, look, &open, &high);
        pass.by_distance(self, look, &tentative, &high);
        for (track, _) in self.tracks.iter_mut().zip(&pass.matched).filter(|(_, matched)| !**matched) {
            track.miss();
        }
        for ((object, detection), _) in high.iter().zip(&pass.used).filter(|(_, used)| !**used) {
            if self.tracks.len() < MOST_TRACKS {
                self.tracks.push(Track::new(look, *object, detection, self.looked));
            }
        }
        self.open(look);
        let (rules, looked) = (look.rules, self.looked);
        ended.extend(self.tracks.extract_if(.., |track| track.is_lost(rules, looked)).filter(|track| track.open));
    }

    /// Opens events of tracks that convince, unless they go on with an event that stood there.
    fn open(&mut self, look: &Look<'_>) {
        let mut index = 0;
        while index < self.tracks.len() {
            let track = &self.tracks[index];
            if track.open || !track.convinces(look.rules) {
                index += 1;
                continue;
            }
            let stood_there = |(other, older): (usize, &Track)| {
                let free = older.open && older.misses > 0 && older.group() == track.group();
                let overlap = if free { older.overlap_of_places(track) } else { 0 };
                (overlap >= CONTINUE_OVERLAP).then_some((overlap, std::cmp::Reverse(other)))
            };
            match self.tracks.iter().enumerate().filter_map(stood_there).max() {
                Some((_, std::cmp::Reverse(older))) => {
                    let newer = self.tracks.remove(index);
                    let older = if older > index { older - 1 } else { older };
                    self.tracks[older].continue_with(newer);
                }
                None => {
                    self.tracks[index].open = true;
                    index += 1;
                }
            }
        }
    }

    /// Ends every track; answers those that have an event.
    pub(super) fn end(&mut self) -> Vec<Track> {
        self.last_look = None;
        std::mem::take(&mut self.tracks).into_iter().filter(|track| track.open).collect()
    }

    /// The events that are open, in the order in which their tracks began.
    pub(super) fn events<'a>(&'a self, camera: &'a CameraId, clock: Clock) -> impl Iterator<Item = Event> + 'a {
        self.tracks.iter().filter(|track| track.open).map(move |track| track.event(camera, clock, EventState::Open))
    }
}

/// Events of tracks that ended.
pub(super) fn closed(tracks: &[Track], camera: &CameraId, clock: Clock, why: CloseReason) -> Vec<Event> {
    tracks.iter().map(|track| track.event(camera, clock, EventState::Closed(why))).collect()
}

/// Which tracks and detections one look has brought together so far.
struct Pass {
    matched: Vec<bool>,
    used: Vec<bool>,
    low_used: Vec<bool>,
}

impl Pass {
    fn new(tracks: usize, high: usize, low: usize) -> Self {
        Self { matched: vec![false; tracks], used: vec![false; high], low_used: vec![false; low] }
    }

    fn by_overlap(&mut self, tracker: &mut Tracker, look: &Look<'_>, among: &[usize], high: &[Seen<'_>], least: u16) {
        let worth = |track: &Track, seen: Box2| overlap_worth(track, seen, least);
        pair(tracker, look, among, high, &mut self.matched, &mut self.used, worth);
    }

    /// The second pass: what was seen in the look before, or stays put.
    fn low_by_overlap(&mut self, tracker: &mut Tracker, look: &Look<'_>, low: &[Seen<'_>]) {
        let recent = |t: &usize| tracker.tracks[*t].misses == 0 || tracker.tracks[*t].stationary;
        let among: Vec<usize> = (0..tracker.tracks.len()).filter(recent).collect();
        let worth = |track: &Track, seen: Box2| overlap_worth(track, seen, SECOND_OVERLAP);
        pair(tracker, look, &among, low, &mut self.matched, &mut self.low_used, worth);
    }

    fn by_distance(&mut self, tracker: &mut Tracker, look: &Look<'_>, among: &[usize], high: &[Seen<'_>]) {
        let looked = tracker.looked;
        let movable = |t: &&usize| {
            let track = &tracker.tracks[**t];
            !track.stationary && looked.saturating_sub(track.seen_at) <= DISTANCE_WITHIN_US
        };
        let among: Vec<usize> = among.iter().filter(movable).copied().collect();
        let worth = |track: &Track, seen: Box2| {
            let distance = track.distance(seen);
            if distance < GATE { ((GATE - distance) * 1_000.0) as i64 + 1 } else { 0 }
        };
        pair(tracker, look, &among, high, &mut self.matched, &mut self.used, worth);
    }
}

fn overlap_worth(track: &Track, seen: Box2, least: u16) -> i64 {
    let overlap = track.overlap(seen);
    if overlap >= least { i64::from(overlap) } else { 0 }
}

/// Matches the free ones of `among` with the free ones of `seen`, within a group.
fn pair(
    tracker: &mut Tracker,
    look: &Look<'_>,
    among: &[usize],
    seen: &[Seen<'_>],
    matched: &mut [bool],
    used: &mut [bool],
    worth: impl Fn(&Track, Box2) -> i64,
) {
    let tracks: Vec<usize> = among.iter().copied().filter(|t| !matched[*t]).collect();
    let free: Vec<usize> = (0..seen.len()).filter(|d| !used[*d]).collect();
    let pairs = assign(tracks.len(), free.len(), |t, d| {
        let (track, detection) = (&tracker.tracks[tracks[t]], seen[free[d]].1);
        if track.group() == group(&detection.label) { worth(track, detection.bounds) } else { 0 }
    });
    for (t, d) in pairs {
        let (t, d) = (tracks[t], free[d]);
        (matched[t], used[d]) = (true, true);
        tracker.tracks[t].see(look, seen[d].1, tracker.looked);
    }
}

/// The objects in a look, best first: of boxes that show one object, the best. (Detectors suppress within a class, so a
/// van may come as car and truck, and a part of it once more.)
fn distinct(seen: &[Detection]) -> Vec<Seen<'_>> {
    let mut order: Vec<Seen<'_>> = (0..).zip(seen).collect();
    order.sort_by_key(|(index, detection)| (std::cmp::Reverse(detection.score), *index));
    order.truncate(MOST_DETECTIONS);
    let mut kept: Vec<Seen<'_>> = Vec::with_capacity(order.len());
    for (index, detection) in order {
        let same = |(_, other): &Seen<'_>| {
            group(&other.label) == group(&detection.label) && show_one_object(other.bounds, detection.bounds)
        };
        if !kept.iter().any(same) {
            kept.push((index, detection));
        }
    }
    kept
}

/// Whether two boxes overlap almost wholly, or one lies in the other and is a good part of it.
fn show_one_object(a: Box2, b: Box2) -> bool {
    let (smaller, larger) = (a.area().min(b.area()), a.area().max(b.area()));
    let within = i128::from(a.intersection(b)) * 100 >= i128::from(smaller) * 85;
    a.iou(b) >= SAME_OVERLAP || within && smaller > 0 && smaller >= larger / 4
}
