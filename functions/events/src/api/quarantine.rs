//! `/v1/quarantine`: segments that failed for good, and trying them again.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use detektor_contract::{Clock, InvalidId, SegmentId};
use detektor_runtime::replay::{FailedSegment, Partitions, Which};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::params::Params;
use crate::problem::{ApiError, Problem};

/// Segments that failed for good and did not succeed since.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantinePage {
    /// By camera, in order.
    segments: Vec<FailedView>,
    /// Whether there are more.
    truncated: bool,
}

/// A segment that failed for good.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailedView {
    /// Which: `camera/epoch/sequence`.
    segment: String,
    /// Whose.
    camera: String,
    /// Which try at it failed: 0 the first, one more with each replay.
    generation: u32,
    /// Its frames.
    frames: u32,
    /// When it begins, in seconds.
    start_s: f64,
    /// When it ends, in seconds.
    end_s: f64,
    /// What the times count from.
    #[schema(value_type = String)]
    clock: Clock,
    /// What went wrong, for people.
    error: String,
    /// How often it was tried.
    attempts: u32,
}

impl From<&FailedSegment> for FailedView {
    fn from(failed: &FailedSegment) -> Self {
        let FailedSegment { id, generation, span, error, attempts, .. } = failed;
        Self {
            segment: id.to_string(),
            camera: id.camera.to_string(),
            generation: *generation,
            frames: span.frames,
            start_s: span.start.seconds(),
            end_s: span.end.seconds(),
            clock: span.clock,
            error: error.clone(),
            attempts: *attempts,
        }
    }
}

/// Segments that failed for good, with their error.
#[utoipa::path(get, path = "/v1/quarantine", tag = "quarantine",
    params(
        ("camera" = Option<String>, Query, description = "Only this camera's."),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 500 unless configured otherwise; 100 if not given."),
    ),
    responses(
        (status = 200, description = "The segments", body = QuarantinePage),
        (status = 422, description = "Parameters that cannot be used, all named", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<QuarantinePage>, ApiError> {
    let mut params = Params::new(query.as_deref());
    let which = Which::of(params.camera());
    let limit = params.limit(100, api.gate().limits().events) as usize;
    params.finish()?;
    let found = api.quarantine().segments(&which).await?;
    let segments = found.iter().take(limit).map(FailedView::from).collect();
    Ok(Json(QuarantinePage { segments, truncated: found.len() > limit }))
}

/// That a segment is tried again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Requeued {
    /// Which: `camera/epoch/sequence`.
    segment: String,
}

/// Queues a segment once more, as the next generation. Its result, when it comes, takes the place of the failure, and the
/// events that it changes are revised. To ask twice changes nothing.
#[utoipa::path(post, path = "/v1/quarantine/{camera}/{epoch}/{sequence}/replay", tag = "quarantine",
    params(
        ("camera" = String, Path, description = "The camera's name."),
        ("epoch" = u64, Path, description = "The segment's epoch."),
        ("sequence" = u64, Path, description = "Its number within the epoch."),
    ),
    responses(
        (status = 202, description = "It is queued", body = Requeued),
        (status = 403, description = "The token is not the admin token", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "No such segment is in quarantine", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "It cannot be replayed: its job is not kept", body = Problem,
         content_type = "application/problem+json"),
        (status = 503, description = "A server that is needed is away", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn replay(
    State(api): State<Api>,
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Result<(StatusCode, Json<Requeued>), ApiError> {
    let Path((camera, epoch, sequence)) = path.map_err(|_| ApiError::parameter("segment", "no readable text"))?;
    let named: Result<SegmentId, InvalidId> = format!("{camera}/{epoch}/{sequence}").parse();
    let id = named.map_err(|error| ApiError::parameter("segment", error.to_string()))?;
    let which = Which::Segment(id.clone());
    if api.quarantine().segments(&which).await?.is_empty() {
        return Err(ApiError::NotFound(format!("no segment {id} is in quarantine")));
    }
    let queues = api.queues().await?;
    let partitions = match api.coordination() {
        Some(coordination) => Partitions::placed(&**coordination).await?,
        // One process has one partition of each queue.
        None => Partitions::Only(0),
    };
    let done = api.quarantine().replay(&which, &*queues, &partitions).await?;
    if let Some((_, reason)) = done.failed.into_iter().next() {
        return Err(ApiError::Conflict(format!("{id} cannot be replayed: {reason}")));
    }
    tracing::info!(segment = %id, "a segment in quarantine is queued again, as the API was asked to");
    Ok((StatusCode::ACCEPTED, Json(Requeued { segment: id.to_string() })))
}
