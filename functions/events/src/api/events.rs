//! `/v1/events`.

use axum::Json;
use axum::extract::{RawQuery, State};
use detektor_backends::store::{EventCursor, EventFilter, Order, StoredEvent};
use detektor_contract::EventId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{Api, stream};
use crate::cursor;
use crate::params::{Id, Params};
use crate::problem::{ApiError, Problem};
use crate::views::EventView;

/// An event, and where its parts are.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct EventItem {
    /// The event.
    #[serde(flatten)]
    pub(crate) event: EventView,
    /// Rises with every change that readers are told of.
    pub(crate) revision: u32,
    /// Where its snapshot is, if one was kept.
    pub(crate) snapshot_url: Option<String>,
    /// Where its clip is; there is one if its video was kept.
    pub(crate) clip_url: String,
}

impl EventItem {
    pub(crate) fn new(event: &detektor_contract::Event, revision: u32) -> Self {
        let view = EventView::from(event);
        let base = format!("/v1/events/{}", event.id);
        let snapshot_url = event.best.snapshot.is_some().then(|| format!("{base}/snapshot"));
        Self { event: view, revision, snapshot_url, clip_url: format!("{base}/clip") }
    }
}

impl From<&StoredEvent> for EventItem {
    fn from(stored: &StoredEvent) -> Self {
        Self::new(&stored.event, stored.revision)
    }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventPage {
    /// The events.
    events: Vec<EventItem>,
    /// The cursor of the next page; none on the last.
    next: Option<String>,
    /// Where `/v1/events/stream` goes on from this answer: its `last_event_id`.
    stream_from: String,
}

/// Events, newest first unless asked otherwise.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(
        ("camera" = Option<String>, Query, description = "Only this camera's."),
        ("label" = Option<Vec<String>>, Query, description = "Only these classes; may be repeated."),
        ("from" = Option<f64>, Query, description = "Only those that end at or after this, in seconds."),
        ("until" = Option<f64>, Query, description = "Only those that begin before this, in seconds."),
        ("min_score" = Option<f64>, Query, description = "Only those whose best score reaches this, 0 to 1."),
        ("order" = Option<String>, Query, description = "`desc` (newest first, the default) or `asc`, by start."),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 500 unless configured otherwise; 50 if not given."),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        (status = 422, description = "Parameters that cannot be used, all named", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<EventPage>, ApiError> {
    let limits = api.gate().limits();
    let mut params = Params::new(query.as_deref());
    let (from, until) = params.span(limits.span_days);
    let filter = EventFilter {
        camera: params.camera(),
        labels: params.labels(),
        from,
        until,
        min_score: params.score("min_score"),
    };
    let order = params.one("order", "asc or desc", |text| match text {
        "asc" => Some(Order::Ascending),
        "desc" => Some(Order::Descending),
        _ => None,
    });
    let limit = params.limit(50, limits.events);
    let after = params.one("cursor", cursor::EXPECTED, cursor::decode_event);
    params.finish()?;

    // Read before the events: what changes meanwhile is then told by the stream once more, not left out.
    let head = api.store().feed_head().await?;
    let order = order.unwrap_or(Order::Descending);
    let mut events = api.store().events(&filter, order, after.as_ref(), limit + 1).await?;
    let more = events.len() > limit as usize;
    events.truncate(limit as usize);
    let next = events.last().filter(|_| more).map(|last| {
        let place = EventCursor { start: last.event.start, id: last.event.id.clone() };
        cursor::encode_event(&place)
    });
    let events = events.iter().map(EventItem::from).collect();
    Ok(Json(EventPage { events, next, stream_from: stream::name(head) }))
}

/// One event.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events",
    params(("id" = String, Path, description = "The event's id.")),
    responses(
        (status = 200, description = "The event", body = EventItem),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn one(State(api): State<Api>, Id(id): Id<EventId>) -> Result<Json<EventItem>, ApiError> {
    Ok(Json(EventItem::from(&find(&api, &id).await?)))
}

/// The event, or that there is none.
pub(crate) async fn find(api: &Api, id: &EventId) -> Result<StoredEvent, ApiError> {
    api.store().event(id).await?.ok_or_else(|| ApiError::NotFound(format!("there is no event {id}")))
}
