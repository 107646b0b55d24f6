//! Names that derive from input alone, so that doing a thing twice leaves one result.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A text that is no valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// A camera name outside the allowed alphabet or length.
    #[error("camera name {0:?}: use 1 to 64 letters, digits, '-' or '_', beginning with a letter or digit")]
    Camera(String),
    /// A segment id that is not `camera/epoch/sequence`.
    #[error("segment id {0:?}: expected camera/epoch/sequence")]
    Segment(String),
    /// An epoch or sequence number that not everybody can hold.
    #[error("number {0}: expected at most {MOST}")]
    Number(u64),
    /// A digest that is not 32 hexadecimal digits.
    #[error("digest {0:?}: expected 32 lower-case hexadecimal digits")]
    Digest(String),
    /// An event id that no camera can have produced.
    #[error("event id {0:?}: expected camera.epoch.sequence.frame.object")]
    Event(String),
}

/// A camera's name: 1 to 64 of `[A-Za-z0-9_-]`, beginning with a letter or digit.
///
/// The alphabet is safe in object keys, queue names, file names and URLs alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CameraId(String);

impl CameraId {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidId> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && name.len() <= 64 && name.chars().all(allowed) {
            Ok(Self(name))
        } else {
            Err(InvalidId::Camera(name))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CameraId {
    type Error = InvalidId;
    fn try_from(name: String) -> Result<Self, InvalidId> {
        Self::new(name)
    }
}

impl From<CameraId> for String {
    fn from(id: CameraId) -> String {
        id.0
    }
}

impl FromStr for CameraId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        Self::new(s)
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The largest epoch and sequence number that is read: every JSON reader holds it exactly, and in a database there is
/// room above it for the next.
pub const MOST: u64 = (1 << 53) - 1;

/// Reads an epoch or a sequence number.
fn number(number: u64) -> Result<u64, InvalidId> {
    if number <= MOST { Ok(number) } else { Err(InvalidId::Number(number)) }
}

/// One unbroken holding of a camera by one dispatcher, or one content and loop of a file. Rises within a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(pub u64);

impl TryFrom<u64> for Epoch {
    type Error = InvalidId;
    fn try_from(epoch: u64) -> Result<Self, InvalidId> {
        number(epoch).map(Self)
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> u64 {
        epoch.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A segment's number within its epoch, from 0 without holes.
pub type Sequence = u64;

/// Which try at a segment an outcome comes from: 0 at first, one more with each replay.
pub type Generation = u32;

/// A place in a camera's order of outcomes. Orders by epoch, then sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The sequence number within it.
    pub sequence: Sequence,
}

/// A segment's name, from which object keys, event ids and rows derive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId {
    /// Whose segment it is.
    pub camera: CameraId,
    /// The holding it was cut in.
    pub epoch: Epoch,
    /// Its number within the epoch.
    #[serde(deserialize_with = "sequence")]
    pub sequence: Sequence,
}

fn sequence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sequence, D::Error> {
    number(u64::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl SegmentId {
    /// Where the segment stands in its camera's order.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.sequence }
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.camera, self.epoch, self.sequence)
    }
}

impl FromStr for SegmentId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId::Segment(s.to_owned());
        let mut parts = s.split('/');
        let (Some(camera), Some(epoch), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        Ok(Self {
            camera: CameraId::new(camera)?,
            epoch: epoch.parse::<u64>().map_err(|_| bad())?.try_into()?,
            sequence: number(sequence.parse().map_err(|_| bad())?)?,
        })
    }
}

/// The first 128 bits of a BLAKE3 hash, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash(&blake3::hash(bytes))
    }

    /// The digest of something hashed piece by piece.
    pub fn of_hash(hash: &blake3::Hash) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&hash.as_bytes()[..16]);
        Self(short)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId::Digest(s.to_owned());
        if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(bad());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(s.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// An event's name: where the track that it tells of was first seen, as `camera.epoch.sequence.frame.object`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(String);

impl EventId {
    /// Names the event of a track first seen as detection `object` of frame `frame` (presentation index) of `segment`.
    pub fn new(segment: &SegmentId, frame: u32, object: u32) -> Self {
        Self(format!("{}.{}.{}.{frame}.{object}", segment.camera, segment.epoch, segment.sequence))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segment that its track was first seen in.
    pub fn first_segment(&self) -> Option<SegmentId> {
        let mut parts = self.0.split('.');
        let camera = CameraId::new(parts.next()?).ok()?;
        Some(SegmentId { camera, epoch: Epoch(parts.next()?.parse().ok()?), sequence: parts.next()?.parse().ok()? })
    }
}

impl FromStr for EventId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId::Event(s.to_owned());
        let mut parts = s.split('.');
        let camera = parts.next().ok_or_else(bad)?;
        CameraId::new(camera).map_err(|_| bad())?;
        let numbers: Vec<&str> = parts.collect();
        let canonical = |n: &&str| n.parse::<u64>().is_ok_and(|v| v.to_string() == **n);
        if numbers.len() == 4 && numbers.iter().all(canonical) { Ok(Self(s.to_owned())) } else { Err(bad()) }
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> String {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn camera_names_cannot_leave_their_alphabet() {
        for good in ["a", "gate-2", "Hof_3", "0", &"x".repeat(64)] {
            assert!(CameraId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a/b", "..", "a.b", "a b", "ä", "a'b", "a%", &"x".repeat(65)] {
            assert!(CameraId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_read_back_what_they_write() {
        let id: SegmentId = "gate/17/3".parse().unwrap();
        assert_eq!(id.to_string(), "gate/17/3");
        assert!("gate/17".parse::<SegmentId>().is_err());
        assert!("gate/17/3/4".parse::<SegmentId>().is_err());
        for n in [MOST, MOST + 1, 1 << 63, u64::MAX] {
            let json = format!(r#"{{"camera":"gate","epoch":1,"sequence":{n}}}"#);
            assert_eq!(serde_json::from_str::<SegmentId>(&json).is_ok(), n == MOST, "{n}");
            assert_eq!(serde_json::from_str::<Epoch>(&n.to_string()).is_ok(), n == MOST, "{n}");
            assert_eq!(format!("gate/1/{n}").parse::<SegmentId>().is_ok(), n == MOST, "{n}");
            assert_eq!(format!("gate/{n}/1").parse::<SegmentId>().is_ok(), n == MOST, "{n}");
        }
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("0G".repeat(16).parse::<Digest>().is_err());
        let event = EventId::new(&id, 5, 1);
        assert_eq!(event.as_str().parse::<EventId>().unwrap(), event);
        assert_eq!(event.first_segment(), Some(id));
        assert!("gate.1.2.3".parse::<EventId>().is_err());
        assert!("gate.1.2.3.+4".parse::<EventId>().is_err());
    }

    #[test]
    fn positions_order_by_epoch_then_sequence() {
        let at = |epoch, sequence| Position { epoch: Epoch(epoch), sequence };
        assert!(at(1, 9) < at(2, 0));
        assert!(at(2, 0) < at(2, 1));
    }
}
