//! What goes into the slicer and what comes out.

/// Whether decoding can begin at an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It refers to earlier units.
    None,
    /// After so many reference pictures from here, pictures are whole (gradual refresh).
    Gradual {
        /// The recovery count.
        frames: u32,
    },
    /// Here, but units that follow may be shown before it and refer to what is before it (H.265: CRA, or any border with
    /// leading pictures; H.264: an I picture with recovery count 0).
    Open,
    /// Here, and nothing that follows is shown before it (H.264: IDR; H.265: IDR without leading pictures).
    Closed,
}

/// Whether a unit that follows a key frame is shown before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leading {
    /// Its kind does not say; its time does (H.264).
    ByTime,
    /// No (H.265).
    No,
    /// Yes, and it refers to nothing before the key frame (H.265: RADL).
    Decodable,
    /// Yes, and it refers to what is before the key frame (H.265: RASL).
    Skipped,
}

/// What the slicer knows of an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When it is shown, in ticks on one continuous timeline. No two are equal.
    pub pts: i64,
    /// Its length in bytes.
    pub bytes: usize,
    /// Whether decoding can begin here.
    pub entry: Entry,
    /// Whether it is shown before the key frame it follows.
    pub leading: Leading,
    /// Whether others may refer to it.
    pub reference: bool,
    /// The second field of the frame that the previous unit began.
    pub second_field: bool,
    /// Decoded for others' sake and never shown: outside the file's edit list. Does not count as captured.
    pub hidden: bool,
    /// Which parameter sets are in force, by a number that rises where a segment must not reach over their change.
    pub config: u32,
}

impl Facts {
    /// Whether this unit, which follows `key` in decode order, is shown before it.
    pub fn leads(&self, key: &Facts) -> bool {
        match self.leading {
            Leading::ByTime => self.pts < key.pts,
            Leading::No => false,
            Leading::Decodable | Leading::Skipped => true,
        }
    }
}

/// An access unit: what the slicer knows of it, and what it carries along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit<T> {
    /// What the slicer knows.
    pub facts: Facts,
    /// Whether it counts as a frame of the segment that it is in.
    pub counted: bool,
    /// What is carried along.
    pub data: T,
}

impl<T> Unit<T> {
    /// A unit that counts, unless it is hidden.
    pub fn new(facts: Facts, data: T) -> Self {
        Self { counted: !facts.hidden, facts, data }
    }

    /// The same as pre-roll or post-roll.
    pub(super) fn uncounted(self) -> Self {
        Self { counted: false, ..self }
    }
}

/// A segment: units that decode by themselves, in decode order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut<T> {
    /// The units; at least one is counted.
    pub units: Vec<Unit<T>>,
    /// Presentation time of the first counted unit.
    pub start: i64,
    /// Presentation time at which the last counted unit ends. After `start`.
    pub end: i64,
    /// How many units are counted.
    pub frames: u32,
    /// The largest presentation time of a counted unit.
    pub newest: i64,
    /// How long the last frame before the end is.
    pub(super) last_frame: i64,
}

impl<T> Cut<T> {
    /// A segment of `units`, or none if no unit counts. Without `end` the last frame is as long as the one before it, or
    /// `frame` if there is none.
    pub(super) fn new(units: Vec<Unit<T>>, end: Option<i64>, frame: i64) -> Option<Self> {
        let mut shown: Vec<i64> = units.iter().filter(|unit| unit.counted).map(|unit| unit.facts.pts).collect();
        shown.sort_unstable();
        let (&start, &newest) = (shown.first()?, shown.last()?);
        let last_frame = shown.iter().rev().nth(1).map_or(frame, |before| newest.saturating_sub(*before)).max(1);
        let end = end.unwrap_or(newest.saturating_add(last_frame)).max(newest.saturating_add(1));
        Some(Self { units, start, end, frames: shown.len() as u32, newest, last_frame })
    }
}

/// What the slicer decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice<T> {
    /// A segment.
    Segment(Cut<T>),
    /// Units that were captured and that nobody can decode.
    Undecodable {
        /// How many.
        frames: u32,
        /// Presentation time of the first.
        start: i64,
        /// Presentation time at which the last ends.
        end: i64,
        /// They came before the first key frame; else their GOP outgrew what is held.
        before_key: bool,
    },
}
