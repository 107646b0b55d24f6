//! CPU time, which other work on the machine disturbs less than it does the clock on the wall.
#![allow(dead_code, clippy::expect_used)]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this thread has used.
pub fn thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What child processes that have ended used, to 10 ms.
pub fn children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // Behind the name, which may hold anything but ends with the last parenthesis: from the third field on.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(10 * ticks)
}
