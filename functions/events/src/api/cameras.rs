//! `/v1/cameras`.

use axum::Json;
use axum::extract::{RawQuery, State};
use detektor_backends::store::{CameraInfo, EventFilter, Order};
use detektor_contract::{CameraId, Clock, Gap, Outcome, Position, TimeUs};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::cursor::{self, FrameCursor};
use crate::params::{Id, Params};
use crate::problem::{ApiError, Problem};
use crate::views::{CameraView, DetectionView, GapView, LedgerView};
use crate::walk::{Seen, Walk, first_of, gaps};

/// Entries of gaps that an answer looks at, from the newest back.
const GAPS: usize = 5_000;
/// Events on a timeline, newest first.
const BARS: u32 = 2_000;
/// Outcomes among which the first frame is looked for: only markers can come before it.
const FIRST: u32 = 4;
/// What a timeline of a live camera shows unless asked otherwise.
const DAY_US: i64 = 86_400_000_000;
/// Outcomes that one answer looks through before it hands out a cursor.
const OUTCOMES: usize = 2_000;

/// Every camera.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cameras {
    /// In the order of their names.
    cameras: Vec<CameraView>,
}

/// Every camera and what it is doing.
#[utoipa::path(get, path = "/v1/cameras", tag = "cameras",
    responses((status = 200, description = "Every camera", body = Cameras)))]
pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Cameras>, ApiError> {
    Params::new(query.as_deref()).finish()?;
    let cameras = api.store().cameras().await?.iter().map(CameraView::from).collect();
    Ok(Json(Cameras { cameras }))
}

/// One camera and what it is doing.
#[utoipa::path(get, path = "/v1/cameras/{id}", tag = "cameras",
    params(("id" = String, Path, description = "The camera's name.")),
    responses(
        (status = 200, description = "The camera", body = CameraView),
        (status = 404, description = "No such camera", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn one(State(api): State<Api>, Id(id): Id<CameraId>) -> Result<Json<CameraView>, ApiError> {
    Ok(Json(CameraView::from(&find(&api, &id).await?)))
}

/// What became of a camera's frames, and when nothing was captured (the newest gaps, should there be thousands).
#[utoipa::path(get, path = "/v1/cameras/{id}/ledger", tag = "cameras",
    params(("id" = String, Path, description = "The camera's name.")),
    responses(
        (status = 200, description = "The ledger", body = LedgerView),
        (status = 404, description = "No such camera", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn ledger(State(api): State<Api>, Id(id): Id<CameraId>) -> Result<Json<LedgerView>, ApiError> {
    let info = find(&api, &id).await?;
    let gaps = gaps(api.store(), &id, GAPS).await?;
    Ok(Json(LedgerView::new(&id, &info.ledger, &gaps)))
}

/// A page of frames that were looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetectionPage {
    /// By epoch, then frame. May be fewer than asked for, or none, while there are more.
    detections: Vec<DetectionView>,
    /// The cursor of the next page; none on the last.
    next: Option<String>,
}

/// Every frame that was looked at, also those in which nothing was seen; superseded frames are left out.
#[utoipa::path(get, path = "/v1/cameras/{id}/detections", tag = "cameras",
    params(
        ("id" = String, Path, description = "The camera's name."),
        ("from" = Option<f64>, Query, description = "Only frames captured at or after this, in seconds."),
        ("until" = Option<f64>, Query, description = "Only frames captured before this, in seconds."),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 2000 unless configured otherwise; 200 if not given."),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of frames", body = DetectionPage),
        (status = 404, description = "No such camera", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Parameters that cannot be used, all named", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn detections(
    State(api): State<Api>,
    Id(id): Id<CameraId>,
    RawQuery(query): RawQuery,
) -> Result<Json<DetectionPage>, ApiError> {
    let mut params = Params::new(query.as_deref());
    let limits = api.gate().limits();
    let (from, until) = params.span(limits.span_days);
    let limit = params.limit(200, limits.detections) as usize;
    let cursor = params.one("cursor", cursor::EXPECTED, cursor::decode_frame);
    params.finish()?;
    find(&api, &id).await?;

    let (from, until) = (from.unwrap_or(TimeUs(i64::MIN)), until.unwrap_or(TimeUs(i64::MAX)));
    let mut page = DetectionPage { detections: Vec::new(), next: None };
    let Some(begin) = (match cursor {
        Some(cursor) => Some(cursor),
        None => first_frame(&api, &id, from, until).await?,
    }) else {
        return Ok(Json(page));
    };
    let mut walk = Walk::new(api.store().clone(), id, begin).await?;
    let mut seen = 0;
    while let Some(place) = walk.place() {
        if seen >= OUTCOMES {
            page.next = Some(cursor::encode_frame(place));
            break;
        }
        let batch = walk.batch().await?;
        seen += batch.len().max(1);
        for Seen { outcome, looked, .. } in batch {
            if outcome.span().is_some_and(|span| span.start >= until) {
                // Within an epoch capture times rise: the rest of it lies behind too.
                walk.skip_epoch_of(&outcome);
                break;
            }
            for (view, at, behind) in looked {
                if at < from || at >= until {
                    continue;
                }
                page.detections.push(view);
                if page.detections.len() == limit {
                    page.next = Some(cursor::encode_frame(behind));
                    return Ok(Json(page));
                }
            }
        }
    }
    Ok(Json(page))
}

/// The first frame of the first segment that overlaps the span.
async fn first_frame(
    api: &Api,
    camera: &CameraId,
    from: TimeUs,
    until: TimeUs,
) -> Result<Option<FrameCursor>, ApiError> {
    if from == TimeUs(i64::MIN) {
        return Ok(first_of(0));
    }
    let first = api.store().outcomes_between(camera, from, until, 1).await?;
    Ok(first.first().map(|outcome| FrameCursor { at: outcome.id.position(), frame: 0 }))
}

/// What a timeline shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// Whose.
    camera: String,
    /// What the times count from.
    #[schema(value_type = String)]
    clock: Clock,
    /// Where it begins, in seconds.
    from_s: f64,
    /// Where it ends, in seconds.
    until_s: f64,
    /// When the camera's first frame was captured, in seconds: before it there is nothing to show.
    begins_s: Option<f64>,
    /// Events that overlap it, oldest first.
    events: Vec<Bar>,
    /// Whether older events are left out because there are too many.
    truncated: bool,
    /// Times in which nothing was captured.
    gaps: Vec<GapView>,
}

/// An event on a timeline.
#[derive(Debug, Serialize, ToSchema)]
struct Bar {
    /// The event.
    id: String,
    /// What it is.
    label: String,
    /// When it was first seen, in seconds.
    start_s: f64,
    /// When it was last seen, in seconds.
    end_s: f64,
    /// The highest score it ever had, 0 to 1.
    best_score: f64,
    /// Whether it goes on.
    open: bool,
}

/// Events and gaps over time, compact. Without `from`: footage from its beginning, live cameras the last day.
#[utoipa::path(get, path = "/v1/cameras/{id}/timeline", tag = "cameras",
    params(
        ("id" = String, Path, description = "The camera's name."),
        ("from" = Option<f64>, Query, description = "Where it begins, in seconds."),
        ("until" = Option<f64>, Query, description = "Where it ends, in seconds; the newest frame if not given."),
    ),
    responses(
        (status = 200, description = "The timeline", body = Timeline),
        (status = 404, description = "No such camera", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Parameters that cannot be used, all named", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn timeline(
    State(api): State<Api>,
    Id(id): Id<CameraId>,
    RawQuery(query): RawQuery,
) -> Result<Json<Timeline>, ApiError> {
    let mut params = Params::new(query.as_deref());
    let (from, until) = params.span(api.gate().limits().span_days);
    params.finish()?;
    let (merged, clock) = find(&api, &id).await?.merged_until.unwrap_or_default();
    let until = until.unwrap_or_else(|| merged.max(from.unwrap_or(merged)));
    let from = from.unwrap_or(match clock {
        Clock::Media => TimeUs(0).min(until),
        Clock::Unix => until.plus(-DAY_US),
    });

    let filter = EventFilter { camera: Some(id.clone()), from: Some(from), until: Some(until), ..Default::default() };
    let events = api.store().events(&filter, Order::Descending, None, BARS + 1).await?;
    let gaps = gaps(api.store(), &id, GAPS).await?;
    let first = api.store().outcomes(&id, Position::default(), FIRST).await?;
    let begins = first.iter().find_map(Outcome::span).map(|span| span.start);
    let shown = |gap: &&Gap| gap.clock == clock && gap.from < until && gap.until.is_none_or(|end| end > from);
    Ok(Json(Timeline {
        camera: id.to_string(),
        clock,
        from_s: from.seconds(),
        until_s: until.seconds(),
        begins_s: begins.map(TimeUs::seconds),
        truncated: events.len() > BARS as usize,
        events: events.iter().take(BARS as usize).rev().map(|stored| Bar::from(&stored.event)).collect(),
        gaps: gaps.iter().filter(shown).map(GapView::from).collect(),
    }))
}

impl From<&detektor_contract::Event> for Bar {
    fn from(event: &detektor_contract::Event) -> Self {
        Self {
            id: event.id.to_string(),
            label: event.label.to_string(),
            start_s: event.start.seconds(),
            end_s: event.end.seconds(),
            best_score: event.best_score.to_f64(),
            open: event.state == detektor_contract::EventState::Open,
        }
    }
}

/// The camera, or that there is none.
pub(crate) async fn find(api: &Api, id: &CameraId) -> Result<CameraInfo, ApiError> {
    let cameras = api.store().cameras().await?;
    cameras
        .into_iter()
        .find(|info| info.id == *id)
        .ok_or_else(|| ApiError::NotFound(format!("there is no camera {id}")))
}
