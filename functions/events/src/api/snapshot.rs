//! `/v1/events/{id}/snapshot`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use detektor_contract::{Digest, EventId};

use crate::api::{Api, events};
use crate::etag;
use crate::params::Id;
use crate::problem::{ApiError, Problem};

/// The picture that shows an event best: a full frame. It may change while the event goes on, so caches have to ask.
#[utoipa::path(get, path = "/v1/events/{id}/snapshot", tag = "events",
    params(("id" = String, Path, description = "The event's id.")),
    responses(
        (status = 200, description = "The picture", content_type = "image/jpeg"),
        (status = 304, description = "The picture that `If-None-Match` names is still the one"),
        (status = 404, description = "No such event, or no picture was kept", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn snapshot(
    State(api): State<Api>,
    Id(id): Id<EventId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let stored = events::find(&api, &id).await?;
    let key = stored.event.best.snapshot.ok_or_else(|| ApiError::NotFound(format!("no picture of {id} was kept")))?;
    // An object's content never changes, so its name says which content it is.
    let tag = etag::of(Digest::of(key.as_str().as_bytes()));
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    if etag::matches(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let picture = api.bucket().get(&key).await?;
    Ok((caching, [(header::CONTENT_TYPE, "image/jpeg")], Body::from(picture)).into_response())
}
