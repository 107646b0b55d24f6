//! A look at one picture, and what becomes of its frame.

use detektor_contract::{DetectPolicy, Failed, Fate};
use ffmpeg::frame;

use crate::engine::{Detector, Look, RawBox, Region};
use crate::error::DetectError;
use crate::gate::{self, Moved};
use crate::metrics::{Spent, timed};
use crate::picture::Picture;
use crate::segment::{Plan, Timeline};
use crate::snapshot::Shots;

/// A box that comes as close as this to a crop's edge, in pixels, is taken to be cut off by it.
const EDGE: f32 = 2.0;

/// Looks at a segment's pictures and notes what it sees.
pub(super) struct Looker<'a> {
    pub(super) detector: &'a mut Detector,
    /// Width and height of the model's input in pixels.
    pub(super) input: (u32, u32),
    pub(super) policy: &'a DetectPolicy,
    pub(super) shots: Shots,
    pub(super) fates: &'a mut [Fate],
    pub(super) spent: &'a mut Spent,
    pub(super) looks: u64,
}

impl Looker<'_> {
    /// Whether pictures of this size have crops, so that motion has to be known.
    pub(super) fn crops(&self, frame: &frame::Video) -> bool {
        frame.width() > 2 * self.input.0 || frame.height() > 2 * self.input.1
    }

    /// Looks at a picture, and closer at where something `moved`.
    pub(super) fn look(&mut self, index: u32, frame: &frame::Video, moved: &[Moved]) -> Result<(), DetectError> {
        let size = (frame.width(), frame.height());
        let crops = gate::crops(moved, size, self.input);
        let mut looks = vec![Look::whole(frame)];
        looks.extend(crops.iter().map(|region| Look { picture: frame, region: *region }));
        self.looks += looks.len() as u64;
        let mut boxes = timed(&mut self.spent.inference, || self.detector.detect(&looks))?;
        for (crop, boxes) in crops.iter().zip(boxes.iter_mut().skip(1)) {
            boxes.retain(|b| !cut_off(b, *crop, size));
        }
        let mut seen = self.detector.detections(&boxes, self.policy.store_score, &self.policy.labels);
        // Rounding can make equal what was not.
        seen.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.cmp(b)));
        let picture = Picture::of(frame)?;
        timed(&mut self.spent.snapshot, || self.shots.offer(index, &picture, &seen));
        if let Some(fate) = self.fates.get_mut(index as usize) {
            *fate = Fate::Detected(seen);
        }
        Ok(())
    }

    /// Marks the frames that should have given a picture and did not.
    pub(super) fn mark_failed(&mut self, timeline: &Timeline, plan: &Plan, came: &[bool]) {
        for (slot, fate) in timeline.frames.iter().zip(self.fates.iter_mut()) {
            let came = came.get(slot.ordinal as usize).copied().unwrap_or(false);
            if plan.needs(slot.ordinal) && !came && !slot.second_field {
                *fate = Fate::Failed(Failed::Decode);
            }
        }
    }
}

/// Whether a box ends at an edge that the crop has and the picture has not: the rest of the thing lies beyond, and
/// another look sees all of it.
fn cut_off(b: &RawBox, crop: Region, picture: (u32, u32)) -> bool {
    let (left, top) = (crop.x as f32, crop.y as f32);
    let (right, bottom) = (left + crop.w as f32, top + crop.h as f32);
    (crop.x > 0 && b.x0 < left + EDGE)
        || (crop.y > 0 && b.y0 < top + EDGE)
        || (crop.x + crop.w < picture.0 && b.x1 > right - EDGE)
        || (crop.y + crop.h < picture.1 && b.y1 > bottom - EDGE)
}
