//! Which of the pictures whose turn it is are looked at: those around motion.

use std::collections::VecDeque;

use detektor_contract::TimeUs;
use ffmpeg::frame;

use super::call::Call;
use super::look::Looker;
use crate::error::DetectError;
use crate::gate::{Moved, Watch};
use crate::metrics::timed;
use crate::picture::Picture;

/// So long before and after motion a picture is looked at too: things stop, and are there before they stand out.
const AROUND_US: i64 = 600_000;
/// How many undecided pictures are held back at most: each keeps one of the decoder's buffers.
const MAX_HELD: usize = 8;

/// Decides picture by picture, in presentation order.
pub(super) struct Around {
    watch: Watch,
    /// Look at every picture.
    open: bool,
    /// Look at this one whatever moves.
    certain: Option<u32>,
    /// Whose turn it is to be looked at; the others are only watched. Rising.
    turn: Vec<u32>,
    held: VecDeque<Held>,
    /// When something moved last, and what.
    latest: Option<(TimeUs, Vec<Moved>)>,
}

struct Held {
    index: u32,
    at: TimeUs,
    frame: frame::Video,
}

impl Around {
    pub(super) fn new(masks: &[[u16; 4]], open: bool, certain: Option<u32>, turn: Vec<u32>) -> Self {
        Self { watch: Watch::new(masks), open, certain, turn, held: VecDeque::new(), latest: None }
    }

    /// Takes the next picture; looks at it, and at those held back, if something moved.
    pub(super) fn offer(
        &mut self,
        index: u32,
        at: TimeUs,
        frame: frame::Video,
        looker: &mut Looker<'_>,
        call: &Call,
    ) -> Result<(), DetectError> {
        let moved = if self.open && !looker.crops(&frame) {
            Vec::new()
        } else {
            let picture = Picture::of(&frame)?;
            timed(&mut looker.spent.gate, || self.watch.next(at, &picture))
        };
        if !moved.is_empty() {
            for held in std::mem::take(&mut self.held) {
                if at.since(held.at) <= AROUND_US {
                    call.go_on()?;
                    looker.look(held.index, &held.frame, &moved)?;
                }
            }
            self.latest = Some((at, moved));
        }
        if self.turn.binary_search(&index).is_err() {
            return Ok(());
        }
        let latest = self.latest.as_ref().filter(|(then, _)| at.since(*then) <= AROUND_US);
        if let Some((_, moved)) = latest {
            looker.look(index, &frame, moved)
        } else if self.open || self.certain == Some(index) {
            looker.look(index, &frame, &[])
        } else {
            self.held.push_back(Held { index, at, frame });
            let stale = |held: &Held| at.since(held.at) > AROUND_US;
            while self.held.len() > MAX_HELD || self.held.front().is_some_and(stale) {
                self.held.pop_front();
            }
            Ok(())
        }
    }

    /// Looks at what is still held back where there was nothing to compare it with: who cannot tell, looks.
    pub(super) fn finish(self, looker: &mut Looker<'_>, call: &Call) -> Result<(), DetectError> {
        if self.watch.can_tell() {
            return Ok(());
        }
        for held in self.held {
            call.go_on()?;
            looker.look(held.index, &held.frame, &[])?;
        }
        Ok(())
    }
}
