//! The `detektor` command.

fn main() {}
