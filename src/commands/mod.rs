//! What each subcommand does.

pub mod read;
