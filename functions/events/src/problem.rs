//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use detektor_backends::bucket::BucketError;
use detektor_backends::store::StoreError;
use detektor_contract::{Fault, Faulty};
use serde::Serialize;
use utoipa::ToSchema;

/// The content type of an error.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One parameter that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mistake {
    /// Which parameter.
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
    /// The request's body cannot be read.
    #[error("the request's body cannot be used: {0}")]
    Body(String),
    /// The request's body is too large.
    #[error("the request's body is larger than this path takes")]
    TooLarge,
    /// No token, or not the right one.
    #[error("a token is required: send it as 'Authorization: Bearer', or log in on the page")]
    Unauthorized,
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
    /// A mistake of ours.
    #[error("an internal error; the log has more")]
    Internal(String),
}

impl Faulty for ApiError {
    fn fault(&self) -> Fault {
        match self {
            Self::Busy(_) | Self::Timeout { .. } => Fault::Transient,
            Self::Store(error) => error.fault(),
            Self::Bucket(error) => error.fault(),
            Self::NotFound(_)
            | Self::Method
            | Self::Parameters(_)
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
    /// Every parameter that cannot be used.
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
            Self::Parameters(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Store(_) | Self::Bucket(_) => match self.fault() {
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
        let bytes = if let Self::Range { bytes } = self { Some(bytes) } else { None };
        if let Self::Parameters(mistakes) = self {
            problem.errors = mistakes;
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
        if let Some(Ok(value)) = bytes.map(|bytes| HeaderValue::try_from(format!("bytes */{bytes}"))) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        response
    }
}
