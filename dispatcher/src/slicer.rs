//! Where a stream is cut: access units' facts in, borders out. Pure, and blind to the data itself.
//!
//! A segment is what decodes alone. The cases, in the order in which they are common:
//!
//! * A key frame that nothing before it follows (IDR): the segment ends before it.
//! * A key frame with leading pictures (open GOP): they are shown before it, and only the older segment can decode them.
//!   So the older segment ends with a copy of the key frame (*post-roll*: decoded, not counted) and with them, and they
//!   are left out of the next. Presentation order is then contiguous over segments.
//! * A GOP longer than [`Limits::max`]: cut inside, where presentation order allows it. Later parts carry the GOP's
//!   earlier units as *pre-roll*, likewise decoded and not counted.
//! * A gradual refresh: no border, but later parts need nothing from before a refresh that was complete.
//! * Units before the first key frame: nobody can decode them. A file's are counted all the same.

use std::collections::VecDeque;

mod gop;
pub mod timeline;
mod unit;

#[cfg(test)]
mod tests;

use gop::{Gop, Lead};
pub use unit::{Cut, Entry, Facts, Leading, Slice, Unit};

/// How long segments are, in ticks of the stream, and how much is held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A segment ends at the first key frame after about so long.
    pub target: i64,
    /// A segment without a key frame is cut here.
    pub max: i64,
    /// The length of a frame where timestamps do not tell.
    pub frame: i64,
    /// The bytes of one segment, pre-roll included. A GOP that outgrows them cannot be decoded to its end.
    pub bytes: usize,
    /// Whether units before the first key frame count (files) or are not captured at all (cameras).
    pub count_before_key: bool,
}

/// The most units a segment accounts for; only broken timestamps reach it.
const MAX_UNITS: usize = 1_000;
/// A run of leading pictures is never longer in a sane stream: H.264 and H.265 hold at most 16 pictures back.
const MAX_REORDER: usize = 32;

/// The segment being filled.
struct Open<T> {
    units: Vec<Unit<T>>,
    /// How many units at the front repeat the GOP's earlier ones.
    pre_roll: usize,
    bytes: usize,
    start: i64,
    /// The largest presentation time so far.
    newest: i64,
}

/// A key frame at which the open segment ends, once it is known which leading pictures follow.
struct Border<T> {
    /// The key frame, and its second field where that is a unit of its own.
    key: Vec<Unit<T>>,
    leading: Vec<Unit<T>>,
}

/// A segment cut inside a GOP, whose end is known once the next units' presentation times are.
struct Closing<T> {
    cut: Cut<T>,
    /// Presentation time of the unit it was cut before.
    at: i64,
    seen: usize,
}

/// Units that nobody can decode.
#[derive(Clone, Copy)]
struct Run {
    frames: u32,
    start: i64,
    end: i64,
    before_key: bool,
}

/// Decides where a stream is cut. Feed it every unit in decode order, take slices out, then [`Slicer::finish`].
pub struct Slicer<T> {
    limits: Limits,
    gop: Gop<T>,
    open: Option<Open<T>>,
    border: Option<Border<T>>,
    closing: Option<Closing<T>>,
    run: Option<Run>,
    /// A key frame was seen, and the GOP has been held since.
    decodable: bool,
    ever_decodable: bool,
    last_frame: i64,
    long_gop: bool,
    out: VecDeque<Slice<T>>,
}

impl<T: Clone> Slicer<T> {
    /// A slicer that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            gop: Gop::default(),
            open: None,
            border: None,
            closing: None,
            run: None,
            decodable: false,
            ever_decodable: false,
            last_frame: limits.frame.max(1),
            long_gop: false,
            out: VecDeque::new(),
        }
    }

    /// Whether a GOP was longer than the longest segment, so that frames are decoded more than once.
    pub fn long_gop(&self) -> bool {
        self.long_gop
    }

    /// Whether what comes next can be decoded.
    pub fn decodable(&self) -> bool {
        self.decodable
    }

    /// The next finished slice.
    pub fn pop(&mut self) -> Option<Slice<T>> {
        self.out.pop_front()
    }

    /// Takes the next unit in decode order.
    pub fn push(&mut self, unit: Unit<T>) {
        if let Some(border) = &mut self.border {
            let key = &border.key[0].facts;
            if border.leading.is_empty() && border.key.len() == 1 && unit.facts.second_field {
                return border.key.push(unit);
            }
            if unit.facts.leads(key) && border.leading.len() < MAX_REORDER {
                return border.leading.push(unit);
            }
            self.settle_border();
        }
        match unit.facts.entry {
            Entry::Closed | Entry::Open => self.key_frame(unit),
            Entry::Gradual { .. } if !self.decodable => self.begin(unit, Lead::Lost),
            Entry::Gradual { .. } | Entry::None if self.decodable => self.follow(unit),
            Entry::Gradual { .. } | Entry::None => self.cannot_decode(&unit.facts, !self.ever_decodable),
        }
        self.watch_closing();
    }

    /// The stream broke off here, or its clock jumped: the open segment ends. With `goes_on` the next units still refer to
    /// those before the break; without, it is as if the stream began anew.
    pub fn interrupt(&mut self, goes_on: bool) {
        self.settle_border();
        self.close(None);
        self.flush_closing();
        self.flush_run();
        if !goes_on {
            self.gop.clear();
            self.decodable = false;
            self.ever_decodable = false;
        }
    }

    /// The stream is over: what is held comes out.
    pub fn finish(&mut self) {
        self.interrupt(false);
    }

    fn key_frame(&mut self, key: Unit<T>) {
        let Some(open) = &self.open else {
            let refers_back = key.facts.entry == Entry::Open && !self.gop.is_empty();
            // After an interruption, an open GOP's leading pictures still refer to the GOP before it.
            if refers_back && self.open_part(&key.facts) {
                self.gop.restart(key.clone(), Lead::Held);
                return self.append(key);
            }
            return self.begin(key, Lead::Lost);
        };
        let same_sets = open.units.first().is_some_and(|first| first.facts.config == key.facts.config);
        if same_sets && !open.may_end(&key.facts, &self.limits) {
            self.gop.restart(key.clone(), Lead::Held);
            self.append(key);
        } else if same_sets && key.facts.entry == Entry::Open {
            self.border = Some(Border { key: vec![key], leading: Vec::new() });
        } else {
            self.close(Some(key.facts.pts));
            self.begin(key, Lead::Lost);
        }
    }

    fn settle_border(&mut self) {
        let Some(Border { key, leading }) = self.border.take() else { return };
        let Some(at) = key.first().map(|key| key.facts.pts) else { return };
        if let Some(open) = &mut self.open
            && !leading.is_empty()
        {
            key.iter().cloned().for_each(|unit| open.push(unit.uncounted()));
            leading.into_iter().for_each(|unit| open.push(unit));
        }
        self.close(Some(at));
        for (n, unit) in key.into_iter().enumerate() {
            if n == 0 { self.begin(unit, Lead::Done) } else { self.follow(unit) }
        }
    }

    /// Begins a segment at a unit that decodes alone.
    fn begin(&mut self, key: Unit<T>, lead: Lead) {
        self.decodable = true;
        self.ever_decodable = true;
        self.open = Some(Open::new(Vec::new(), &key.facts));
        self.gop.restart(key.clone(), lead);
        self.append(key);
    }

    /// Begins a segment inside a GOP; says whether that can be decoded.
    fn open_part(&mut self, first: &Facts) -> bool {
        if self.gop.is_empty() || self.gop.bytes() > self.limits.bytes / 2 {
            return false;
        }
        self.open = Some(Open::new(self.gop.pre_roll(), first));
        true
    }

    /// Takes a unit that refers to earlier ones.
    fn follow(&mut self, unit: Unit<T>) {
        let facts = unit.facts;
        let leads = self.gop.leading(&facts);
        if leads == Some(Lead::Lost) && facts.leading != Leading::Decodable {
            return self.cannot_decode(&facts, true);
        }
        if leads.is_none() && self.must_cut_before(&facts) {
            self.cut_inside(facts.pts);
        }
        if self.open.is_none() && !self.open_part(&facts) {
            self.gop.clear();
            self.decodable = false;
            return self.cannot_decode(&facts, false);
        }
        if leads.is_some() {
            // Nothing that is shown after the key frame refers to it.
            return self.append(unit);
        }
        self.gop.push(unit.clone());
        self.append(unit);
    }

    fn must_cut_before(&self, next: &Facts) -> bool {
        let Some(open) = &self.open else { return false };
        if next.second_field {
            return false;
        }
        // Parts grow with what they must repeat, so that a GOP of any length is decoded about five times at most.
        let repeated = open.units.first().map_or(0, |first| open.start.saturating_sub(first.facts.pts));
        let longest = self.limits.max.max(repeated / 4);
        let long = next.pts > open.newest && next.pts.saturating_sub(open.start) >= longest;
        long || open.is_full(next, &self.limits)
    }

    fn cut_inside(&mut self, at: i64) {
        self.flush_closing();
        self.flush_run();
        self.long_gop = true;
        // The pictures that follow may be shown before the one at which we cut: their times say when this segment ends.
        let cut = self.open.take().and_then(|open| Cut::new(open.units, Some(at), self.last_frame));
        self.closing = cut.map(|cut| Closing { cut, at, seen: 0 });
    }

    fn watch_closing(&mut self) {
        let Some(closing) = &mut self.closing else { return };
        closing.seen += 1;
        let newest = self.open.as_ref().map_or(i64::MAX, |open| open.newest);
        if newest > closing.at || closing.seen > MAX_REORDER {
            self.flush_closing();
        }
    }

    fn flush_closing(&mut self) {
        let Some(Closing { mut cut, .. }) = self.closing.take() else { return };
        if let Some(open) = &self.open {
            let shown = open.units.iter().filter(|unit| unit.counted).map(|unit| unit.facts.pts);
            cut.end = shown.fold(cut.end, i64::min).max(cut.newest.saturating_add(1));
        }
        self.last_frame = cut.last_frame;
        self.out.push_back(Slice::Segment(cut));
    }

    fn append(&mut self, unit: Unit<T>) {
        if let Some(open) = &mut self.open {
            open.push(unit);
        }
    }

    fn close(&mut self, end: Option<i64>) {
        let Some(open) = self.open.take() else { return };
        self.flush_closing();
        self.flush_run();
        if let Some(cut) = Cut::new(open.units, end, self.last_frame) {
            self.last_frame = cut.last_frame;
            self.out.push_back(Slice::Segment(cut));
        }
    }

    fn cannot_decode(&mut self, facts: &Facts, before_key: bool) {
        if facts.hidden || (before_key && !self.limits.count_before_key) {
            return;
        }
        self.flush_closing();
        if self.run.is_some_and(|run| run.before_key != before_key || run.is_full(facts.pts, self.limits.max)) {
            self.flush_run();
        }
        let end = facts.pts.saturating_add(self.last_frame);
        let run = self.run.get_or_insert(Run { frames: 0, start: facts.pts, end, before_key });
        run.frames += 1;
        run.start = run.start.min(facts.pts);
        run.end = run.end.max(end);
    }

    fn flush_run(&mut self) {
        if let Some(Run { frames, start, end, before_key }) = self.run.take() {
            self.out.push_back(Slice::Undecodable { frames, start, end, before_key });
        }
    }
}

impl Run {
    fn is_full(&self, pts: i64, max: i64) -> bool {
        self.frames as usize >= MAX_UNITS || pts.saturating_sub(self.start) >= max
    }
}

impl<T> Open<T> {
    /// Opens with the GOP's earlier units, for what begins at `first`.
    fn new(pre_roll: Vec<Unit<T>>, first: &Facts) -> Self {
        let bytes = pre_roll.iter().map(|unit| unit.facts.bytes).sum();
        Self { pre_roll: pre_roll.len(), units: pre_roll, bytes, start: first.pts, newest: first.pts }
    }

    fn push(&mut self, unit: Unit<T>) {
        self.bytes += unit.facts.bytes;
        self.start = self.start.min(unit.facts.pts);
        self.newest = self.newest.max(unit.facts.pts);
        self.units.push(unit);
    }

    fn is_full(&self, next: &Facts, limits: &Limits) -> bool {
        self.bytes + next.bytes > limits.bytes || self.units.len() - self.pre_roll >= MAX_UNITS
    }

    /// Whether it is time to end at a key frame.
    fn may_end(&self, key: &Facts, limits: &Limits) -> bool {
        let long_enough = limits.target - limits.target / 4;
        // A segment with pre-roll is dear: the sooner it ends the better.
        self.pre_roll > 0 || key.pts.saturating_sub(self.start) >= long_enough || self.is_full(key, limits)
    }
}
