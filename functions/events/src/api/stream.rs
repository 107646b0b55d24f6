//! `/v1/events/stream`: changes to events as server-sent events, without a gap over reconnects.
//!
//! Every message carries its place in the feed as its id. Whoever reconnects with the last id (browsers do so on their
//! own) goes on right behind it. The stream is pulled: a page of the feed is read when the client has taken the one
//! before, so a slow client costs a page of memory, falls behind, and misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use detektor_backends::store::{Feed, FeedEntry, FeedPosition};
use detektor_contract::{CameraId, EventChange, Label};
use detektor_runtime::http::Peer;
use futures::stream;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::events::EventItem;
use crate::limits::StreamPermit;
use crate::params::Params;
use crate::problem::{ApiError, Problem};

/// Changes read at a time.
const PAGE: u32 = 128;
/// What a browser waits before it reconnects.
const RETRY: Duration = Duration::from_secs(2);
/// What the stream waits before it asks a store again that did not answer, and how often it does.
const STORE_RETRY: Duration = Duration::from_secs(1);
const STORE_RETRIES: u32 = 10;

/// A change to an event, as the stream tells it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    /// `opened`, `updated`, `closed`, `revised` or `withdrawn`; also the message's type.
    change: &'static str,
    /// The event after it; its last state, if it was withdrawn.
    event: EventItem,
}

/// A place in the feed, as it is written.
pub(crate) fn name(at: FeedPosition) -> String {
    format!("{}:{}", at.generation, at.position)
}

fn read(text: &str) -> Option<FeedPosition> {
    let (generation, position) = text.split_once(':')?;
    Some(FeedPosition { generation: generation.parse().ok()?, position: position.parse().ok()? })
}

/// Changes to events as they are made (`text/event-stream`).
///
/// Each message's id is its place (`generation:position`). Send the last one as `Last-Event-ID` to go on behind it;
/// without one the stream begins now. A message `reset` says that everything is to be read anew; what follows goes on
/// from the place that it names.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events",
    params(
        ("camera" = Option<String>, Query, description = "Only this camera's."),
        ("label" = Option<Vec<String>>, Query, description = "Only these classes; may be repeated."),
        ("last_event_id" = Option<String>, Query,
         description = "Where to begin, unless the header `Last-Event-ID` says so."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last message that was received."),
    ),
    responses(
        (status = 200, description = "Messages of the types opened, updated, closed, revised, withdrawn (data: a \
         change) and reset", body = ChangeView, content_type = "text/event-stream"),
        (status = 422, description = "Parameters that cannot be used, all named", body = Problem,
         content_type = "application/problem+json"),
        (status = 429, description = "This client has too many streams open", body = Problem,
         content_type = "application/problem+json"),
        (status = 503, description = "Too many streams are open", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(crate) async fn stream(
    State(api): State<Api>,
    Extension(client): Extension<Peer>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    const EXPECTED: &str = "generation:position, the id of a message";
    let mut params = Params::new(query.as_deref());
    let camera = params.camera();
    let labels = params.labels();
    let mut last = params.one("last_event_id", EXPECTED, read);
    // A browser that reconnects keeps the address it began with: the header is newer.
    if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
        last = value.to_str().ok().and_then(read);
        if last.is_none() {
            params.mistake("Last-Event-ID", format!("expected {EXPECTED}"));
        }
    }
    params.finish()?;
    let permit = api.gate().stream(client).inspect_err(|error| {
        if let ApiError::TooMany { what, .. } = error {
            api.metrics().refused(*what);
        }
    })?;
    let at = match last {
        Some(last) => last,
        None => api.store().feed_head().await?,
    };
    let begin = Message::default().retry(RETRY).id(name(at)).comment("stream open");
    let tail = Tail {
        filter: Filter { camera, labels },
        at,
        ready: VecDeque::from([begin]),
        spoken: Instant::now(),
        _open: Open::new(&api, permit),
        api,
    };
    let messages = stream::unfold(tail, |mut tail| async move {
        let message = tail.next().await?;
        Some((Ok::<_, Infallible>(message), tail))
    });
    let mut response = Sse::new(messages).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies in front must not collect messages.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Filter {
    camera: Option<CameraId>,
    labels: Vec<Label>,
}

impl Filter {
    fn takes(&self, change: &EventChange) -> bool {
        let event = change.event();
        self.camera.as_ref().is_none_or(|camera| *camera == event.camera)
            && (self.labels.is_empty() || self.labels.contains(&event.label))
    }
}

/// Counts an open stream until it is dropped.
struct Open(prometheus::IntGauge, #[expect(dead_code, reason = "held until the stream ends")] StreamPermit);

impl Open {
    fn new(api: &Api, permit: StreamPermit) -> Self {
        let gauge = api.metrics().streams.clone();
        gauge.inc();
        Self(gauge, permit)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One client's place in the feed.
struct Tail {
    api: Api,
    filter: Filter,
    /// Everything up to here was told or does not concern this client.
    at: FeedPosition,
    ready: VecDeque<Message>,
    spoken: Instant,
    _open: Open,
}

impl Tail {
    /// The next message; none when the server shuts down or the store stays away. The client then reconnects.
    async fn next(&mut self) -> Option<Message> {
        let shutdown = self.api.shutdown().clone();
        let message = shutdown.run_until_cancelled(self.produce()).await.flatten();
        self.spoken = Instant::now();
        message
    }

    async fn produce(&mut self) -> Option<Message> {
        let mut failures = 0;
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            match self.read().await {
                Ok(true) => failures = 0,
                Ok(false) => {
                    failures = 0;
                    if self.spoken.elapsed() >= self.api.heartbeat() {
                        // An id without data moves the client's place on, also past what its filter left out.
                        return Some(Message::default().id(name(self.at)).comment("still here"));
                    }
                    let changed = self.api.store().feed_changed();
                    let _ = tokio::time::timeout_at(self.spoken + self.api.heartbeat(), changed).await;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "the feed cannot be read");
                    if failures > STORE_RETRIES {
                        return None;
                    }
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    /// Reads a page of the feed; `false` if nothing is new.
    async fn read(&mut self) -> Result<bool, detektor_backends::store::StoreError> {
        match self.api.store().feed(self.at, PAGE).await? {
            Feed::Entries(entries) => {
                let Some(last) = entries.last() else { return Ok(false) };
                self.at = last.at;
                let told: Vec<_> =
                    entries.iter().filter(|entry| self.filter.takes(&entry.change)).map(message).collect();
                self.api.metrics().changes.inc_by(told.len() as u64);
                self.ready.extend(told);
            }
            Feed::Reset(head) => {
                self.at = head;
                self.api.metrics().resets.inc();
                let data = format!("{{\"stream_from\":\"{}\"}}", name(head));
                self.ready.push_back(Message::default().event("reset").id(name(head)).data(data));
            }
        }
        Ok(true)
    }
}

fn message(entry: &FeedEntry) -> Message {
    let change = match &entry.change {
        EventChange::Opened(_) => "opened",
        EventChange::Continued(_) | EventChange::Updated(_) => "updated",
        EventChange::Closed(_) => "closed",
        EventChange::Revised(_) => "revised",
        EventChange::Withdrawn(_) => "withdrawn",
    };
    let view = ChangeView { change, event: EventItem::new(entry.change.event(), entry.revision) };
    // Plain data with string keys: there is nothing in it that JSON cannot hold.
    let data = serde_json::to_string(&view).unwrap_or_default();
    Message::default().event(change).id(name(entry.at)).data(data)
}
