//! The kinds of objects in the bucket, one a prefix.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ObjectKey;

/// What an object is. What says what an epoch is has no kind: it is kept as long as the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// The video of segments in which something was seen.
    Video,
    /// Full frames that show what was seen.
    Snapshots,
    /// The outcome log.
    Log,
    /// Closed events.
    Events,
    /// What failed for good.
    Quarantine,
    /// The video of jobs that were too large for their messages.
    Jobs,
    /// What waits for a broker that is away.
    Spool,
}

impl ObjectKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Video, Self::Snapshots, Self::Log, Self::Events, Self::Quarantine, Self::Jobs, Self::Spool];

    /// Those that others may want to hear of.
    pub const NOTIFIED: [Self; 3] = [Self::Events, Self::Snapshots, Self::Quarantine];

    /// Its name: its prefix without the `/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Snapshots => "snapshots",
            Self::Log => "log",
            Self::Events => "events",
            Self::Quarantine => "quarantine",
            Self::Jobs => "jobs",
            Self::Spool => "spool",
        }
    }

    /// What every key of this kind begins with.
    pub fn prefix(self) -> String {
        format!("{}/", self.name())
    }

    /// What the object of this key is.
    pub fn of(key: &ObjectKey) -> Option<Self> {
        let (first, _) = key.as_str().split_once('/')?;
        Self::ALL.into_iter().find(|kind| kind.name() == first)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Digest, Epoch};

    #[test]
    fn every_key_is_of_the_kind_that_it_says() {
        let segment = "gate/1/2".parse().unwrap();
        let digest = Digest::of(b"x");
        for (key, kind) in [
            (ObjectKey::video(&segment), Some(ObjectKind::Video)),
            (ObjectKey::snapshot(&segment, 3), Some(ObjectKind::Snapshots)),
            (ObjectKey::log(digest), Some(ObjectKind::Log)),
            (ObjectKey::parse(&format!("{}gate/media/e.json", ObjectKey::EVENTS)).unwrap(), Some(ObjectKind::Events)),
            (ObjectKey::quarantine(&segment, 0), Some(ObjectKind::Quarantine)),
            (ObjectKey::quarantine_unreadable(digest), Some(ObjectKind::Quarantine)),
            (ObjectKey::in_flight(&segment), Some(ObjectKind::Jobs)),
            (ObjectKey::parse(&format!("{}gate/1", ObjectKey::SPOOL)).unwrap(), Some(ObjectKind::Spool)),
            (ObjectKey::epoch(&segment.camera, Epoch(1)), None),
            (ObjectKey::parse("events").unwrap(), None),
        ] {
            assert_eq!(ObjectKind::of(&key), kind, "{key}");
        }
        for kind in ObjectKind::ALL {
            let named: ObjectKind = serde_json::from_value(kind.name().into()).unwrap();
            assert_eq!(named, kind);
        }
    }
}
