//! What each subcommand does.

pub mod doctor;
pub mod read;
pub mod repair;
