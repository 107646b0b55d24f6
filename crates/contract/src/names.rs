//! Names that more than one part uses: queues, message headers, metrics.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many partitions there are unless configured otherwise.
pub const DEFAULT_PARTITIONS: u16 = 10;

/// The exchange that work is published to. A partition's queue takes new work as long as it is bound to it.
pub const WORK_EXCHANGE: &str = "detektor.work";

/// What every metric's name begins with.
pub const METRIC_PREFIX: &str = "detektor";

/// W3C trace context, carried with every message.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// When the segment closed, in Unix microseconds. A measurement only: nothing settled depends on it.
pub const HEADER_CLOSED_AT: &str = "detektor-closed-at-us";
/// When the segment's last frame was captured, in Unix microseconds. A measurement only.
pub const HEADER_CAPTURED_AT: &str = "detektor-captured-at-us";
/// On an outcome: when detect took its job in hand, in Unix microseconds. A measurement only.
pub const HEADER_TAKEN_AT: &str = "detektor-taken-at-us";
/// On an outcome: when detect published it, in Unix microseconds. A measurement only.
pub const HEADER_PUBLISHED_AT: &str = "detektor-published-at-us";
/// On an outcome: how long decoding, the gate, the model and snapshots took, in microseconds. A measurement only.
pub const HEADER_LOOKED: &str = "detektor-looked-us";
/// On a dead letter: the error that ended it, for people.
pub const HEADER_ERROR: &str = "detektor-error";
/// On a dead letter: how often it was tried.
pub const HEADER_ATTEMPTS: &str = "detektor-attempts";
/// On a dead letter: the name of the queue that it comes from.
pub const HEADER_QUEUE: &str = "detektor-queue";
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
    /// Both.
    pub const ALL: [Work; 2] = [Work::Detect, Work::Merge];

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

/// A text that names no queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue name {0:?}: expected detect.NN, merge.NN, dead.detect or dead.merge")]
pub struct InvalidQueue(pub String);

impl FromStr for Queue {
    type Err = InvalidQueue;
    fn from_str(s: &str) -> Result<Self, InvalidQueue> {
        let work = |name: &str| Work::ALL.into_iter().find(|w| w.name() == name);
        let queue = match s.split_once('.') {
            Some(("dead", name)) => work(name).map(Queue::Dead),
            Some((name, partition)) => work(name).zip(partition.parse().ok()).map(|(w, p)| Queue::Work(w, p)),
            None => None,
        };
        queue.filter(|q| q.to_string() == s).ok_or_else(|| InvalidQueue(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names_read_back() {
        for queue in [Queue::Work(Work::Detect, 7), Queue::Work(Work::Merge, 123), Queue::Dead(Work::Merge)] {
            assert_eq!(queue.to_string().parse(), Ok(queue));
        }
        for bad in ["", "detect", "detect.7", "detect.+7", "dead.x", "dead.detect.1", "merge.99999"] {
            assert!(bad.parse::<Queue>().is_err(), "{bad}");
        }
    }

    #[test]
    fn dead_letters_do_not_look_like_work() {
        assert_eq!(Queue::Work(Work::Detect, 7).to_string(), "detect.07");
        assert_eq!(Queue::Dead(Work::Detect).to_string(), "dead.detect");
    }
}
