//! W3C Trace Context: the `traceparent` header, <https://www.w3.org/TR/trace-context/>.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use detektor_contract::SegmentId;
use detektor_contract::names::HEADER_TRACEPARENT;
use tracing::Span;

/// A place in a trace: which trace, and which step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// A text that is no `traceparent` of a version this build knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent: {0:?}")]
pub struct InvalidTraceparent(String);

const SAMPLED: u8 = 1;

impl Trace {
    /// Begins a trace.
    pub fn begin() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), flags: SAMPLED }
    }

    /// The next step of the same trace.
    pub fn step(&self) -> Self {
        Self { span_id: fastrand::u64(1..), ..*self }
    }

    /// The next step of the trace that a message's headers name; a new trace where they name none that can be read.
    pub fn from_headers(headers: &BTreeMap<String, String>) -> Self {
        match headers.get(HEADER_TRACEPARENT).map(|header| header.parse::<Self>()) {
            Some(Ok(trace)) => trace.step(),
            Some(Err(_)) | None => Self::begin(),
        }
    }

    /// Writes the trace into a message's headers.
    pub fn write(&self, headers: &mut BTreeMap<String, String>) {
        headers.insert(HEADER_TRACEPARENT.to_owned(), self.to_string());
    }

    /// The trace's id as 32 hexadecimal digits, the log field `trace_id`.
    pub fn id(&self) -> impl fmt::Display + use<> {
        let trace_id = self.trace_id;
        fmt::from_fn(move |f| write!(f, "{trace_id:032x}"))
    }

    /// The span of the work on one segment. Log lines within it carry `trace_id`, `camera` and `segment`.
    pub fn segment_span(&self, segment: &SegmentId) -> Span {
        tracing::info_span!("segment", trace_id = %self.id(), camera = %segment.camera, segment = %segment)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for Trace {
    type Err = InvalidTraceparent;

    /// Reads version 00, and of later versions the part that they share with it.
    fn from_str(s: &str) -> Result<Self, InvalidTraceparent> {
        let parse = || {
            let mut parts = s.split('-');
            let version = hex(parts.next()?, 2)?;
            let trace_id = hex(parts.next()?, 32).filter(|id| *id != 0)?;
            let span_id = hex(parts.next()?, 16).filter(|id| *id != 0)? as u64;
            let flags = hex(parts.next()?, 2)? as u8;
            let complete = match version {
                0 => parts.next().is_none(),
                0xff => false,
                _ => true,
            };
            complete.then_some(Self { trace_id, span_id, flags })
        };
        parse().ok_or_else(|| InvalidTraceparent(s.chars().take(64).collect()))
    }
}

/// Lower-case hexadecimal of exactly `digits` digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let allowed = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == digits && text.bytes().all(allowed)).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
