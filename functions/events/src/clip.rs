//! An event's video: which stored segments it is made of, and its bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError};
use detektor_backends::store::EventStore;
use detektor_contract::{Digest, Event, KeptVideo, ObjectKey, OutcomeBody, Position, Span, TimeUs};
use detektor_media::MediaError;
use detektor_media::clip::{Clip, ClipSegment, Piece};
use detektor_media::segment::SegmentIndex;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use crate::cursor::FrameCursor;
use crate::problem::ApiError;
use crate::walk::Walk;

/// What is shown before and after the event, where it is stored.
const PADDING_US: i64 = 3_000_000;
/// Segments looked at for the padding on either side.
const PADDING_SEGMENTS: u64 = 16;
/// A clip shows so much of an event that lasts longer.
const LONGEST_US: i64 = 15 * 60 * 1_000_000;
/// Segments are at most 4 s long, and usually about 1 s.
const MOST_SEGMENTS: usize = 1_800;
/// What a segment's head usually fits in.
const HEAD_BYTES: u64 = 8 * 1024;
/// No head is longer; see the media crate's limits.
const LONGEST_HEAD: u64 = 6 << 20;
/// Heads that are read at a time.
const READS: usize = 8;
/// Bytes of a segment that are in memory at a time.
const CHUNK: u64 = 256 * 1024;

/// A file that can be served in any range.
pub(crate) struct Film {
    clip: Clip,
    keys: Vec<ObjectKey>,
}

/// A stored segment that belongs to the clip.
struct Stored {
    span: Span,
    video: KeptVideo,
}

impl Film {
    /// Lays out an event's clip; none if no video of it is kept.
    pub(crate) async fn of(
        store: &Arc<dyn EventStore>,
        bucket: &Arc<dyn Bucket>,
        event: &Event,
    ) -> Result<Option<Self>, ApiError> {
        let stored = segments(store, event).await?;
        let heads = stream::iter(stored.into_iter().map(|segment| head(bucket.clone(), segment)));
        let found: Vec<_> = heads.buffered(READS).try_filter_map(|found| async { Ok(found) }).try_collect().await?;
        if found.is_empty() {
            return Ok(None);
        }
        let planned = tokio::task::spawn_blocking(move || plan(&found)).await;
        match planned.map_err(|error| ApiError::Internal(error.to_string()))? {
            Ok(film) => Ok(Some(film)),
            Err(MediaError::Empty) => Ok(None),
            Err(error) => Err(ApiError::Internal(format!("the clip of {}: {error}", event.id))),
        }
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.clip.total
    }

    /// Says which file it is: by what is made, and by which objects follow.
    pub(crate) fn digest(&self) -> Digest {
        let mut name = Vec::new();
        for piece in &self.clip.pieces {
            match piece {
                Piece::Made(bytes) => name.extend_from_slice(bytes),
                Piece::Stored { segment, offset, length } => {
                    let key = self.keys.get(*segment).map_or("", ObjectKey::as_str);
                    name.extend_from_slice(format!("{key} {offset} {length}\n").as_bytes());
                }
            }
        }
        Digest::of(&name)
    }

    /// A range of its bytes, read as they are asked for.
    pub(crate) fn read(
        self,
        bucket: Arc<dyn Bucket>,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, BucketError>> + Send + 'static {
        stream::iter(self.clip.range(range)).flat_map(move |piece| match piece {
            Piece::Made(bytes) => stream::once(async { Ok(bytes) }).boxed(),
            Piece::Stored { segment, offset, length } => match self.keys.get(segment) {
                Some(key) => read(bucket.clone(), key.clone(), offset..offset + length).boxed(),
                None => stream::empty().boxed(),
            },
        })
    }
}

fn plan(found: &[(Stored, SegmentIndex)]) -> Result<Film, MediaError> {
    let segments: Vec<ClipSegment<'_>> = found
        .iter()
        .map(|(Stored { span, video }, index)| ClipSegment {
            index,
            start_us: span.start.0,
            pre_roll: video.pre_roll,
            post_roll: video.post_roll,
            hidden: &video.hidden,
        })
        .collect();
    let clip = Clip::plan(&segments)?;
    Ok(Film { clip, keys: found.iter().map(|(segment, _)| segment.video.key.clone()).collect() })
}

/// The kept segments from shortly before an event to shortly after it.
async fn segments(store: &Arc<dyn EventStore>, event: &Event) -> Result<Vec<Stored>, ApiError> {
    let (first, last) = (event.first_segment.position(), event.last_segment.position());
    let from = event.start.plus(-PADDING_US);
    let until = event.end.plus(PADDING_US).min(event.start.plus(LONGEST_US));
    let begin = Position { sequence: first.sequence.saturating_sub(PADDING_SEGMENTS), ..first };
    let end = Position { sequence: last.sequence.saturating_add(PADDING_SEGMENTS), ..last };
    let near = |span: &Span| span.clock == event.clock && span.end > from && span.start < until;

    let place = FrameCursor { at: begin, frame: 0 };
    let mut walk = Walk::new(store.clone(), event.camera.clone(), place).await?;
    let mut found = Vec::new();
    while walk.place().is_some() {
        for seen in walk.batch().await? {
            let at = seen.outcome.id.position();
            if at > end || found.len() == MOST_SEGMENTS || behind(&seen.outcome, last, until) {
                return Ok(found);
            }
            let OutcomeBody::Result(result) = seen.outcome.body else { continue };
            let Some(video) = result.video.filter(|_| !seen.superseded && near(&result.span)) else { continue };
            found.push(Stored { span: result.span, video });
        }
    }
    Ok(found)
}

/// Whether nothing at or after this outcome can belong to the clip: capture times rise within an epoch.
fn behind(outcome: &detektor_contract::Outcome, last: Position, until: TimeUs) -> bool {
    outcome.id.epoch == last.epoch && outcome.span().is_some_and(|span| span.start >= until)
}

/// Reads a segment's head; none if it is not kept any more or cannot be read.
async fn head(bucket: Arc<dyn Bucket>, segment: Stored) -> Result<Option<(Stored, SegmentIndex)>, BucketError> {
    let key = &segment.video.key;
    let mut wanted = HEAD_BYTES;
    loop {
        let bytes = match bucket.get_range(key, 0, wanted).await {
            Ok(bytes) => bytes,
            Err(BucketError::NotFound(_) | BucketError::Range { .. }) => return Ok(None),
            Err(error @ BucketError::Unavailable { .. }) => return Err(error),
        };
        match SegmentIndex::read(&bytes) {
            Ok(index) => return Ok(Some((segment, index))),
            Err(MediaError::Incomplete { needed }) if needed > wanted && needed <= LONGEST_HEAD => wanted = needed,
            Err(error) => {
                tracing::warn!(%key, %error, "a kept segment cannot be read and is left out of a clip");
                return Ok(None);
            }
        }
    }
}

/// An object's bytes, a chunk at a time.
fn read(bucket: Arc<dyn Bucket>, key: ObjectKey, range: Range<u64>) -> impl Stream<Item = Result<Bytes, BucketError>> {
    stream::try_unfold(range.start, move |at| {
        let (bucket, key) = (bucket.clone(), key.clone());
        async move {
            if at >= range.end {
                return Ok(None);
            }
            let bytes = bucket.get_range(&key, at, CHUNK.min(range.end - at)).await?;
            if bytes.is_empty() {
                // Cut short since it was laid out: the answer must break off, not go on with what comes next.
                return Err(BucketError::Range { key, bytes: at, start: at });
            }
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, next)))
        }
    })
}
