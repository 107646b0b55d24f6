//! What each subcommand does.

pub mod check;
pub mod cluster;
mod data;
pub mod doctor;
pub mod explain;
pub mod migrate;
pub mod prune;
pub mod read;
pub mod repair;
pub mod state;

/// How a tool ends that was told to stop.
const INTERRUPTED: u8 = 130;
