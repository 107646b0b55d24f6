//! Cameras without video: what they show at any second is known to everybody who looks.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_backends::coordination::WantedCamera;
use detektor_backends::epochs;
use detektor_backends::store::EpochRequest;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    CameraId, Clock, Codec, DetectPolicy, Digest, EndReason, Epoch, EventRules, GapCause, Marker, MediaInfo, Outcome,
    OutcomeBody, Payload, Seam, SegmentId, SegmentJob, Span, TimeUs, wire,
};
use detektor_dispatcher::Numbers;
use detektor_dispatcher::distributed::{Cameras, Claimed, Duty, Ended, Manner, Measured};
use detektor_dispatcher::publish::{Discipline, Manner as Patience, Outlets, Publisher};
use detektor_dispatcher::record::Record;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::time::HostClock;

const SECOND: i64 = 1_000_000;
/// Frames of a segment.
const FRAMES: u32 = 4;
/// How long a file's segment takes to be read.
const READING: Duration = Duration::from_millis(400);

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// A camera that serves several at once.
    Live,
    /// A camera that serves one at a time.
    Single,
    /// A file.
    File {
        /// How many segments it has.
        segments: u64,
    },
}

impl Spec {
    /// As it stands in a wanted camera.
    pub fn text(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}

/// One dispatcher's cameras.
pub struct SimCameras {
    /// Who runs them.
    pub dispatcher: String,
    /// Where their segments go.
    pub outlets: Outlets,
    /// The dispatcher's metrics.
    pub numbers: Numbers,
    /// The dispatcher's clock.
    pub clock: HostClock,
    /// What happens.
    pub history: History,
}

fn spec(wanted: &WantedCamera) -> Result<Spec, String> {
    serde_json::from_str(&wanted.spec).map_err(|error| error.to_string())
}

#[async_trait]
impl Cameras for SimCameras {
    fn manner(&self, wanted: &WantedCamera) -> Result<Manner, String> {
        Ok(match spec(wanted)? {
            Spec::Live => Manner::MakeBeforeBreak,
            Spec::Single => Manner::BreakBeforeMake,
            Spec::File { .. } => Manner::Replayable,
        })
    }

    fn needs_restart(&self, old: &WantedCamera, new: &WantedCamera) -> bool {
        old.spec != new.spec
    }

    async fn run(&self, duty: Duty) -> Ended {
        let wanted = duty.orders.borrow().wanted.clone();
        match spec(&wanted) {
            Ok(Spec::File { segments }) => self.file(duty, segments).await,
            Ok(Spec::Live | Spec::Single) => self.live(duty).await,
            Err(error) => Ended::Failed(error),
        }
    }

    fn measured(&self) -> Measured {
        Measured::default()
    }
}

impl SimCameras {
    fn publisher(&self, manner: Patience, duty: &Duty) -> Publisher {
        // Nobody aborts: a dispatcher either drains or dies.
        let discipline = Discipline { manner, shutdown: duty.stop.token().clone(), abort: CancellationToken::new() };
        Publisher::start(self.outlets.clone(), discipline, self.numbers.clone())
    }

    async fn live(&self, duty: Duty) -> Ended {
        let stop = duty.stop.token().clone();
        let (epoch, seam, skew_us) = loop {
            let Some(second) = stop.run_until_cancelled(self.clock.next_second()).await else { return Ended::Stopped };
            let skew_us = self.clock.skew_us();
            let key_frame = Some(key_frame(&duty.camera, second));
            match duty.claim.begin(Seam { at: TimeUs(self.clock.at(second) + skew_us), key_frame }).await {
                Claimed::Ours(epoch, seam) => break (epoch, seam, skew_us),
                Claimed::NotNow => {}
                Claimed::Lost => return Ended::Lost,
            }
        };
        self.history.publishes(&duty.camera, epoch, &self.dispatcher);
        let publisher = self.publisher(Patience::Live { spool: None }, &duty);
        let mut stream = Stream::new(&duty, epoch);
        // What came while the lease was being taken is still there.
        let mut second = (seam.at.0 - skew_us - self.clock.at(0)) / SECOND;
        loop {
            let is_stopped = stop.run_until_cancelled(self.clock.wait_for(second + 1)).await.is_none();
            if is_stopped {
                // What comes before the key frame at which another took over is still ours.
                let is_seam = |other| Some(key_frame(&duty.camera, other)) == duty.stop.seam();
                if !(second + 1..=self.clock.second()).any(is_seam) {
                    break;
                }
            }
            let start = TimeUs(self.clock.at(second) + skew_us);
            if let Some(until) = stream.until.filter(|until| *until < start) {
                let gap = Marker::Gap { from: until, until: Some(start), clock: Clock::Unix, cause: GapCause::Silent };
                if publisher.publish(stream.marker(&duty, gap)).await.is_err() {
                    return Ended::Failed("publishing ended".to_owned());
                }
            }
            let key_frame = Some(key_frame(&duty.camera, second));
            let span = stream.span(start, Clock::Unix, key_frame);
            let seam = (stream.sequence == 0).then_some(seam);
            if publisher.publish(stream.job(&duty, span, seam)).await.is_err() {
                return Ended::Failed("publishing ended".to_owned());
            }
            // Nothing is kept while publishing waits: what was shown meanwhile is a gap.
            second = (second + 1).max(self.clock.second());
        }
        let end = Marker::EndOfEpoch {
            frames: stream.frames,
            at: stream.until.unwrap_or(seam.at),
            reason: duty.stop.reason(),
        };
        let _ = publisher.publish(stream.marker(&duty, end)).await;
        match publisher.finish().await {
            Ok(_) => Ended::Stopped,
            Err(error) => Ended::Failed(error),
        }
    }

    async fn file(&self, duty: Duty, segments: u64) -> Ended {
        let stop = duty.stop.token().clone();
        let begin = async {
            loop {
                let Outlets { store, bucket, .. } = &self.outlets;
                let content = Digest::of(duty.camera.as_str().as_bytes());
                let request = EpochRequest::Replayable { content, pass: 0 };
                if let Ok(epoch) = epochs::begin(&**store, &**bucket, &duty.camera, request).await
                    && let Ok(confirmed) = store.published(&duty.camera, epoch).await
                {
                    return (epoch, confirmed);
                }
                sleep(READING).await;
            }
        };
        let Some((epoch, confirmed)) = stop.run_until_cancelled(begin).await else { return Ended::Stopped };
        let publisher = self.publisher(Patience::Patient { most_ready: Some(32) }, &duty);
        let mut stream = Stream::new(&duty, epoch);
        for n in 0..segments {
            let span = stream.span(TimeUs(n as i64 * SECOND), Clock::Media, None);
            let record = stream.job(&duty, span, None);
            if n < confirmed {
                continue;
            }
            let publish = async {
                sleep(READING).await;
                publisher.publish(record).await
            };
            match stop.run_until_cancelled(publish).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => {
                    // Sliced again from the start, wherever that is.
                    let _ = publisher.finish().await;
                    return Ended::Stopped;
                }
            }
        }
        let at = TimeUs(segments as i64 * SECOND);
        let end = stream.marker(&duty, Marker::EndOfEpoch { frames: stream.frames, at, reason: EndReason::EndOfFile });
        if confirmed <= segments && publisher.publish(end).await.is_err() {
            return Ended::Stopped;
        }
        match publisher.finish().await {
            Ok(true) => Ended::Over,
            Ok(false) => Ended::Stopped,
            Err(error) => Ended::Failed(error),
        }
    }
}

/// The key frame that a camera shows at a second.
fn key_frame(camera: &CameraId, second: i64) -> Digest {
    Digest::of(format!("{camera} {second}").as_bytes())
}

/// Numbers an epoch's segments.
struct Stream {
    camera: CameraId,
    epoch: Epoch,
    sequence: u64,
    frames: u64,
    until: Option<TimeUs>,
}

impl Stream {
    fn new(duty: &Duty, epoch: Epoch) -> Self {
        Self { camera: duty.camera.clone(), epoch, sequence: 0, frames: 0, until: None }
    }

    fn next(&mut self) -> SegmentId {
        self.sequence += 1;
        SegmentId { camera: self.camera.clone(), epoch: self.epoch, sequence: self.sequence - 1 }
    }

    fn span(&mut self, start: TimeUs, clock: Clock, key_frame: Option<Digest>) -> Span {
        let end = start.plus(SECOND);
        let span = Span { first_frame: self.frames, frames: FRAMES, start, end, clock, key_frame };
        self.frames += u64::from(FRAMES);
        self.until = Some(end);
        span
    }

    fn job(&mut self, duty: &Duty, span: Span, seam: Option<Seam>) -> Record {
        let id = self.next();
        let media = MediaInfo {
            codec: Codec::H264,
            width: 640,
            height: 360,
            time_scale: 90_000,
            init: Digest::of(b""),
            samples: FRAMES,
            pre_roll: 0,
            post_roll: None,
            hidden: Vec::new(),
        };
        let payload = Payload::Inline { init_bytes: 0, video: Bytes::new() };
        let (policy, rules) = (DetectPolicy::default(), EventRules::default());
        let job = SegmentJob { id: id.clone(), generation: 0, span, seam, media, payload, policy, rules };
        record(duty, id, Work::Detect, wire::encode_job(&job))
    }

    fn marker(&mut self, duty: &Duty, marker: Marker) -> Record {
        let id = self.next();
        let outcome = Outcome { id: id.clone(), generation: 0, body: OutcomeBody::Marker(marker) };
        record(duty, id, Work::Merge, wire::encode_outcome(&outcome))
    }
}

fn record(duty: &Duty, id: SegmentId, work: Work, body: Bytes) -> Record {
    Record {
        id,
        queue: Queue::Work(work, duty.orders.borrow().partition),
        body,
        object: None,
        captured_unix_us: 0,
        closed_unix_us: 0,
        fault: None,
        provisional: false,
        quiet: false,
    }
}
