//! Which samples have to be decoded so that certain pictures come out.

use super::Timeline;
use crate::decode::Packet;

/// A choice of samples: everything that the wanted pictures may need, and nothing else.
pub struct Plan {
    needed: Vec<bool>,
}

impl Plan {
    /// Wants the frames with these presentation indices. Pictures that others may need are decoded up to the last wanted
    /// one; pictures that nothing needs are left out unless they are wanted themselves, which no decoder notices.
    pub fn new(timeline: &Timeline, wanted: impl IntoIterator<Item = u32>) -> Self {
        let mut needed = vec![false; timeline.samples.len()];
        for frame in wanted {
            if let Some(slot) = timeline.frames.get(frame as usize) {
                needed[slot.ordinal as usize] = true;
            }
        }
        if let Some(last) = needed.iter().rposition(|wanted| *wanted) {
            for (needed, info) in needed[..=last].iter_mut().zip(&timeline.infos) {
                // What cannot be told to be a picture may still be one.
                *needed |= info.reference || !info.picture;
            }
        }
        for slot in timeline.frames.iter().filter(|slot| slot.second_field) {
            let at = slot.ordinal as usize;
            needed[at] |= at > 0 && needed[at - 1];
        }
        Self { needed }
    }

    /// Whether a sample is among them.
    pub fn needs(&self, ordinal: u32) -> bool {
        self.needed.get(ordinal as usize).copied().unwrap_or(false)
    }

    /// The samples to decode.
    pub fn packets<'t>(&self, timeline: &'t Timeline) -> impl Iterator<Item = Packet<'t>> {
        let samples = (0..).zip(&timeline.samples).zip(&self.needed).filter(|(_, needed)| **needed);
        samples.map(|((ordinal, sample), _)| Packet { ordinal, data: &sample.data })
    }
}
