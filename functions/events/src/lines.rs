//! Everything in a store as a stream of records in a fixed order: what `detektor events|detections|ledger --json` print.

use std::collections::VecDeque;
use std::sync::Arc;

use detektor_backends::store::{EventCursor, EventFilter, EventStore, Order, StoreError};
use detektor_contract::CameraId;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::views::{DetectionView, EventView, LedgerView};
use crate::walk::{Walk, first_of, gaps};

const PAGE: u32 = 500;

/// A stream of records; ends at the first error.
pub type Lines<T> = BoxStream<'static, Result<T, StoreError>>;

/// Events by camera, start, id; of one camera or of all.
pub fn events(store: Arc<dyn EventStore>, camera: Option<CameraId>) -> Lines<EventView> {
    let of = store.clone();
    cameras(store, camera).map_ok(move |camera| events_of(of.clone(), camera)).try_flatten().boxed()
}

/// Frames that were looked at, by camera, epoch, frame; of one camera or of all. Superseded frames are left out.
pub fn detections(store: Arc<dyn EventStore>, camera: Option<CameraId>) -> Lines<DetectionView> {
    let of = store.clone();
    cameras(store, camera).map_ok(move |camera| detections_of(of.clone(), camera)).try_flatten().boxed()
}

/// Ledgers by camera; of one camera or of all.
pub fn ledgers(store: Arc<dyn EventStore>, camera: Option<CameraId>) -> Lines<LedgerView> {
    let all = async move {
        let mut views = Vec::new();
        for info in store.cameras().await? {
            if camera.as_ref().is_none_or(|only| *only == info.id) {
                let gaps = gaps(&store, &info.id, usize::MAX).await?;
                views.push(LedgerView::new(&info.id, &info.ledger, &gaps));
            }
        }
        Ok(stream::iter(views.into_iter().map(Ok)))
    };
    stream::once(all).try_flatten().boxed()
}

fn cameras(store: Arc<dyn EventStore>, only: Option<CameraId>) -> Lines<CameraId> {
    let all = async move {
        let ids = match only {
            Some(camera) => vec![camera],
            None => store.cameras().await?.into_iter().map(|info| info.id).collect(),
        };
        Ok(stream::iter(ids.into_iter().map(Ok)))
    };
    stream::once(all).try_flatten().boxed()
}

fn events_of(store: Arc<dyn EventStore>, camera: CameraId) -> Lines<EventView> {
    let filter = EventFilter { camera: Some(camera), ..EventFilter::default() };
    // None: the last page was read.
    let begin = Some(None::<EventCursor>);
    stream::try_unfold(begin, move |after| {
        let (store, filter) = (store.clone(), filter.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = store.events(&filter, Order::Ascending, after.as_ref(), PAGE).await?;
            let next = match page.last() {
                Some(last) if page.len() == PAGE as usize => {
                    Some(Some(EventCursor { start: last.event.start, id: last.event.id.clone() }))
                }
                _ => None,
            };
            let views: Vec<_> = page.iter().map(|stored| Ok(EventView::from(&stored.event))).collect();
            Ok(Some((stream::iter(views), next)))
        }
    })
    .try_flatten()
    .boxed()
}

fn detections_of(store: Arc<dyn EventStore>, camera: CameraId) -> Lines<DetectionView> {
    let walk = async move {
        let walk = match first_of(0) {
            Some(start) => Some(Walk::new(store, camera, start).await?),
            None => None,
        };
        Ok(stream::try_unfold((walk, VecDeque::new()), |(mut walk, mut ready)| async move {
            loop {
                if let Some(view) = ready.pop_front() {
                    return Ok(Some((view, (walk, ready))));
                }
                let Some(open) = walk.as_mut().filter(|walk| walk.place().is_some()) else { return Ok(None) };
                let batch = open.batch().await?;
                ready.extend(batch.into_iter().flat_map(|seen| seen.looked).map(|(view, ..)| view));
            }
        }))
    };
    stream::once(walk).try_flatten().boxed()
}
