//! One worker: looks at one segment after another on its own thread, with decoders and an engine of its own.

mod around;
mod call;
mod look;

use bytes::Bytes;
use detektor_contract::{EngineId, Fate, Frame, Sampling, SegmentJob, Skipped};
use ffmpeg::frame;

use crate::decode::Decoders;
use crate::engine::Detector;
use crate::error::DetectError;
use crate::gate;
use crate::metrics::{Numbers, Spent, timed};
use crate::segment::{Plan, Timeline, sampled};
use crate::snapshot::{JpegEncoder, Shots};
use around::Around;
pub use call::Call;
use look::Looker;

/// Motion is looked for in so many pictures a second, also where fewer are looked at: one alone tells nothing.
const WATCHED: u16 = 5;

/// What a segment's frames came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// Every counted frame in presentation order.
    pub frames: Vec<Frame>,
    /// Frames worth keeping, by presentation index, as JPEG.
    pub snapshots: Vec<(u32, Bytes)>,
    /// What looked.
    pub engine: EngineId,
}

/// State that lives as long as its thread.
pub struct Worker {
    decoders: Decoders,
    detector: Detector,
    /// Width and height of the model's input in pixels.
    input: (u32, u32),
    jpeg: JpegEncoder,
    numbers: Numbers,
}

/// How the gate judged a segment before anything of it was decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Look at every frame whose turn it is.
    Open,
    /// Decode, and look where something moves; look at the first frame in any case if it is due.
    Watch { due: bool },
    /// Nothing moves; look at the first frame if it is due.
    Still { due: bool },
}

impl Verdict {
    fn of(job: &SegmentJob, timeline: &Timeline) -> Self {
        let due = gate::due(&job.id.camera, &job.span);
        match (job.policy.gate, gate::still(timeline)) {
            (false, _) => Self::Open,
            (true, false) => Self::Watch { due },
            (true, true) => Self::Still { due },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Open | Self::Watch { due: false } => "open",
            Self::Still { due: false } => "still",
            Self::Watch { due: true } | Self::Still { due: true } => "due",
        }
    }
}

impl Worker {
    /// A worker that keeps up to `decoders` decoders open. `input` is the size of what the detector's model is fed.
    pub fn new(detector: Detector, input: (u32, u32), decoders: usize, numbers: Numbers) -> Self {
        Self { decoders: Decoders::new(decoders), detector, input, jpeg: JpegEncoder::default(), numbers }
    }

    /// Looks at a segment. The answer depends on the job, the video and the engine alone.
    ///
    /// # Errors
    /// Video that is not what the job says or cannot be decoded at all, a failing engine; [`DetectError::Stopped`]
    /// when the call is taken back, which is noticed from packet to packet and from picture to picture.
    pub fn look(&mut self, job: &SegmentJob, video: &Bytes, call: &Call) -> Result<Looked, DetectError> {
        let mut spent = Spent::default();
        let timeline = Timeline::read(job, video)?;
        let verdict = timed(&mut spent.gate, || Verdict::of(job, &timeline));
        let mut turn = sampled(&timeline.frames, &job.span, job.policy.sampling);
        // A quiet look is due at the first frame whose turn it is, or at any if it is the turn of none.
        let first_picture = || (0..).zip(&timeline.frames).find(|(_, slot)| !slot.second_field).map(|(index, _)| index);
        let first = turn.first().copied().or_else(first_picture);
        let mut wanted = turn.clone();
        let mut certain = None;
        match verdict {
            Verdict::Open => {}
            Verdict::Watch { due } => {
                certain = first.filter(|_| due);
                if turn.is_empty() {
                    wanted.extend(certain);
                } else if matches!(job.policy.sampling, Sampling::PerSecond(rate) if rate < WATCHED) {
                    wanted.extend(sampled(&timeline.frames, &job.span, Sampling::PerSecond(WATCHED)));
                    wanted.sort_unstable();
                    wanted.dedup();
                }
            }
            Verdict::Still { due } => {
                certain = first.filter(|_| due);
                wanted = certain.into_iter().collect();
            }
        }
        turn.extend(certain.filter(|_| turn.is_empty()));
        let mut fates = untouched(&timeline, &turn);

        let plan = Plan::new(&timeline, wanted.iter().copied());
        let picture = [job.media.width, job.media.height];
        let mut looker = Looker {
            detector: &mut self.detector,
            input: self.input,
            policy: &job.policy,
            shots: Shots::new(picture, job.rules.open_score),
            fates: &mut fates,
            spent: &mut spent,
            looks: 0,
        };
        if !wanted.is_empty() {
            let decoder = self.decoders.get(timeline.codec, &timeline.extradata)?;
            let around = Around::new(&job.policy.masks, verdict == Verdict::Open, certain, turn);
            let done = look_through(decoder, &timeline, &plan, &wanted, around, &mut looker, call);
            if timeline.infos.iter().any(|info| info.parameter_sets) {
                self.decoders.close_latest();
            }
            done?;
        }
        let Looker { shots, looks, .. } = looker;
        let kept = shots.into_frames();
        let snapshots = timed(&mut spent.snapshot, || self.encode(kept))?;
        let frames: Vec<Frame> =
            timeline.frames.iter().zip(fates).map(|(slot, fate)| Frame { at: slot.at, fate }).collect();
        self.numbers.segment(&spent, looks, verdict.name(), &frames);
        Ok(Looked { frames, snapshots, engine: self.detector.id().clone() })
    }

    fn encode(&mut self, kept: Vec<(u32, frame::Video)>) -> Result<Vec<(u32, Bytes)>, DetectError> {
        let encoded = kept.into_iter().map(|(index, mut planes)| Ok((index, self.jpeg.encode(&mut planes)?)));
        encoded.collect()
    }
}

/// What becomes of the frames if none is looked at.
fn untouched(timeline: &Timeline, turn: &[u32]) -> Vec<Fate> {
    let fates =
        (0..).zip(&timeline.frames).map(|(index, slot)| match (slot.second_field, turn.binary_search(&index)) {
            (true, _) => Fate::Skipped(Skipped::SecondField),
            (false, Ok(_)) => Fate::Skipped(Skipped::Quiet),
            (false, Err(_)) => Fate::Skipped(Skipped::Sampling),
        });
    fates.collect()
}

/// Decodes what the plan needs, looks at what is wanted, and marks what gave no picture.
fn look_through(
    decoder: &mut crate::decode::Decoder,
    timeline: &Timeline,
    plan: &Plan,
    wanted: &[u32],
    mut around: Around,
    looker: &mut Looker<'_>,
    call: &Call,
) -> Result<(), DetectError> {
    let mut came = vec![false; timeline.samples.len()];
    let mut run = decoder.run(plan.packets(timeline).take_while(|_| call.goes_on()));
    while let Some(decoded) = timed(&mut looker.spent.decode, || run.next()) {
        let decoded = decoded?;
        call.go_on()?;
        if let Some(came) = came.get_mut(decoded.ordinal as usize) {
            *came = true;
        }
        let Some(index) = timeline.frame_of(decoded.ordinal).filter(|index| wanted.binary_search(index).is_ok()) else {
            continue;
        };
        let at = timeline.frames[index as usize].at;
        around.offer(index, at, decoded.frame, looker, call)?;
    }
    drop(run);
    call.go_on()?;
    around.finish(looker, call)?;
    looker.mark_failed(timeline, plan, &came);
    Ok(())
}

#[cfg(test)]
mod tests;
