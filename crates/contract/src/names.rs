//! Names that more than one part uses: queues, message headers, metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many partitions there are unless configured otherwise.
pub const DEFAULT_PARTITIONS: u16 = 10;

/// What every metric's name begins with.
pub const METRIC_PREFIX: &str = "detektor";

/// W3C trace context, carried with every message.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// When the segment closed, in Unix microseconds. A measurement only: nothing settled depends on it.
pub const HEADER_CLOSED_AT: &str = "detektor-closed-at-us";
/// When the segment's last frame was captured, in Unix microseconds. A measurement only.
pub const HEADER_CAPTURED_AT: &str = "detektor-captured-at-us";
/// The wire form's content type.
pub const CONTENT_TYPE: &str = "application/vnd.detektor";

/// Which work a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Segment jobs.
    Detect,
    /// Outcomes.
    Merge,
}

/// A queue: a kind of work and a partition, or where that kind's poison goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// `detect.NN`, `merge.NN`.
    Work(Work, u16),
    /// `dead.detect`, `dead.merge`.
    Dead(Work),
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Work::Detect => "detect",
            Work::Merge => "merge",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Queue::Work(work, partition) => write!(f, "{}.{partition:02}", work.name()),
            Queue::Dead(work) => write!(f, "dead.{}", work.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_do_not_look_like_work() {
        assert_eq!(Queue::Work(Work::Detect, 7).to_string(), "detect.07");
        assert_eq!(Queue::Dead(Work::Detect).to_string(), "dead.detect");
    }
}
