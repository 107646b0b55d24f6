//! A camera: what it sends comes once. Lost, it is looked for; the time without it is a gap.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use detektor_backends::store::{CameraState, EpochRequest};
use detektor_contract::fold::Seams;
use detektor_contract::{EndReason, GapCause};
use detektor_runtime::chain;
use detektor_runtime::retry::Backoff;
use tokio::time::{Instant, timeout};

use super::{Camera, End, RECONNECT};
use crate::ingest::Ingest;
use crate::publish::{Manner, Publisher};
use crate::record::Recorder;
use crate::source::{Item, Opened, Source, SourceError};

/// A connection that held for so long was good: the next loss is a new one.
const GOOD: Duration = Duration::from_secs(30);
/// So long the key frame of a seam is waited for: what merge allows two dispatchers to be apart.
const SEAM_WAIT: Duration = Duration::from_micros(Seams::KEY_FRAME_GRACE_US as u64);

/// What a live camera is cut with.
struct Desk {
    ingest: Ingest,
    recorder: Recorder,
    publisher: Publisher,
}

/// A live epoch's beginning.
pub(super) struct Begun {
    pub(super) source: Box<dyn Source>,
    pub(super) ingest: Ingest,
    pub(super) recorder: Recorder,
}

impl Camera {
    /// Watches a camera until shutdown.
    pub(super) async fn watch(&mut self, opened: Opened) -> Result<(), End> {
        let Begun { source, ingest, recorder } = self.begin(opened).await?;
        let publisher = self.publisher(Manner::Live { spool: self.shared.spool.clone() });
        let mut desk = Desk { ingest, recorder, publisher };
        let ended = self.watch_on(source, &mut desk).await;
        let reason = match &ended {
            Ok(()) => EndReason::EndOfFile,
            Err(End::Stopped | End::Lost) => self.post.as_ref().map_or(EndReason::Stopped, |post| post.stop.reason()),
            Err(End::Failed(_)) => EndReason::SourceFailed,
        };
        desk.ingest.end();
        let told = match self.forward(&mut desk.ingest, &mut desk.recorder, &desk.publisher).await {
            Ok(()) => self.send(desk.recorder.end(reason), &desk.publisher).await,
            Err(ended) => Err(ended),
        };
        self.count(&desk.recorder);
        desk.publisher.finish().await.map_err(End::Failed)?;
        told.map_err(End::from).and(ended)
    }

    /// Begins an epoch: that of its claim, where the camera has one.
    async fn begin(&mut self, opened: Opened) -> Result<Begun, End> {
        if let Some(post) = self.post.as_ref().filter(|_| self.config.url.is_camera()) {
            let claim = post.claim.clone();
            return self.begin_claimed(&claim, opened.source).await;
        }
        let store = Arc::clone(&self.shared.outlets.store);
        let camera = self.config.id.clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = EpochRequest::Live { now_ms: now.as_millis() as u64 };
        let epoch = self.patiently("beginning an epoch", || store.begin_epoch(&camera, request)).await?;
        let ingest = Ingest::new(self.shared.config.cutting, true);
        Ok(Begun { source: opened.source, ingest, recorder: Recorder::new(self.orders(), epoch, 0, true) })
    }

    async fn watch_on(&mut self, mut source: Box<dyn Source>, desk: &mut Desk) -> Result<(), End> {
        let mut backoff = Backoff::new(RECONNECT);
        loop {
            let since = Instant::now();
            let error = self.read_live(&mut *source, desk).await?;
            if self.shared.config.until_done && !self.config.url.is_camera() {
                // Whether it is a file or a camera, nobody can tell; its first end is its end.
                return error.map_or(Ok(()), |error| Err(End::Failed(chain(&error))));
            }
            drop(source);
            if since.elapsed() > GOOD {
                backoff.reset();
            }
            let (cause, error) = match error {
                None => (GapCause::Disconnected, "the stream ended".to_owned()),
                Some(error) => (cause(&error), chain(&error)),
            };
            desk.ingest.disconnected(cause);
            self.forward(&mut desk.ingest, &mut desk.recorder, &desk.publisher).await?;
            source = self.find_again(desk, cause, error, &mut backoff).await?;
        }
    }

    /// Reads until the stream ends, or what it broke off with.
    async fn read_live(&mut self, source: &mut dyn Source, desk: &mut Desk) -> Result<Option<SourceError>, End> {
        loop {
            let item = match self.stop.run_until_cancelled(source.next()).await {
                Some(Ok(Some(item))) => item,
                Some(Ok(None)) => return Ok(None),
                Some(Err(error)) => return Ok(Some(error)),
                None => {
                    // A source that is slow to bring the seam's key frame brings it later.
                    _ = timeout(SEAM_WAIT, self.read_to_seam(source, desk)).await;
                    return Err(End::Stopped);
                }
            };
            self.take_in(item, desk).await?;
        }
    }

    /// Reads on until the key frame at which another dispatcher took over has come, so that nothing before it is missing.
    async fn read_to_seam(&mut self, source: &mut dyn Source, desk: &mut Desk) -> Result<(), End> {
        let Some(key_frame) = self.post.as_ref().and_then(|post| post.stop.seam()) else { return Ok(()) };
        while !desk.ingest.has_had(&key_frame)
            && let Ok(Some(item)) = source.next().await
        {
            self.take_in(item, desk).await?;
        }
        Ok(())
    }

    async fn take_in(&mut self, item: Item, desk: &mut Desk) -> Result<(), End> {
        match item {
            Item::Stream(info) => {
                desk.ingest.stream(info);
                self.state(CameraState::Running).await;
            }
            Item::Unit(unit) => desk.ingest.unit(unit),
            Item::Lost { cause, detail } => {
                tracing::warn!(camera = %self.config.id, detail, "the camera lost something");
                desk.ingest.lost(cause);
            }
        }
        Ok(self.forward(&mut desk.ingest, &mut desk.recorder, &desk.publisher).await?)
    }

    /// Looks for a lost camera until it is back. Said once, not at every try.
    async fn find_again(
        &mut self,
        desk: &mut Desk,
        cause: GapCause,
        error: String,
        backoff: &mut Backoff,
    ) -> Result<Box<dyn Source>, End> {
        tracing::warn!(camera = %self.config.id, error, "the camera is lost, looking for it");
        self.state(CameraState::Lost { error }).await;
        let lost = Instant::now();
        let mut told = false;
        loop {
            let next_try = Instant::now() + backoff.next_wait(None);
            let tell = lost + self.shared.config.lost_after;
            if !told && tell <= next_try {
                self.sleep(tell.saturating_duration_since(Instant::now())).await?;
                told = true;
                self.send(desk.recorder.gap(None, cause), &desk.publisher).await?;
            }
            self.sleep(next_try.saturating_duration_since(Instant::now())).await?;
            match self.open().await? {
                Ok(opened) => {
                    tracing::info!(camera = %self.config.id, after = ?lost.elapsed(), "the camera is back");
                    self.shared.numbers.reconnected();
                    return Ok(opened.source);
                }
                Err(error) => tracing::debug!(camera = %self.config.id, error = chain(&error), "still lost"),
            }
        }
    }
}

fn cause(error: &SourceError) -> GapCause {
    match error {
        SourceError::Silent { .. } => GapCause::Silent,
        SourceError::Open { .. } | SourceError::Broken { .. } => GapCause::Disconnected,
        SourceError::Empty { .. } | SourceError::Unsupported { .. } | SourceError::Changed { .. } => {
            GapCause::Malformed
        }
    }
}
