//! The `detektor` command.

mod cli;
mod config;

fn main() {}
