//! The wire form: a magic, a version, a JSON header, and bytes behind it.
//!
//! ```text
//! "DTK" kind:u8 major:u8 minor:u8 header_len:u32be header:JSON body:bytes
//! ```
//!
//! Unknown header fields are ignored; a newer major version is refused. Video travels behind the header as it is.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Fault, Faulty, Outcome, Payload, SegmentJob};

/// The version this build writes: (major, minor). It reads every minor version of the same major version.
pub const VERSION: (u8, u8) = (1, 0);

const MAGIC: &[u8; 3] = b"DTK";
const FIXED: usize = 10;
const KIND_JOB: u8 = b'J';
const KIND_OUTCOME: u8 = b'O';

/// Bytes that are no message this build can read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Too short, or without the magic.
    #[error("not a Detektor message ({0} bytes)")]
    NotAMessage(usize),
    /// A message of another kind.
    #[error("not {expected}: message kind {found:?}")]
    Kind {
        /// What was asked for.
        expected: &'static str,
        /// What stands there.
        found: char,
    },
    /// Written by a newer release.
    #[error("wire version {major}.{minor} is newer than this build's {}.x: upgrade this part first", VERSION.0)]
    TooNew {
        /// The message's major version.
        major: u8,
        /// The message's minor version.
        minor: u8,
    },
    /// The header is longer than the message.
    #[error("the message breaks off: header of {header} bytes in {total}")]
    Truncated {
        /// The header's length.
        header: usize,
        /// The message's length.
        total: usize,
    },
    /// The header does not say what it must.
    #[error("the header of {kind} cannot be read")]
    Header {
        /// Which kind of message.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The header and the body contradict each other.
    #[error("the message contradicts itself: {0}")]
    Inconsistent(String),
}

impl Faulty for WireError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotAMessage(_)
            | Self::Kind { .. }
            | Self::TooNew { .. }
            | Self::Truncated { .. }
            | Self::Header { .. }
            | Self::Inconsistent(_) => Fault::Permanent,
        }
    }
}

/// Writes a job.
pub fn encode_job(job: &SegmentJob) -> Bytes {
    match &job.payload {
        Payload::Inline { video, .. } => encode(KIND_JOB, job, video),
        Payload::Object { .. } => encode(KIND_JOB, job, &[]),
    }
}

/// Reads a job. Inline video shares the message's memory.
pub fn decode_job(message: &Bytes) -> Result<SegmentJob, WireError> {
    let (mut job, body) = decode::<SegmentJob>(message, KIND_JOB, "a job")?;
    let bytes = match &mut job.payload {
        Payload::Inline { video, .. } => {
            *video = body;
            video.len() as u64
        }
        Payload::Object { bytes, .. } => *bytes,
    };
    let (Payload::Inline { init_bytes, .. } | Payload::Object { init_bytes, .. }) = job.payload;
    if u64::from(init_bytes) > bytes {
        return Err(WireError::Inconsistent(format!("an init part of {init_bytes} bytes in {bytes} bytes of video")));
    }
    if job.media.pre_roll > job.media.samples || job.media.post_roll.is_some_and(|n| n >= job.media.samples) {
        return Err(WireError::Inconsistent("pre-roll or post-roll outside the samples".to_owned()));
    }
    Ok(job)
}

/// Writes an outcome.
pub fn encode_outcome(outcome: &Outcome) -> Bytes {
    encode(KIND_OUTCOME, outcome, &[])
}

/// Reads an outcome.
pub fn decode_outcome(message: &Bytes) -> Result<Outcome, WireError> {
    let (outcome, _) = decode::<Outcome>(message, KIND_OUTCOME, "an outcome")?;
    if let crate::OutcomeBody::Result(result) = &outcome.body
        && result.frames.len() != result.span.frames as usize
    {
        let (found, expected) = (result.frames.len(), result.span.frames);
        return Err(WireError::Inconsistent(format!("{found} frames in a span of {expected}")));
    }
    Ok(outcome)
}

fn encode<T: Serialize>(kind: u8, value: &T, body: &[u8]) -> Bytes {
    // Plain data with string keys: there is nothing in it that JSON cannot hold.
    let header = serde_json::to_vec(value).unwrap_or_default();
    let mut message = Vec::with_capacity(FIXED + header.len() + body.len());
    message.extend_from_slice(MAGIC);
    message.extend_from_slice(&[kind, VERSION.0, VERSION.1]);
    message.extend_from_slice(&(header.len() as u32).to_be_bytes());
    message.extend_from_slice(&header);
    message.extend_from_slice(body);
    message.into()
}

fn decode<T: DeserializeOwned>(message: &Bytes, kind: u8, name: &'static str) -> Result<(T, Bytes), WireError> {
    let Some((fixed, rest)) = message.split_first_chunk::<FIXED>() else {
        return Err(WireError::NotAMessage(message.len()));
    };
    let [m0, m1, m2, found, major, minor, length @ ..] = *fixed;
    if [m0, m1, m2] != *MAGIC {
        return Err(WireError::NotAMessage(message.len()));
    }
    if major < VERSION.0 {
        return Err(WireError::NotAMessage(message.len()));
    }
    if major > VERSION.0 {
        return Err(WireError::TooNew { major, minor });
    }
    if found != kind {
        return Err(WireError::Kind { expected: name, found: char::from(found) });
    }
    let header = u32::from_be_bytes(length) as usize;
    if header > rest.len() {
        return Err(WireError::Truncated { header, total: message.len() });
    }
    let value = serde_json::from_slice(&rest[..header]).map_err(|source| WireError::Header { kind: name, source })?;
    Ok((value, message.slice(FIXED + header..)))
}
