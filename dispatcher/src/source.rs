//! Where access units come from.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::{Digest, Fault, Faulty, GapCause};
use detektor_media::ParameterSets;
use detektor_runtime::camera::Kind;

mod libav;
mod names;
mod reorder;
mod reports;
mod rtsp;

pub use detektor_runtime::camera::{InvalidUrl, SourceUrl};

/// What a source says.
#[derive(Clone, Debug)]
pub enum Item {
    /// What follows is of this form. Always the first; again where a stream changes its form.
    Stream(StreamInfo),
    /// An access unit, in decode order.
    Unit(AccessUnit),
    /// Something was lost here; what follows may refer to it.
    Lost {
        /// What was lost.
        cause: GapCause,
        /// Which, for people.
        detail: String,
    },
}

/// What a stream is.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// The codec, and the parameter sets that the container or the session description names.
    pub sets: ParameterSets,
    /// Ticks a second of its timestamps.
    pub time_scale: u32,
    /// The length of a frame in ticks, where the stream says so.
    pub frame: Option<i64>,
}

/// When something arrived, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// For how long things take.
    pub monotonic: Instant,
    /// For people: when it was captured, where the camera says so and its clock is near ours, else when it arrived. In
    /// microseconds since the Unix epoch.
    pub unix_us: i64,
}

/// An access unit as it came.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// NAL units, each behind a length of 4 bytes.
    pub data: Bytes,
    /// When it is shown, in ticks. It may be missing, wrap at 32 or 33 bits, or jump.
    pub pts: Option<i64>,
    /// When it is decoded, likewise.
    pub dts: Option<i64>,
    /// When its first byte arrived, at cameras.
    pub arrival: Option<Arrival>,
    /// Decoded for others' sake and never shown: outside the file's edit list.
    pub hidden: bool,
}

/// Why a source gives no access units, or no more.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached or refuses us.
    #[error("cannot open {url}: {reason}")]
    Open {
        /// Where, without credentials.
        url: String,
        /// Why.
        reason: String,
        /// Whether trying again can help.
        fault: Fault,
    },
    /// It stopped answering.
    #[error("{url} gave nothing for {} s: is it on, and are address and port right?", waited.as_secs())]
    Silent {
        /// Where, without credentials.
        url: String,
        /// For how long.
        waited: Duration,
    },
    /// There is no video in it, or no picture.
    #[error("{url}: {reason}")]
    Empty {
        /// Where, without credentials.
        url: String,
        /// What is missing.
        reason: &'static str,
    },
    /// Video that Detektor does not take.
    #[error("{url}: {codec} is not supported: set the camera to H.264 or H.265, or convert the file")]
    Unsupported {
        /// Where, without credentials.
        url: String,
        /// What it is.
        codec: String,
    },
    /// It broke off or cannot be understood from here on. What came before it holds.
    #[error("{url} broke off: {reason}")]
    Broken {
        /// Where, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// It is another one than before.
    #[error("{url}: its content changed while it was read; start again to read the new one")]
    Changed {
        /// Where, without credentials.
        url: String,
    },
}

impl Faulty for SourceError {
    fn fault(&self) -> Fault {
        match self {
            Self::Open { fault, .. } => *fault,
            Self::Silent { .. } | Self::Broken { .. } => Fault::Transient,
            Self::Empty { .. } | Self::Unsupported { .. } | Self::Changed { .. } => Fault::Permanent,
        }
    }
}

/// What to do about a 401.
pub(crate) fn unauthorized(has_credentials: bool) -> &'static str {
    if has_credentials {
        // Cameras lock accounts that guess, so nobody tries again by himself.
        "wrong user name or password (401): correct them in its URL and start again"
    } else {
        "it wants a user name and a password (401): put them into its URL, as in rtsp://user:password@host"
    }
}

/// Gives a stream's access units one after another.
#[async_trait]
pub trait Source: Send {
    /// The next item; none at the end of a file. After an error or the end there is nothing more. Returns in bounded
    /// time; cancelling the wait loses nothing.
    async fn next(&mut self) -> Result<Option<Item>, SourceError>;
}

/// How to read a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// The longest wait for the first and for each further byte.
    pub timeout: Duration,
    /// How RTSP cameras are to send their video.
    pub rtsp_transport: RtspTransport,
}

/// How an RTSP camera sends its video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtspTransport {
    /// Inside the RTSP connection: nothing is lost on the way.
    #[default]
    Tcp,
    /// In packets of their own: what is lost is lost, and a slow network delays nothing.
    Udp,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), rtsp_transport: RtspTransport::default() }
    }
}

/// A source that was opened.
pub struct Opened {
    /// Its items.
    pub source: Box<dyn Source>,
    /// What it is known by, if it gives the same each time: a file's content. None for what is live.
    pub content: Option<Digest>,
}

/// Opens a source.
///
/// # Errors
/// [`SourceError::Open`], [`SourceError::Silent`], [`SourceError::Empty`] or [`SourceError::Unsupported`].
pub async fn open(url: &SourceUrl, options: OpenOptions) -> Result<Opened, SourceError> {
    match url.kind() {
        Kind::File(_) | Kind::Http => libav::open(url, options).await,
        Kind::Rtsp => match options.rtsp_transport {
            RtspTransport::Tcp => rtsp::open(url, options).await,
            RtspTransport::Udp => libav::open(url, options).await,
        },
    }
}
