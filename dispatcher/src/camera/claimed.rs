//! A live camera that is to become ours: opened beside whoever has it, and taken at a key frame.

use detektor_backends::store::CameraState;
use detektor_contract::{Seam, TimeUs};
use detektor_runtime::chain;
use detektor_runtime::retry::Backoff;

use super::live::Begun;
use super::{Camera, End, RECONNECT};
use crate::distributed::{Claim, Claimed};
use crate::ingest::Ingest;
use crate::record::Recorder;
use crate::source::{Item, Source, StreamInfo};

impl Camera {
    /// Reads until there is a key frame, and takes the camera there. Nothing before it is ours.
    pub(super) async fn begin_claimed(&mut self, claim: &Claim, mut source: Box<dyn Source>) -> Result<Begun, End> {
        let mut backoff = Backoff::new(RECONNECT);
        loop {
            match self.take_at_key_frame(claim, source).await? {
                Ok(begun) => return Ok(begun),
                Err(error) => {
                    tracing::warn!(camera = %self.config.id, error, "the camera broke off before its first key frame");
                    self.sleep(backoff.next_wait(None)).await?;
                    source = self.first_open().await?.source;
                }
            }
        }
    }

    /// The same with one connection; or what it broke off with.
    async fn take_at_key_frame(
        &mut self,
        claim: &Claim,
        mut source: Box<dyn Source>,
    ) -> Result<Result<Begun, String>, End> {
        let fresh = |stream: Option<StreamInfo>| {
            let mut ingest = Ingest::new(self.shared.config.cutting, true);
            stream.into_iter().for_each(|stream| ingest.stream(stream));
            ingest
        };
        let (mut stream, mut ingest) = (None, fresh(None));
        loop {
            match self.stop.run_until_cancelled(source.next()).await.ok_or(End::Stopped)? {
                Ok(Some(Item::Stream(info))) => {
                    stream = Some(info.clone());
                    ingest.stream(info);
                }
                Ok(Some(Item::Unit(unit))) => ingest.unit(unit),
                Ok(Some(Item::Lost { cause, .. })) => ingest.lost(cause),
                Ok(None) => return Ok(Err("the stream ended".to_owned())),
                Err(error) => return Ok(Err(chain(&error))),
            }
            let Some(opening) = ingest.opening() else { continue };
            let seam = Seam { at: TimeUs(opening.seen_unix_us), key_frame: opening.key_frame };
            let ours = claim.epoch().is_some();
            match self.stop.run_until_cancelled(claim.begin(seam)).await.ok_or(End::Stopped)? {
                Claimed::Ours(epoch, seam) => {
                    if !ours {
                        self.shared.numbers.took();
                    }
                    tracing::info!(camera = %self.config.id, %epoch, "the camera is this dispatcher's from its key frame on");
                    self.state(CameraState::Running).await;
                    let recorder = Recorder::new(self.orders(), epoch, 0, true).taking_over_at(seam.key_frame);
                    return Ok(Ok(Begun { source, ingest, recorder }));
                }
                // Whoever has the camera goes on; nothing of what came is needed.
                Claimed::NotNow => ingest = fresh(stream.clone()),
                Claimed::Lost => return Err(End::Lost),
            }
        }
    }
}
