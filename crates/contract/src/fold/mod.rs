//! The fold: from the set of a camera's outcomes to its tracks, events and ledger.
//!
//! [`CameraFold::apply`] takes one outcome after the other, in `(epoch, sequence)` order. Whoever drives it keeps the
//! outcomes, asks [`CameraFold::expects`] whether the next one is contiguous, and saves [`CameraFold::to_bytes`] now and
//! then as a checkpoint. An outcome that comes late, or replaces one that was applied, is handled by going back to the
//! last checkpoint before it and applying everything from there again; [`diff`] says what that changed.

mod state;

pub use state::{CameraFold, CheckpointError, Limit, Seams, diff};
