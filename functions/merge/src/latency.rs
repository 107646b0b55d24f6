//! How long segments took until their events could be read.

use std::collections::{BTreeMap, HashMap};

use detektor_contract::names::{
    HEADER_CAPTURED_AT, HEADER_CLOSED_AT, HEADER_LOOKED, HEADER_PUBLISHED_AT, HEADER_TAKEN_AT,
};
use detektor_contract::{CameraId, Position};

/// Steps an octave: neighbouring borders lie 4.4 % apart.
const STEPS: f64 = 16.0;
/// Borders from 2^-10 s (a millisecond) to 2^17 s (a day and a half).
const BINS: usize = 27 * STEPS as usize;
/// Segments whose outcome waits behind a hole; of more, the latency is not taken.
const MOST_WAITING: usize = 10_000;

/// What a segment's way is made of: by stage, the time it took there. `handling` is all of it but looking. Stages that lie
/// between two machines are as wrong as their clocks differ.
pub(crate) const STAGES: [&str; 6] = ["to_detect", "detect", "look", "to_merge", "merge", "handling"];

/// What a message's headers say of its segment's way, in Unix microseconds; `looked` in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// When the segment closed.
    pub(crate) closed: Option<i64>,
    /// When its last frame was captured.
    pub(crate) captured: Option<i64>,
    /// When detect took its job in hand.
    taken: Option<i64>,
    /// How long it was looked at.
    looked: Option<i64>,
    /// When detect published its outcome.
    published: Option<i64>,
    /// When merge took its outcome in hand.
    merging: i64,
}

impl Stamps {
    /// Those of a message that merge takes in hand at `merging`.
    pub(crate) fn of(headers: &BTreeMap<String, String>, merging: i64) -> Self {
        let stamp = |name: &str| headers.get(name).and_then(|text| text.parse().ok());
        Self {
            closed: stamp(HEADER_CLOSED_AT),
            captured: stamp(HEADER_CAPTURED_AT),
            taken: stamp(HEADER_TAKEN_AT),
            looked: stamp(HEADER_LOOKED),
            published: stamp(HEADER_PUBLISHED_AT),
            merging,
        }
    }

    /// The way of what became readable at `now`.
    fn way(&self, now: i64) -> Way {
        let seconds = |from: i64, to: i64| to.saturating_sub(from).max(0) as f64 / 1e6;
        let stages = || {
            let (closed, taken, looked, published) = (self.closed?, self.taken?, self.looked?, self.published?);
            let detect = seconds(taken.saturating_add(looked), published);
            let handling = seconds(closed.saturating_add(looked), now);
            let merge = seconds(self.merging, now);
            Some([
                seconds(closed, taken),
                detect,
                seconds(0, looked),
                seconds(published, self.merging),
                merge,
                handling,
            ])
        };
        let since = |stamp: Option<i64>| stamp.map(|stamp| seconds(stamp, now));
        Way { closed: since(self.closed), captured: since(self.captured), stages: stages() }
    }
}

/// How long a segment took until its events could be read, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    /// Since it closed.
    pub(crate) closed: Option<f64>,
    /// Since its last frame was captured.
    pub(crate) captured: Option<f64>,
    /// By stage, as [`STAGES`] names them; none of what detect did not look at.
    pub(crate) stages: Option<[f64; STAGES.len()]>,
}

/// Two quantiles in milliseconds; of nothing, 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
}

/// Latencies of this process, to within 5 %.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Segments measured.
    pub segments: u64,
    /// From a segment closed to its events readable.
    pub from_closed: Percentiles,
    /// From its last frame captured to its events readable.
    pub from_captured: Percentiles,
}

/// Counts by latency.
#[derive(Clone, Debug)]
struct Bins(Vec<u64>);

impl Default for Bins {
    fn default() -> Self {
        Self(vec![0; BINS])
    }
}

impl Bins {
    fn add(&mut self, seconds: f64) {
        let bin = ((seconds.max(0.0).log2() + 10.0) * STEPS).ceil();
        self.0[(bin.max(0.0) as usize).min(BINS - 1)] += 1;
    }

    fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The upper border of the bin that holds the quantile.
    fn quantile_ms(&self, quantile: f64) -> f64 {
        let rank = (self.count() as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bin = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bin.map_or(0.0, |bin| 1_000.0 * (bin as f64 / STEPS - 10.0).exp2())
    }

    fn percentiles(&self) -> Percentiles {
        Percentiles { p50_ms: self.quantile_ms(0.5), p99_ms: self.quantile_ms(0.99) }
    }
}

/// What became readable, and what still waits.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    waiting: HashMap<CameraId, BTreeMap<Position, Stamps>>,
    held: usize,
    closed: Bins,
    captured: Bins,
}

impl Stopwatch {
    /// An outcome was taken in.
    pub(crate) fn start(&mut self, camera: &CameraId, at: Position, stamps: Stamps) {
        if (stamps.closed.is_some() || stamps.captured.is_some()) && self.held < MOST_WAITING {
            let known = self.waiting.entry(camera.clone()).or_default().insert(at, stamps);
            self.held += usize::from(known.is_none());
        }
    }

    /// What waits up to here became readable when another process folded the camera: nobody knows how long that took.
    pub(crate) fn forget(&mut self, camera: &CameraId, until: Option<Position>) {
        until.into_iter().for_each(|until| drop(self.take(camera, until)));
    }

    /// A camera is folded up to `frontier`. Answers what became readable.
    pub(crate) fn stop(&mut self, camera: &CameraId, frontier: Position, now: i64) -> Vec<Way> {
        let ways: Vec<Way> = self.take(camera, frontier).into_iter().map(|stamps| stamps.way(now)).collect();
        for way in &ways {
            way.closed.iter().for_each(|seconds| self.closed.add(*seconds));
            way.captured.iter().for_each(|seconds| self.captured.add(*seconds));
        }
        ways
    }

    /// What waits up to `frontier`; it waits no more.
    fn take(&mut self, camera: &CameraId, frontier: Position) -> Vec<Stamps> {
        let Some(waiting) = self.waiting.get_mut(camera) else { return Vec::new() };
        let mut later = waiting.split_off(&frontier);
        let at_frontier = later.remove(&frontier);
        let done: Vec<Stamps> = std::mem::replace(waiting, later).into_values().chain(at_frontier).collect();
        if waiting.is_empty() {
            self.waiting.remove(camera);
        }
        self.held -= done.len();
        done
    }

    pub(crate) fn latencies(&self) -> Latencies {
        Latencies {
            segments: self.closed.count(),
            from_closed: self.closed.percentiles(),
            from_captured: self.captured.percentiles(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use detektor_contract::Epoch;

    fn at(sequence: u64) -> Position {
        Position { epoch: Epoch(1), sequence }
    }

    #[test]
    fn quantiles_are_close_enough() {
        let mut bins = Bins::default();
        assert_eq!(bins.percentiles(), Percentiles::default());
        (1..=1_000).for_each(|ms| bins.add(f64::from(ms) / 1e3));
        let Percentiles { p50_ms, p99_ms } = bins.percentiles();
        assert!((500.0..525.0).contains(&p50_ms), "{p50_ms}");
        assert!((990.0..1_040.0).contains(&p99_ms), "{p99_ms}");
        bins.add(0.0);
        bins.add(1e12);
        bins.add(f64::NAN);
    }

    #[test]
    fn what_waits_behind_a_hole_counts_when_it_is_folded() {
        let camera = CameraId::new("gate").unwrap();
        let mut watch = Stopwatch::default();
        let stamps = Stamps { closed: Some(1_000_000), ..Stamps::default() };
        let since = |ways: Vec<Way>| ways.into_iter().map(|way| (way.closed, way.captured)).collect::<Vec<_>>();
        watch.start(&camera, at(0), stamps);
        watch.start(&camera, at(2), stamps);
        assert_eq!(since(watch.stop(&camera, at(0), 1_500_000)), [(Some(0.5), None)]);
        assert_eq!(watch.stop(&camera, at(1), 1_600_000), []);
        assert_eq!(since(watch.stop(&camera, at(2), 3_000_000)), [(Some(2.0), None)]);
        assert_eq!((watch.held, watch.waiting.len(), watch.latencies().segments), (0, 0, 2));
    }

    #[test]
    fn what_another_process_made_readable_is_not_measured() {
        let camera = CameraId::new("gate").unwrap();
        let mut watch = Stopwatch::default();
        let stamps = Stamps { closed: Some(1_000_000), ..Stamps::default() };
        watch.start(&camera, at(1), stamps);
        watch.forget(&camera, None);
        assert_eq!(watch.held, 1);
        // It had 0, and folded both.
        watch.forget(&camera, Some(at(1)));
        watch.start(&camera, at(2), stamps);
        assert_eq!(watch.stop(&camera, at(2), 1_500_000).len(), 1);
        assert_eq!((watch.held, watch.latencies().segments), (0, 1));
    }

    #[test]
    fn a_way_is_the_sum_of_its_stages() {
        let header = |(name, at): (&str, i64)| (name.to_owned(), at.to_string());
        let all = [
            (HEADER_CLOSED_AT, 1_000_000),
            (HEADER_TAKEN_AT, 1_003_000),
            (HEADER_LOOKED, 40_000),
            (HEADER_PUBLISHED_AT, 1_048_000),
        ];
        let way = |headers: &[_], now| Stamps::of(&headers.iter().copied().map(header).collect(), 1_050_000).way(now);
        let found = way(&all, 1_060_000);
        assert_eq!(found.stages, Some([0.003, 0.005, 0.04, 0.002, 0.01, 0.02]));
        assert_eq!(found.closed, Some(0.06));
        // A clock that is behind takes nothing from the others.
        assert_eq!(way(&all, 1_000).stages, Some([0.003, 0.005, 0.04, 0.002, 0.0, 0.0]));
        assert_eq!(way(&all[..2], 1_060_000).stages, None);
    }
}
