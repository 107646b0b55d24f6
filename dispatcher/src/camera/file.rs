//! A source that gives the same each time: played from its beginning at every start, skipping what is confirmed.

use detektor_backends::epochs;
use detektor_backends::store::{CameraState, EpochRequest};
use detektor_contract::{Digest, EndReason, Epoch, Fault, Faulty};
use detektor_runtime::chain;
use detektor_runtime::retry::Backoff;

use super::{Camera, End, RECONNECT};
use crate::ingest::Ingest;
use crate::pace::Pacer;
use crate::publish::Manner;
use crate::record::{Record, Recorder};
use crate::source::{Item, Opened, Source, SourceError};

/// How often a remote file that breaks off is opened again without getting further.
const TRIES: u32 = 5;

/// What a whole pass came to.
#[derive(Clone, Copy, Default)]
struct Totals {
    sequences: u64,
    frames: u64,
    segments: u64,
}

/// How a pass ended.
enum Pass {
    Through(Totals),
    Broken(SourceError, Box<Reached>),
}

/// How far a pass came that broke off.
#[derive(Default)]
struct Reached {
    totals: Totals,
    /// The end of the epoch, to be told if nothing comes further.
    end: Option<Record>,
}

impl Camera {
    /// Plays the source as often as it should be.
    pub(super) async fn play(&mut self, opened: Opened, content: Digest) -> Result<(), End> {
        let store = std::sync::Arc::clone(&self.shared.outlets.store);
        let bucket = std::sync::Arc::clone(&self.shared.outlets.bucket);
        let camera = self.config.id.clone();
        let mut source = Some(opened.source);
        let mut whole: Option<Totals> = None;
        for pass in 0..self.config.passes.unwrap_or(u64::MAX) {
            let begin = || epochs::begin(&*store, &*bucket, &camera, EpochRequest::Replayable { content, pass });
            let epoch = self.patiently("beginning an epoch", begin).await?;
            let confirmed = self.patiently("asking what is published", || store.published(&camera, epoch)).await?;
            if let Some(totals) = whole.filter(|totals| totals.sequences == confirmed) {
                // Equal content has equal sequence numbers: this pass was through before.
                self.report.captured += totals.frames;
                self.report.segments += totals.segments;
                continue;
            }
            whole = Some(self.pass_with_patience(source.take(), content, epoch).await?);
        }
        Ok(())
    }

    /// One pass; a remote file that breaks off is opened again and goes on where it was.
    async fn pass_with_patience(
        &mut self,
        mut source: Option<Box<dyn Source>>,
        content: Digest,
        epoch: Epoch,
    ) -> Result<Totals, End> {
        let store = std::sync::Arc::clone(&self.shared.outlets.store);
        let camera = self.config.id.clone();
        let mut backoff = Backoff::new(RECONNECT);
        let (mut tries, mut furthest) = (0, Box::<Reached>::default());
        loop {
            let opened = match source.take() {
                Some(source) => Ok(source),
                None => self.reopen(content).await?,
            };
            let confirmed = self.patiently("asking what is published", || store.published(&camera, epoch)).await?;
            let error = match opened {
                Ok(opened) => match self.pass(opened, epoch, confirmed).await? {
                    Pass::Through(totals) => {
                        self.add(totals);
                        return Ok(totals);
                    }
                    Pass::Broken(error, reached) => {
                        if self.config.url.is_file() || error.fault() == Fault::Permanent {
                            self.add(reached.totals);
                            return Err(End::Failed(chain(&error)));
                        }
                        if reached.totals.sequences > furthest.totals.sequences {
                            (tries, furthest) = (0, reached);
                            backoff.reset();
                        }
                        error
                    }
                },
                Err(error) => error,
            };
            tries += 1;
            if tries == TRIES || error.fault() == Fault::Permanent {
                self.add(furthest.totals);
                self.give_up(furthest.end).await?;
                return Err(End::Failed(chain(&error)));
            }
            tracing::warn!(camera = %self.config.id, error = chain(&error), "the source broke off, trying again");
            self.state(CameraState::Lost { error: chain(&error) }).await;
            self.sleep(backoff.next_wait(None)).await?;
        }
    }

    async fn reopen(&self, content: Digest) -> Result<Result<Box<dyn Source>, SourceError>, End> {
        Ok(match self.open().await? {
            Ok(opened) if opened.content == Some(content) => Ok(opened.source),
            Ok(_) => Err(SourceError::Changed { url: self.config.url.redacted() }),
            Err(error) => Err(error),
        })
    }

    /// Tells the end of an epoch that may yet go on at the next start: what comes then in its place wins over it.
    async fn give_up(&self, end: Option<Record>) -> Result<(), End> {
        let publisher = self.publisher(Manner::Patient { most_ready: None });
        let end = end.map(|end| Record { provisional: true, ..end });
        self.send(end, &publisher).await?;
        publisher.finish().await.map(drop).map_err(End::Failed)
    }

    async fn pass(&mut self, mut source: Box<dyn Source>, epoch: Epoch, confirmed: u64) -> Result<Pass, End> {
        let publisher = self.publisher(Manner::Patient { most_ready: Some(self.shared.config.most_ready) });
        let mut recorder = Recorder::new(self.orders(), epoch, confirmed, false);
        let mut ingest = Ingest::new(self.shared.config.cutting, false);
        let ended = async {
            let broken = self.read(&mut *source, &mut ingest, &mut recorder, &publisher).await?;
            // A file is over, whatever was wrong with it. A remote one may yet be read further: what it was cut into
            // must stay the same, so its last, unfinished segment is none.
            let over = self.config.url.is_file() || broken.as_ref().is_none_or(|e| e.fault() == Fault::Permanent);
            if over {
                ingest.end();
                self.forward(&mut ingest, &mut recorder, &publisher).await?;
                let reason = if broken.is_some() { EndReason::SourceFailed } else { EndReason::EndOfFile };
                self.send(recorder.end(reason), &publisher).await?;
            }
            Ok(broken)
        }
        .await;
        let whole = publisher.finish().await.map_err(End::Failed)?;
        let totals =
            Totals { sequences: recorder.sequence(), frames: recorder.frames(), segments: recorder.segments() };
        match ended.and_then(|broken| if whole { Ok(broken) } else { Err(End::Stopped) }) {
            Ok(None) => Ok(Pass::Through(totals)),
            Ok(Some(error)) => {
                let end = recorder.end(EndReason::SourceFailed);
                Ok(Pass::Broken(error, Box::new(Reached { totals, end })))
            }
            Err(end) => {
                self.add(totals);
                Err(end)
            }
        }
    }

    /// Reads until the end, or what it broke off with.
    async fn read(
        &mut self,
        source: &mut dyn Source,
        ingest: &mut Ingest,
        recorder: &mut Recorder,
        publisher: &crate::publish::Publisher,
    ) -> Result<Option<SourceError>, End> {
        let mut pacer = Pacer::new(self.config.pace);
        let mut time_scale = 1;
        loop {
            let item = match self.stop.run_until_cancelled(source.next()).await.ok_or(End::Stopped)? {
                Ok(Some(item)) => item,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            };
            match item {
                Item::Stream(info) => {
                    time_scale = info.time_scale;
                    ingest.stream(info);
                    self.state(CameraState::Running).await;
                }
                Item::Unit(unit) => {
                    if !recorder.confirmed() {
                        pacer.wait(unit.dts.or(unit.pts), time_scale, &self.stop).await;
                    }
                    ingest.unit(unit);
                }
                Item::Lost { detail, .. } => {
                    tracing::warn!(camera = %self.config.id, detail, "something is missing from the file");
                }
            }
            self.forward(ingest, recorder, publisher).await?;
        }
    }

    fn add(&mut self, totals: Totals) {
        self.report.captured += totals.frames;
        self.report.segments += totals.segments;
    }
}
