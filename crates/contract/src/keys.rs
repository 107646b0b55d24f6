//! Object keys: the only place that makes a path in the bucket.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CameraId, Digest, Epoch, Event, EventId, Generation, SegmentId, TimeUs};

/// The name of an object in the bucket: parts of `[A-Za-z0-9._-]` joined by `/`, none of them empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// A text that is no object key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object key {0:?}: expected parts of letters, digits, '.', '_' and '-' joined by '/'")]
pub struct InvalidKey(pub String);

impl ObjectKey {
    /// Everything below it is outcome log.
    pub const LOG: &'static str = "log/";
    /// Everything below it is quarantined.
    pub const QUARANTINE: &'static str = "quarantine/";
    /// Everything below it is a quarantined message that could not be read. No camera's name begins with `_`.
    pub const UNREADABLE: &'static str = "quarantine/_unreadable/";
    /// Everything below it is a closed event.
    pub const EVENTS: &'static str = "events/";
    /// Everything below it says what an epoch is.
    pub const EPOCHS: &'static str = "epochs/";

    /// Everything below it is the video of a job that was too large for its message.
    pub const IN_FLIGHT: &'static str = "jobs/";
    /// Everything below it was captured and not published by a dispatcher that stopped.
    pub const SPOOL: &'static str = "spool/";

    /// Reads a key that was written before.
    pub fn parse(key: &str) -> Result<Self, InvalidKey> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let part_ok = |p: &str| !p.is_empty() && p != "." && p != ".." && p.chars().all(allowed);
        if key.len() <= 512 && key.split('/').all(part_ok) {
            Ok(Self(key.to_owned()))
        } else {
            Err(InvalidKey(key.to_owned()))
        }
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A segment's video: init part and media part.
    pub fn video(segment: &SegmentId) -> Self {
        Self(format!("video/{}/{:020}/{:010}.mp4", segment.camera, segment.epoch.0, segment.sequence))
    }

    /// A large segment on its way to a detect worker.
    pub fn in_flight(segment: &SegmentId) -> Self {
        let SegmentId { camera, epoch, sequence } = segment;
        Self(format!("{}{camera}/{:020}/{sequence:010}.mp4", Self::IN_FLIGHT, epoch.0))
    }

    /// Whose video it is, where [`ObjectKey::in_flight`] made it.
    pub fn segment_in_flight(&self) -> Option<SegmentId> {
        let name = self.0.strip_prefix(Self::IN_FLIGHT)?.strip_suffix(".mp4")?;
        let segment: SegmentId = name.parse().ok()?;
        (Self::in_flight(&segment) == *self).then_some(segment)
    }

    /// A full frame of a segment, by presentation index. The engine's digest keeps two models' choices apart.
    pub fn snapshot(segment: &SegmentId, frame: u32) -> Self {
        Self(format!("snapshots/{}/{:020}/{:010}-{frame:04}.jpg", segment.camera, segment.epoch.0, segment.sequence))
    }

    /// A batch of the outcome log, named by its content.
    pub fn log(batch: Digest) -> Self {
        let name = batch.to_string();
        Self(format!("{}{}/{name}.json", Self::LOG, &name[..2]))
    }

    /// A closed event, below the day it began on (`media` for footage that has no date).
    pub fn event(event: &Event) -> Self {
        let day = match event.clock {
            crate::Clock::Media => "media".to_owned(),
            crate::Clock::Unix => day(event.start),
        };
        Self(format!("{}{}/{day}/{}.json", Self::EVENTS, event.camera, event.id))
    }

    /// Whose object this is, where it is a closed event's.
    pub fn event_id(&self) -> Option<EventId> {
        let (_, name) = self.0.strip_prefix(Self::EVENTS)?.rsplit_once('/')?;
        name.strip_suffix(".json")?.parse().ok()
    }

    /// What an epoch of a replayable source is; see [`crate::EpochRecord`].
    pub fn epoch(camera: &CameraId, epoch: Epoch) -> Self {
        Self(format!("{}{camera}/{:020}.json", Self::EPOCHS, epoch.0))
    }

    /// A job that failed for good.
    pub fn quarantine(segment: &SegmentId, generation: Generation) -> Self {
        Self(format!(
            "{}{}/{:020}/{:010}-{generation}.job",
            Self::QUARANTINE,
            segment.camera,
            segment.epoch.0,
            segment.sequence
        ))
    }

    /// A message that failed for good and is no job that can be read.
    pub fn quarantine_unreadable(body: Digest) -> Self {
        Self(format!("{}{body}.bin", Self::UNREADABLE))
    }

    /// What a dispatcher could not publish before it stopped, named by its content.
    pub fn spooled(content: Digest) -> Self {
        Self(format!("{}{content}.spool", Self::SPOOL))
    }

    /// The prefix of one camera's video.
    pub fn video_prefix(camera: &CameraId) -> String {
        format!("video/{camera}/")
    }

    /// The name that an event's clip is offered under.
    pub fn clip_name(event: &EventId) -> String {
        format!("{event}.mp4")
    }
}

/// A Unix time's day as `YYYY-MM-DD` in UTC, by Howard Hinnant's `civil_from_days`.
fn day(at: TimeUs) -> String {
    let days = at.0.div_euclid(86_400_000_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidKey;
    fn try_from(key: String) -> Result<Self, InvalidKey> {
        Self::parse(&key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn days_follow_the_calendar() {
        let at = |seconds: i64| day(TimeUs(seconds * 1_000_000));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_795_500_000), "2026-11-24");
        assert_eq!(at(-1), "1969-12-31");
    }

    #[test]
    fn a_job_in_flight_names_its_segment() {
        for name in ["gate/1/2", "a_b-c/1795500000000/9007199254740991"] {
            let segment: SegmentId = name.parse().unwrap();
            assert_eq!(ObjectKey::in_flight(&segment).segment_in_flight(), Some(segment));
        }
        for other in ["video/gate/00000000000000000001/0000000002.mp4", "jobs/gate/1/2.mp4", "jobs/gate/x/2.mp4"] {
            assert_eq!(ObjectKey::parse(other).unwrap().segment_in_flight(), None, "{other}");
        }
    }

    #[test]
    fn keys_stay_below_the_bucket() {
        for bad in ["", "/a", "a/", "a//b", "../x", "a/./b", "a/..", "a b", "a\\b"] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad}");
        }
        let key = ObjectKey::video(&"gate/1/2".parse().unwrap());
        assert_eq!(ObjectKey::parse(key.as_str()).unwrap(), key);
    }

    #[test]
    fn an_events_object_names_it() {
        let id = |key: &str| ObjectKey::parse(key).unwrap().event_id().map(String::from);
        assert_eq!(id("events/gate/2026-11-24/gate.1.2.3.0.json").as_deref(), Some("gate.1.2.3.0"));
        for other in ["video/gate/gate.1.2.3.0.json", "events/gate/gate.1.2.3.0", "events/gate/notes.json"] {
            assert_eq!(id(other), None, "{other}");
        }
    }
}
