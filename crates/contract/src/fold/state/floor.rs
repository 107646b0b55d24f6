//! Where a camera's history begins, once what came before was pruned.

use serde::{Deserialize, Serialize};

use super::{Books, CameraFold};
use crate::{CameraId, Clock, Epoch, Ledger, Position, TimeUs};

/// What is known of a camera where its history begins: all of [`CameraFold`] but the tracks. A checkpoint says the same and
/// the tracks too, but only to builds of its own layout; the outcomes that another build would fold instead are gone. This is
/// a JSON document that every later build reads, so that at least the ledger goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    at: Position,
    ended: bool,
    clock: Option<(Epoch, Clock)>,
    merged_until: Option<(TimeUs, Clock)>,
    books: Books,
}

impl Floor {
    /// The last outcome that is no longer there.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The ledger of everything up to here.
    pub fn ledger(&self) -> &Ledger {
        &self.books.ledger
    }

    /// Capture time up to here, and what it counts from.
    pub fn merged_until(&self) -> Option<(TimeUs, Clock)> {
        self.merged_until
    }
}

impl CameraFold {
    /// The floor that stands where this fold does; none if nothing was applied.
    pub fn floor(&self) -> Option<Floor> {
        let Self { camera: _, frontier, ended, clock, merged_until, books, tracker: _ } = self;
        let (ended, clock, merged_until) = (*ended, *clock, *merged_until);
        frontier.map(|at| Floor { at, ended, clock, merged_until, books: books.clone() })
    }

    /// A camera whose history begins above a floor, without the tracks that crossed it.
    pub fn above(camera: CameraId, floor: &Floor) -> Self {
        let Floor { at, ended, clock, merged_until, books } = floor.clone();
        Self { frontier: Some(at), ended, clock, merged_until, books, ..Self::new(camera) }
    }
}
