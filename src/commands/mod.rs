//! What each subcommand does.

pub mod cluster;
mod data;
pub mod doctor;
pub mod prune;
pub mod read;
pub mod repair;
