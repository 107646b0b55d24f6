//! What each subcommand does.

pub mod cluster;
pub mod doctor;
pub mod read;
pub mod repair;
