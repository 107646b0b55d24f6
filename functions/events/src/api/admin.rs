//! `/v1/admin/cameras`: which cameras are wanted. Dispatchers see a change within a second or two.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use detektor_backends::coordination::{Changed, Coordination, Expected, WantedCamera};
use detektor_contract::CameraId;
use detektor_runtime::camera;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::Api;
use crate::params::{Id, Params};
use crate::problem::{ApiError, Mistake, Problem};

/// A camera's specification: what `detektor cameras apply` takes for one camera, by the same rules.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a body that is read field by field")]
pub(crate) struct CameraSpec {
    /// Its name; may be left out, and is the path's.
    name: Option<String>,
    /// Where it is, without credentials: `rtsp://…`, `http://…`, `file:PATH` or a path on the dispatcher's disk.
    url: String,
    /// Who the dispatcher is to it.
    user: Option<String>,
    /// The dispatcher's file that holds the password.
    password_file: Option<String>,
    /// The dispatcher's environment variable that holds it.
    password_variable: Option<String>,
    /// How many clients at a time it serves.
    sessions: Option<u32>,
    /// RTSP over UDP.
    rtsp_udp: Option<bool>,
    /// Play a file at its own speed.
    real_time: Option<bool>,
    /// How often to play a file: a number, or `forever`.
    #[schema(value_type = Option<String>)]
    r#loop: Option<Value>,
    /// What to look at and keep.
    #[schema(value_type = Option<Object>)]
    detect: Option<Value>,
    /// When detections become events.
    #[schema(value_type = Option<Object>)]
    events: Option<Value>,
}

/// Every camera that is wanted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Wanted {
    /// In the order of their names.
    cameras: Vec<WantedView>,
}

/// A camera that is wanted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WantedView {
    /// Its name.
    name: String,
    /// Rises with every change of it. Its ETag is this in quotes.
    revision: u64,
    /// What it is.
    #[schema(value_type = CameraSpec)]
    spec: Value,
}

/// Every camera that is wanted, with its specification.
#[utoipa::path(get, path = "/v1/admin/cameras", tag = "admin",
    responses(
        (status = 200, description = "Every camera that is wanted", body = Wanted),
        (status = 403, description = "The token is not the admin token", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "Cameras of this process are not kept in a database", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Wanted>, ApiError> {
    Params::new(query.as_deref()).finish()?;
    let wanted = coordination(&api)?.wanted().await?;
    let view = |camera: WantedCamera| {
        Ok(WantedView { name: camera.id.to_string(), revision: camera.revision, spec: json(&camera.spec)? })
    };
    Ok(Json(Wanted { cameras: wanted.into_iter().map(view).collect::<Result<_, ApiError>>()? }))
}

/// One camera's specification.
#[utoipa::path(get, path = "/v1/admin/cameras/{id}", tag = "admin",
    params(("id" = String, Path, description = "The camera's name.")),
    responses(
        (status = 200, description = "The specification; its ETag is what a change names as `If-Match`", body = CameraSpec),
        (status = 404, description = "No such camera is wanted", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn one(State(api): State<Api>, Id(id): Id<CameraId>) -> Result<Response, ApiError> {
    let wanted = coordination(&api)?.wanted().await?;
    let found = wanted.into_iter().find(|camera| camera.id == id).ok_or_else(|| unknown(&id))?;
    shown(StatusCode::OK, found.revision, &found.spec)
}

/// Wants a camera as the body says. A new one needs no condition; one that is there needs `If-Match`.
#[utoipa::path(put, path = "/v1/admin/cameras/{id}", tag = "admin",
    params(
        ("id" = String, Path, description = "The camera's name."),
        ("If-Match" = Option<String>, Header, description = "The ETag of what is to be replaced; `*` replaces whatever is there."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such camera."),
    ),
    request_body(content = CameraSpec, content_type = "application/json"),
    responses(
        (status = 200, description = "It is changed, or was so already", body = CameraSpec),
        (status = 201, description = "It is new", body = CameraSpec),
        (status = 412, description = "It is not as `If-Match` or `If-None-Match` expects; the ETag says how it is", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "Fields that cannot be used, all named", body = Problem,
         content_type = "application/problem+json"),
        (status = 428, description = "It is there, and there is no `If-Match`", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn put(
    State(api): State<Api>,
    Id(id): Id<CameraId>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let coordination = coordination(&api)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::MediaType("application/json"));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
        _ => ApiError::Body("it broke off".to_owned()),
    })?;
    let condition = condition(&headers)?;
    let spec = camera::stored(&id, &body).map_err(|mistakes| {
        let named = mistakes.0.into_iter().map(|mistake| Mistake { parameter: mistake.field, detail: mistake.problem });
        ApiError::Fields(named.collect())
    })?;
    let expected = condition.unwrap_or(Expected::Absent);
    match coordination.want_if(&id, Some(&spec), expected).await? {
        Changed::Done(Some(revision)) => {
            tracing::info!(camera = %id, revision, "a camera is wanted as the admin API says");
            let status = if expected == Expected::Absent { StatusCode::CREATED } else { StatusCode::OK };
            shown(status, revision, &spec)
        }
        Changed::Done(None) => Err(ApiError::Internal(format!("camera {id} was wanted and is not"))),
        Changed::Unexpected(_) if condition.is_none() => Err(ApiError::Unconditional),
        Changed::Unexpected(now) => Err(ApiError::Changed(now.map(tag))),
    }
}

/// Wants a camera no longer. What it saw stays.
#[utoipa::path(delete, path = "/v1/admin/cameras/{id}", tag = "admin",
    params(
        ("id" = String, Path, description = "The camera's name."),
        ("If-Match" = String, Header, description = "The ETag of what is to go; `*` for whatever is there."),
    ),
    responses(
        (status = 204, description = "It is wanted no longer"),
        (status = 404, description = "No such camera is wanted", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as `If-Match` expects; the ETag says how it is", body = Problem,
         content_type = "application/problem+json"),
        (status = 428, description = "There is no `If-Match`", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Id(id): Id<CameraId>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let coordination = coordination(&api)?;
    let expected = match condition(&headers)? {
        Some(Expected::Absent) => return Err(ApiError::parameter("If-None-Match", "removes nothing: send If-Match")),
        Some(expected) => expected,
        None => return Err(ApiError::Unconditional),
    };
    match coordination.want_if(&id, None, expected).await? {
        Changed::Done(_) => {
            tracing::info!(camera = %id, "a camera is wanted no longer, as the admin API says");
            Ok(StatusCode::NO_CONTENT)
        }
        Changed::Unexpected(None) => Err(unknown(&id)),
        Changed::Unexpected(now) => Err(ApiError::Changed(now.map(tag))),
    }
}

fn coordination(api: &Api) -> Result<&Arc<dyn Coordination>, ApiError> {
    let none = || ApiError::NotFound("cameras of this process are those that its configuration names".to_owned());
    api.coordination().ok_or_else(none)
}

fn unknown(id: &CameraId) -> ApiError {
    ApiError::NotFound(format!("no camera {id} is wanted"))
}

fn tag(revision: u64) -> String {
    format!("\"{revision}\"")
}

fn json(spec: &str) -> Result<Value, ApiError> {
    serde_json::from_str(spec).map_err(|error| ApiError::Internal(format!("a camera as it is stored: {error}")))
}

fn shown(status: StatusCode, revision: u64, spec: &str) -> Result<Response, ApiError> {
    let mut response = (status, Json(json(spec)?)).into_response();
    let tag = HeaderValue::try_from(tag(revision)).map_err(|error| ApiError::Internal(error.to_string()))?;
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What a request expects to find; none if it does not say.
fn condition(headers: &HeaderMap) -> Result<Option<Expected>, ApiError> {
    let one = |name: HeaderName| -> Result<Option<&str>, ApiError> {
        let mut values = headers.get_all(&name).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return if headers.contains_key(&name) {
                Err(ApiError::parameter(title(&name), "given twice"))
            } else {
                Ok(None)
            };
        };
        value.to_str().map(|text| Some(text.trim())).map_err(|_| ApiError::parameter(title(&name), "no readable text"))
    };
    match (one(header::IF_MATCH)?, one(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (Some("*"), None) => Ok(Some(Expected::Present)),
        (Some(tag), None) => {
            let revision = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
            let expected = "expected the ETag of an earlier answer, such as \"17\", or *";
            revision
                .map(|revision| Some(Expected::Revision(revision)))
                .ok_or_else(|| ApiError::parameter("If-Match", expected))
        }
        (None, Some("*")) => Ok(Some(Expected::Absent)),
        (None, Some(_)) => Err(ApiError::parameter("If-None-Match", "expected *")),
        (Some(_), Some(_)) => Err(ApiError::parameter("If-None-Match", "given beside If-Match")),
    }
}

fn title(name: &HeaderName) -> &'static str {
    if *name == header::IF_MATCH { "If-Match" } else { "If-None-Match" }
}
