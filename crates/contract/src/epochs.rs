//! What the bucket knows of an epoch of a replayable source, so that the numbering outlives every database.

use serde::{Deserialize, Serialize};

use crate::{CameraId, Digest, Epoch, Fault, Faulty, ObjectKey};

/// The version this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// Which content, and which time through it, an epoch is. Written before the epoch's first segment is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Whose epoch.
    pub camera: CameraId,
    /// Its number, above `pass`: a content's passes follow one another, from 1 at the lowest.
    pub epoch: Epoch,
    /// Digest of the content.
    pub content: Digest,
    /// How often it was played through before.
    pub pass: u64,
}

/// Bytes that are no epoch record this build can read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEpochRecord {
    /// It does not say what it must.
    #[error("an epoch's record cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// Written by a newer release.
    #[error("an epoch's record has version {0}, this build knows up to {VERSION}: upgrade this part first")]
    TooNew(u32),
    /// No epoch can have been given like this.
    #[error("an epoch's record contradicts itself: pass {pass} in epoch {epoch}")]
    Inconsistent {
        /// The epoch.
        epoch: Epoch,
        /// The pass.
        pass: u64,
    },
}

impl Faulty for InvalidEpochRecord {
    fn fault(&self) -> Fault {
        match self {
            Self::Malformed(_) | Self::TooNew(_) | Self::Inconsistent { .. } => Fault::Permanent,
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    record: &'a EpochRecord,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl EpochRecord {
    /// Where it is kept.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::epoch(&self.camera, self.epoch)
    }

    /// Writes it. Equal records are equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain data with string keys: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(&Written { version: VERSION, record: self }).unwrap_or_default()
    }

    /// Reads one. Unknown fields are ignored.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidEpochRecord> {
        let Version { version } = serde_json::from_slice(json).map_err(InvalidEpochRecord::Malformed)?;
        if version > VERSION {
            return Err(InvalidEpochRecord::TooNew(version));
        }
        let record: Self = serde_json::from_slice(json).map_err(InvalidEpochRecord::Malformed)?;
        if record.epoch.0 <= record.pass {
            return Err(InvalidEpochRecord::Inconsistent { epoch: record.epoch, pass: record.pass });
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_is_written_as_ever_and_read_back() {
        let camera = CameraId::new("gate").unwrap();
        let record = EpochRecord { camera, epoch: Epoch(5), content: Digest([0xab; 16]), pass: 2 };
        let written =
            r#"{"version":1,"camera":"gate","epoch":5,"content":"abababababababababababababababab","pass":2}"#;
        assert_eq!(String::from_utf8(record.to_json()).unwrap(), written);
        assert_eq!(EpochRecord::from_json(written.as_bytes()).unwrap(), record);
        assert_eq!(record.key().as_str(), "epochs/gate/00000000000000000005.json");
        let more = written.replace("\"pass\"", "\"colour\":\"blue\",\"pass\"");
        assert_eq!(EpochRecord::from_json(more.as_bytes()).unwrap(), record);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let read = |json: &str| EpochRecord::from_json(json.as_bytes()).unwrap_err();
        let written =
            r#"{"version":1,"camera":"gate","epoch":5,"content":"abababababababababababababababab","pass":2}"#;
        assert!(matches!(read(&written[..40]), InvalidEpochRecord::Malformed(_)));
        assert!(matches!(read(&written.replace("gate", "../gate")), InvalidEpochRecord::Malformed(_)));
        assert!(matches!(read(r#"{"version":2,"what":"else"}"#), InvalidEpochRecord::TooNew(2)));
        assert!(matches!(read(&written.replace(":5,", ":2,")), InvalidEpochRecord::Inconsistent { .. }));
        let huge = written.replace(":5,", ":9223372036854775808,");
        assert!(matches!(read(&huge), InvalidEpochRecord::Malformed(_)));
    }
}
