//! An engine for tests that sees one thing: whatever is white.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use detektor_contract::{Digest, EngineId};

use crate::engine::{Detector, Engine, EngineError, Look, RawBox};
use crate::metrics::Numbers;
use crate::model::{Labels, Thresholds};
use crate::picture::Picture;
use crate::worker::Worker;

/// What a stub's model is fed.
pub const INPUT: (u32, u32) = (128, 96);

/// How it goes about a look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Well,
    Panicking,
    Slow(Duration),
}

struct Stub {
    id: EngineId,
    manner: Manner,
}

impl Engine for Stub {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError> {
        match self.manner {
            Manner::Well => {}
            Manner::Panicking => panic!("the stub panics as told"),
            Manner::Slow(time) => std::thread::sleep(time),
        }
        Ok(looks.iter().map(|look| white(look).into_iter().collect()).collect())
    }
}

/// The box around all that is white.
fn white(look: &Look<'_>) -> Option<RawBox> {
    let picture = Picture::of(look.picture).unwrap();
    let luma = picture.components[0].as_ref().unwrap();
    let mut row = vec![0.0; look.region.w as usize];
    let mut found: Option<RawBox> = None;
    for y in 0..look.region.h {
        row.fill(0.0);
        luma.add_row((look.region.y + y) as usize, look.region.x as usize, 1.0, &mut row);
        for (x, _) in row.iter().enumerate().filter(|(_, v)| **v > 200.0) {
            let (x, y) = ((look.region.x + x as u32) as f32, (look.region.y + y) as f32);
            let new = RawBox { class: 0, score: 0.8, x0: x, y0: y, x1: x + 1.0, y1: y + 1.0 };
            let b = found.get_or_insert(new);
            (b.x0, b.x1, b.y1) = (b.x0.min(x), b.x1.max(x + 1.0), y + 1.0);
        }
    }
    found
}

/// A worker whose engine sees what is white, in its manner.
pub fn worker(numbers: &Numbers, manner: Manner) -> Worker {
    let id = EngineId { engine: "stub".to_owned(), model: "white".to_owned(), digest: Digest::of(b"white") };
    let detector = Detector::of(Box::new(Stub { id, manner }), Labels::new(["thing"]), Thresholds::default());
    Worker::new(detector, INPUT, 2, numbers.clone())
}
