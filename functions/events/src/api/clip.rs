//! `/v1/events/{id}/clip`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use detektor_contract::{EventId, ObjectKey};
use futures::TryStreamExt;

use crate::api::{Api, events};
use crate::clip::Film;
use crate::etag;
use crate::params::Id;
use crate::problem::{ApiError, Problem};
use crate::range::{self, Asked};

/// The event's video as one MP4 file, not encoded anew: the stored segments from 3 s before it to 3 s after it, at most
/// 15 minutes. It grows while the event goes on.
#[utoipa::path(get, path = "/v1/events/{id}/clip", tag = "events",
    params(
        ("id" = String, Path, description = "The event's id."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = 200, description = "The clip", content_type = "video/mp4"),
        (status = 206, description = "The range of it that was asked for", content_type = "video/mp4"),
        (status = 304, description = "The clip that `If-None-Match` names is still the one"),
        (status = 404, description = "No such event, or no video of it is kept", body = Problem,
         content_type = "application/problem+json"),
        (status = 416, description = "The range lies behind the end", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn clip(
    State(api): State<Api>,
    method: Method,
    Id(id): Id<EventId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let stored = events::find(&api, &id).await?;
    let permit = api.clips().acquire().await.map_err(|error| ApiError::Internal(error.to_string()))?;
    let film = Film::of(api.store(), api.bucket(), &stored.event).await?;
    drop(permit);
    let film = film.ok_or_else(|| ApiError::NotFound(format!("no video of {id} is kept")))?;

    let tag = etag::of(film.digest());
    let common: [(HeaderName, String); 5] = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}\"", ObjectKey::clip_name(&id))),
    ];
    if etag::matches(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let bytes = film.bytes();
    let (status, range) = match range::asked(&headers, bytes, &tag) {
        Asked::Whole => (StatusCode::OK, 0..bytes),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => return Err(ApiError::Range { bytes }),
    };
    let length = [(header::CONTENT_LENGTH, (range.end - range.start).to_string())];
    let place = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(header::CONTENT_RANGE, format!("bytes {}-{}/{bytes}", range.start, range.end - 1))]);
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let sent = api.metrics().clip_bytes.clone();
        Body::from_stream(
            film.read(api.bucket().clone(), range).inspect_ok(move |bytes| sent.inc_by(bytes.len() as u64)),
        )
    };
    let mut response = (status, common, length, body).into_response();
    response.headers_mut().extend(place.into_iter().flatten().filter_map(|(name, v)| Some((name, v.parse().ok()?))));
    Ok(response)
}
