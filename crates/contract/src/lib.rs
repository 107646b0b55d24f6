//! What the parts of Detektor promise each other: pure types, names, the wire form and the fold.
//!
//! Invariant: nothing here does I/O, reads a clock, draws a random number or is async. Equal input gives equal
//! output on every machine, so floats appear only inside the tracker, in operations IEEE 754 rounds exactly.

mod detection;
mod epochs;
mod event;
mod fault;
mod ids;
mod job;
mod keys;
mod kinds;
mod ledger;
pub mod names;
mod outcome;
mod time;
pub mod wire;

pub mod fold;

pub use detection::{Box2, Detection, InvalidScore, Label, Score};
pub use epochs::{EpochRecord, InvalidEpochRecord};
pub use event::{BestLook, CloseReason, Event, EventChange, EventState};
pub use fault::{Fault, Faulty};
pub use ids::{CameraId, Digest, Epoch, EventId, Generation, InvalidId, Position, SegmentId, Sequence};
pub use job::{
    Codec, DetectPolicy, EventRules, InvalidPolicy, KeepVideo, MediaInfo, Payload, Sampling, Seam, SegmentJob, Span,
};
pub use keys::ObjectKey;
pub use kinds::ObjectKind;
pub use ledger::{Gap, Ledger};
pub use outcome::{
    EndReason, EngineId, Failed, Fate, Frame, GapCause, KeptVideo, Marker, Outcome, OutcomeBody, SegmentResult,
    ShedReason, Skipped, SnapshotRef, Tombstone,
};
pub use time::{Clock, TimeUs};
