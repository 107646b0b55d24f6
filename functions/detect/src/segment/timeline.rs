//! Frames in presentation order and their capture times.

use bytes::Bytes;
use detektor_contract::{Codec, SegmentJob, TimeUs};
use detektor_media::segment::{self, SegmentSample};
use detektor_media::{AccessUnitInfo, ParameterSets, classify};

use super::SegmentError;

/// A segment's samples, and the frames that they are.
pub struct Timeline {
    /// The codec.
    pub codec: Codec,
    /// The `avcC` or `hvcC` record.
    pub extradata: Bytes,
    /// Access units in decode order, pre-roll and post-roll included; a sample's index is its ordinal.
    pub samples: Vec<SegmentSample>,
    /// What each sample is.
    pub infos: Vec<AccessUnitInfo>,
    /// The counted frames in presentation order.
    pub frames: Vec<Slot>,
    /// The frame of each sample by ordinal; none for pre-roll and post-roll.
    frame_of: Vec<Option<u32>>,
}

/// A counted frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its sample's ordinal.
    pub ordinal: u32,
    /// Capture time.
    pub at: TimeUs,
    /// Whether it is the second field of a pair whose picture comes out with the first.
    pub second_field: bool,
}

impl Timeline {
    /// Reads a segment's video and holds it against its job.
    ///
    /// A frame's place is the rank of its presentation time among the counted samples (those of equal time in decode
    /// order). Its capture time is the span's start plus the difference of presentation times to the first frame,
    /// rounded down to a microsecond.
    ///
    /// # Errors
    /// Video that cannot be read, or that is not what the job says.
    pub fn read(job: &SegmentJob, video: &Bytes) -> Result<Self, SegmentError> {
        let segment = segment::read(video)?;
        agree("samples", job.media.samples, segment.samples.len())?;
        agree("codec", format!("{:?}", job.media.codec), format!("{:?}", segment.codec))?;
        agree("ticks a second", job.media.time_scale, segment.time_scale)?;
        let mut order: Vec<u32> = (0..job.media.samples).filter(|ordinal| job.media.counts(*ordinal)).collect();
        agree("frames", job.span.frames, order.len())?;
        order.sort_by_key(|ordinal| segment.samples[*ordinal as usize].pts);

        let infos = classify_all(segment.codec, &segment.extradata, &segment.samples);
        let seconds = second_fields(&infos);
        let first = order.first().map_or(0, |ordinal| segment.samples[*ordinal as usize].pts);
        let mut frame_of = vec![None; segment.samples.len()];
        let mut frames = Vec::with_capacity(order.len());
        for (index, ordinal) in (0..).zip(order) {
            let sample = &segment.samples[ordinal as usize];
            let ticks = i128::from(sample.pts) - i128::from(first);
            let us = (ticks * 1_000_000).div_euclid(i128::from(segment.time_scale));
            let at = job.span.start.plus(i64::try_from(us).unwrap_or(i64::MAX));
            frame_of[ordinal as usize] = Some(index);
            frames.push(Slot { ordinal, at, second_field: seconds[ordinal as usize] });
        }
        let segment::Segment { codec, extradata, samples, .. } = segment;
        Ok(Self { codec, extradata, samples, infos, frames, frame_of })
    }

    /// The presentation index of a sample; none for pre-roll, post-roll and ordinals that are not there.
    pub fn frame_of(&self, ordinal: u32) -> Option<u32> {
        self.frame_of.get(ordinal as usize).copied().flatten()
    }
}

fn agree<A: ToString, B: ToString>(what: &'static str, expected: A, found: B) -> Result<(), SegmentError> {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected == found { Ok(()) } else { Err(SegmentError::Contradiction { what, expected, found }) }
}

/// What each sample is. Parameter sets that cannot be read cost only the knowledge, not the segment: the decoder may
/// still make something of it.
fn classify_all(codec: Codec, extradata: &[u8], samples: &[SegmentSample]) -> Vec<AccessUnitInfo> {
    let mut sets =
        ParameterSets::from_extradata(codec, extradata).map_or_else(|_| ParameterSets::new(codec), |(sets, _)| sets);
    let classified = samples.iter().map(|sample| {
        let _unreadable = sets.update(&sample.data);
        classify(&sets, &sample.data)
    });
    classified.collect()
}

/// Which samples are second fields, in decode order.
fn second_fields(infos: &[AccessUnitInfo]) -> Vec<bool> {
    let mut seconds = vec![false; infos.len()];
    for at in 1..infos.len() {
        seconds[at] = !seconds[at - 1] && infos[at].is_second_field_of(&infos[at - 1]);
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_alone_are_no_fields() {
        assert_eq!(second_fields(&[AccessUnitInfo::default(); 3]), [false; 3]);
        assert!(second_fields(&[]).is_empty());
    }
}
