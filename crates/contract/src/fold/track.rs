//! One track: where an object is, what it is, and how well it was seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kalman::Kalman;
use crate::{
    BestLook, Box2, CameraId, Clock, Detection, Event, EventId, EventRules, EventState, Label, ObjectKey, Position,
    Score, SegmentId, TimeUs,
};

/// A box that overlaps the anchor at least this much (ten-thousandths) stays put.
const PUT: u16 = 6_000;
/// So many looks in a row away from the anchor mean that it moved: one alone may be somebody who walked past in front.
const AWAY_LOOKS: u8 = 3;

/// The frame that is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) position: Position,
    pub(super) frame: u32,
    pub(super) at: TimeUs,
    pub(super) picture: [u32; 2],
    pub(super) snapshot: Option<&'a ObjectKey>,
    pub(super) rules: &'a EventRules,
}

/// Where a track was first seen: what its event is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct FirstSeen {
    position: Position,
    frame: u32,
    object: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    position: Position,
    frame: u32,
    at: TimeUs,
    score: Score,
    bounds: Box2,
    picture: [u32; 2],
    snapshot: Option<ObjectKey>,
    quality: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    first: FirstSeen,
    start: TimeUs,
    end: TimeUs,
    last: Position,
    looks: u32,
    best: Best,
    best_score: Score,
    /// The class with the most score; of equals the first by name.
    label: Label,
    /// Score that each class has gathered.
    labels: BTreeMap<Label, u64>,
    /// Whether there is an event of it.
    pub(super) open: bool,
    pub(super) stationary: bool,
    /// Looks since it was seen.
    pub(super) misses: u32,
    /// The tracker's looked-at time when it was last seen, in microseconds.
    pub(super) seen_at: i64,
    /// The latest 16 looks, newest in the lowest bit: whether it reached the score that opens.
    history: u16,
    kalman: Kalman,
    /// Where it was last seen.
    bounds: Box2,
    /// Where it has been since `anchor_at`.
    anchor: Box2,
    anchor_at: TimeUs,
    /// Looks in a row that saw it away from the anchor.
    away: u8,
}

impl Best {
    fn new(look: &Look<'_>, seen: &Detection) -> Self {
        Self {
            position: look.position,
            frame: look.frame,
            at: look.at,
            score: seen.score,
            bounds: seen.bounds,
            picture: look.picture,
            snapshot: look.snapshot.cloned(),
            quality: seen.quality(look.picture),
        }
    }

    /// Whether this one shows more. One that can be shown at all is better than one that cannot.
    fn beats(&self, other: &Best) -> bool {
        (self.snapshot.is_some(), self.quality) > (other.snapshot.is_some(), other.quality)
    }
}

/// What objects may be taken for one another: cars look like trucks, bicycles like motorcycles.
pub(super) fn group(label: &Label) -> &str {
    match label.as_str() {
        "car" | "truck" | "bus" | "train" => "vehicle",
        "bicycle" | "motorcycle" => "two-wheeler",
        other => other,
    }
}

impl Track {
    pub(super) fn new(look: &Look<'_>, object: u32, seen: &Detection, looked: i64) -> Self {
        Self {
            first: FirstSeen { position: look.position, frame: look.frame, object },
            start: look.at,
            end: look.at,
            last: look.position,
            looks: 1,
            best: Best::new(look, seen),
            best_score: seen.score,
            label: seen.label.clone(),
            labels: BTreeMap::from([(seen.label.clone(), u64::from(seen.score.ten_thousandths()))]),
            open: false,
            stationary: false,
            misses: 0,
            seen_at: looked,
            history: u16::from(seen.score >= look.rules.open_score),
            kalman: Kalman::new(seen.bounds),
            bounds: seen.bounds,
            anchor: seen.bounds,
            anchor_at: look.at,
            away: 0,
        }
    }

    /// Moves on to a look, `dt` seconds after the one before.
    pub(super) fn predict(&mut self, dt: f64) {
        self.kalman.predict(dt);
    }

    /// Takes in a detection.
    pub(super) fn see(&mut self, look: &Look<'_>, seen: &Detection, looked: i64) {
        self.kalman.correct(seen.bounds);
        self.end = look.at;
        self.last = look.position;
        self.looks = self.looks.saturating_add(1);
        self.misses = 0;
        self.seen_at = looked;
        self.history = self.history << 1 | u16::from(seen.score >= look.rules.open_score);
        self.bounds = seen.bounds;
        self.best_score = self.best_score.max(seen.score);
        self.count_label(seen.label.clone(), u64::from(seen.score.ten_thousandths()));
        let best = Best::new(look, seen);
        if best.beats(&self.best) {
            self.best = best;
        }
        self.stay(look);
    }

    /// Notes that a look did not find it.
    pub(super) fn miss(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.history <<= 1;
        self.kalman.hold_size();
    }

    /// Whether it stays where it is.
    fn stay(&mut self, look: &Look<'_>) {
        if self.anchor.iou(self.bounds) >= PUT {
            self.away = 0;
        } else {
            self.away = self.away.saturating_add(1);
        }
        if self.away >= AWAY_LOOKS {
            self.anchor = self.bounds;
            self.anchor_at = look.at;
            self.away = 0;
            self.stationary = false;
        } else if self.away == 0 && look.at.since(self.anchor_at) >= i64::from(look.rules.stationary_after_ms) * 1_000 {
            self.stationary = true;
        }
        if self.stationary {
            self.kalman.hold();
        }
    }

    /// Whether its last looks are enough for an event.
    pub(super) fn convinces(&self, rules: &EventRules) -> bool {
        let window = u32::from(rules.open_window.clamp(1, 16));
        let looks = u32::from(rules.open_looks).clamp(1, window);
        let seen = u32::from(self.history) & ((1 << window) - 1);
        seen.count_ones() >= looks
    }

    /// Whether it is over. `looked` is the tracker's looked-at time.
    pub(super) fn is_lost(&self, rules: &EventRules, looked: i64) -> bool {
        let lost = looked.saturating_sub(self.seen_at) >= i64::from(rules.lost_after_ms) * 1_000;
        match (self.open, self.stationary) {
            (false, _) => lost || self.misses > u32::from(rules.open_window),
            (true, false) => lost,
            (true, true) => lost && self.misses >= u32::from(rules.stationary_misses),
        }
    }

    /// What may be taken for it.
    pub(super) fn group(&self) -> &str {
        group(&self.label)
    }

    fn count_label(&mut self, label: Label, score: u64) {
        let gathered = self.labels.entry(label).or_default();
        *gathered = gathered.saturating_add(score);
        let most = self.labels.iter().max_by_key(|(label, score)| (**score, std::cmp::Reverse(*label)));
        if let Some((label, _)) = most {
            self.label = label.clone();
        }
    }

    /// Overlap of a detection with where it should be, in ten-thousandths. What stays put may also be where it stood.
    pub(super) fn overlap(&self, seen: Box2) -> u16 {
        let moved = self.kalman.bounds().iou(seen);
        if self.stationary { moved.max(self.anchor.iou(seen)) } else { moved }
    }

    /// Squared Mahalanobis distance of a detection from where it should be.
    pub(super) fn distance(&self, seen: Box2) -> f64 {
        self.kalman.distance(seen)
    }

    /// Overlap of where a track was seen with where another stood or was last seen, in ten-thousandths.
    pub(super) fn overlap_of_places(&self, newer: &Track) -> u16 {
        let here = if self.stationary { self.anchor } else { self.bounds };
        let there = [newer.bounds, newer.anchor];
        there.iter().flat_map(|b| [self.bounds.iou(*b), here.iou(*b)]).max().unwrap_or(0)
    }

    /// Takes over what a younger track of the same object saw.
    pub(super) fn continue_with(&mut self, newer: Track) {
        self.end = newer.end;
        self.last = newer.last;
        self.looks = self.looks.saturating_add(newer.looks);
        self.misses = newer.misses;
        self.seen_at = newer.seen_at;
        self.history = newer.history;
        self.kalman = newer.kalman;
        self.bounds = newer.bounds;
        self.best_score = self.best_score.max(newer.best_score);
        for (label, score) in newer.labels {
            self.count_label(label, score);
        }
        if newer.best.beats(&self.best) {
            self.best = newer.best;
        }
        if self.anchor.iou(self.bounds) >= PUT {
            self.away = 0;
        } else {
            self.anchor = newer.anchor;
            self.anchor_at = newer.anchor_at;
            self.away = newer.away;
            self.stationary = newer.stationary;
        }
    }

    /// The event that tells of it.
    pub(super) fn event(&self, camera: &CameraId, clock: Clock, state: EventState) -> Event {
        let segment = |at: Position| SegmentId { camera: camera.clone(), epoch: at.epoch, sequence: at.sequence };
        let first_segment = segment(self.first.position);
        Event {
            id: EventId::new(&first_segment, self.first.frame, self.first.object),
            camera: camera.clone(),
            label: self.label.clone(),
            state,
            start: self.start,
            end: self.end,
            clock,
            best: BestLook {
                segment: segment(self.best.position),
                frame: self.best.frame,
                at: self.best.at,
                score: self.best.score,
                bounds: self.best.bounds,
                picture: self.best.picture,
                snapshot: self.best.snapshot.clone(),
            },
            best_score: self.best_score,
            first_segment,
            last_segment: segment(self.last),
            looks: self.looks,
            stationary: self.stationary,
        }
    }
}
