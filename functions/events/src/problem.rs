//! Errors as `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use detektor_backends::bucket::BucketError;
use detektor_backends::queue::QueueError;
use detektor_backends::store::StoreError;
use detektor_contract::{Fault, Faulty};
use detektor_runtime::replay::ReplayError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::Excess;

/// The content type of an error.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// In whole seconds, so that whoever waits for them has waited enough.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).max(1) as u64
}

/// One parameter, or field of a body, that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mistake {
    /// Which parameter or field.
    pub parameter: String,
    /// What is wrong, and what is expected.
    pub detail: String,
}

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The path exists, the method does not.
    #[error("this path takes no such method")]
    Method,
    /// Parameters that cannot be understood, all of them.
    #[error("{} of the parameters cannot be used", .0.len())]
    Parameters(Vec<Mistake>),
    /// Fields of the request's body that cannot be used, all of them.
    #[error("{} of the fields cannot be used", .0.len())]
    Fields(Vec<Mistake>),
    /// The request's body cannot be read.
    #[error("the request's body cannot be used: {0}")]
    Body(String),
    /// The request's body is too large.
    #[error("the request's body is larger than this path takes")]
    TooLarge,
    /// The request's body is of another kind.
    #[error("this path takes {0}")]
    MediaType(&'static str),
    /// No token, or not the right one.
    #[error("a token is required: send it as 'Authorization: Bearer', or log in on the page")]
    Unauthorized,
    /// A token, but not one that is enough.
    #[error("{0}")]
    Forbidden(&'static str),
    /// More than one client may have.
    #[error("{what}: try again in {} s", seconds(*.wait))]
    TooMany {
        /// Of what.
        what: Excess,
        /// How long until it may again.
        wait: Duration,
    },
    /// A change of what is there, without saying which state of it was seen.
    #[error("send the ETag that you have seen as If-Match, so that nobody's change is lost")]
    Unconditional,
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    /// What is there is not what the request expects; its entity tag, if it is there.
    #[error("it is not as you have seen it: read it again")]
    Changed(Option<String>),
    /// The `Host` header names somebody else; see [`crate::guard`].
    #[error("this server does not answer for the host that the request names; without a token it answers on loopback")]
    Misdirected,
    /// A range behind the end.
    #[error("the range lies behind the {bytes} bytes there are")]
    Range {
        /// How many bytes there are.
        bytes: u64,
    },
    /// As many as it can serve are being served.
    #[error("too many {0} are open: try again in a moment")]
    Busy(&'static str),
    /// It took too long.
    #[error("the answer took longer than {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The event store failed.
    #[error("the event store does not answer")]
    Store(#[from] StoreError),
    /// The bucket failed.
    #[error("the bucket does not answer")]
    Bucket(#[from] BucketError),
    /// The queue failed.
    #[error("the queue does not answer")]
    Queue(#[from] QueueError),
    /// What failed for good could not be read or queued again.
    #[error("a server that this needs does not answer")]
    Replay(#[from] ReplayError),
    /// A mistake of ours.
    #[error("an internal error; the log has more")]
    Internal(String),
}

impl Faulty for ApiError {
    fn fault(&self) -> Fault {
        match self {
            Self::Busy(_) | Self::Timeout { .. } | Self::TooMany { .. } => Fault::Transient,
            Self::Store(error) => error.fault(),
            Self::Bucket(error) => error.fault(),
            Self::Queue(error) => error.fault(),
            Self::Replay(error) => error.fault(),
            Self::NotFound(_)
            | Self::Method
            | Self::Parameters(_)
            | Self::Fields(_)
            | Self::Forbidden(_)
            | Self::MediaType(_)
            | Self::Unconditional
            | Self::Changed(_)
            | Self::Conflict(_)
            | Self::Body(_)
            | Self::TooLarge
            | Self::Unauthorized
            | Self::Misdirected
            | Self::Range { .. }
            | Self::Internal(_) => Fault::Permanent,
        }
    }
}

/// The body of every error. Its type is `about:blank`: the status says what kind of problem it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// Every parameter, or field of the body, that cannot be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

impl ApiError {
    /// One parameter that cannot be used.
    pub fn parameter(parameter: &str, detail: impl Into<String>) -> Self {
        Self::Parameters(vec![Mistake { parameter: parameter.to_owned(), detail: detail.into() }])
    }

    /// The status that this is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::Bucket(BucketError::NotFound(_)) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Parameters(_) | Self::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unconditional => StatusCode::PRECONDITION_REQUIRED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Changed(_) => StatusCode::PRECONDITION_FAILED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Store(_) | Self::Bucket(_) | Self::Queue(_) | Self::Replay(_) => match self.fault() {
                Fault::Transient => StatusCode::SERVICE_UNAVAILABLE,
                Fault::Permanent => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn log(&self) {
        let cause: &dyn std::error::Error = match self {
            Self::Store(error) => error,
            Self::Bucket(error) => error,
            Self::Queue(error) => error,
            Self::Replay(error) => error,
            Self::Internal(what) => return tracing::error!(what, "internal error"),
            _ => return,
        };
        let causes: Vec<String> =
            std::iter::successors(cause.source(), |e| e.source()).map(|e| e.to_string()).collect();
        tracing::warn!(error = %cause, ?causes, "a request failed");
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let detail = match &self {
            Self::Bucket(BucketError::NotFound(_)) => "it is not kept any more".to_owned(),
            _ => self.to_string(),
        };
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let mut problem = Problem { kind: "about:blank", title, status: status.as_u16(), detail, errors: Vec::new() };
        let (mut bytes, mut wait, mut tag) = (None, None, None);
        match self {
            Self::Range { bytes: there } => bytes = Some(there),
            Self::TooMany { wait: left, .. } => wait = Some(seconds(left)),
            Self::Changed(now) => tag = now,
            Self::Parameters(mistakes) | Self::Fields(mistakes) => problem.errors = mistakes,
            _ => {}
        }
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"detektor\""));
            }
            _ => {}
        }
        if let Some(seconds) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(Ok(value)) = tag.map(HeaderValue::try_from) {
            headers.insert(header::ETAG, value);
        }
        if let Some(Ok(value)) = bytes.map(|bytes| HeaderValue::try_from(format!("bytes */{bytes}"))) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        response
    }
}
