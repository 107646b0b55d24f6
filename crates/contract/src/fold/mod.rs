//! The fold: from the set of a camera's outcomes to its tracks, events and ledger.
//!
//! [`CameraFold::apply`] takes one outcome after the other, in `(epoch, sequence)` order. Whoever drives it keeps the
//! outcomes, asks [`CameraFold::expects`] whether the next one is contiguous, and saves [`CameraFold::to_bytes`] now and
//! then as a checkpoint. An outcome that comes late, or replaces one that was applied, is handled by going back to the
//! last checkpoint before it and applying everything from there again; [`diff`] says what that changed. [`project`] is
//! the whole of it in one call, for a set that is at hand: what every other way has to agree with.
//!
//! Arithmetic: scores, boxes, times and assignment costs are integers. The Kalman filter and the quality of a look are
//! `f64` and use `+ - * / sqrt` and rounding only, which IEEE 754 defines to the last bit; nothing is fused, and nothing
//! transcendental is called. So every machine gets the same events.

mod assignment;
mod books;
mod diff;
mod events;
mod kalman;
mod project;
mod seams;
mod state;
mod track;
mod tracker;

pub use diff::diff;
pub use project::{Projection, project};
pub use seams::{Limit, Seams};
pub use state::{Applied, CameraFold, CheckpointError, Floor};
