//! How far a film is, and where it is stuck.

use detektor_backends::queue::Depth;
use detektor_backends::store::{CameraInfo, CameraState};
use detektor_contract::EndReason;

/// What is checked.
pub struct Film<'a> {
    /// As which camera.
    pub camera: &'a str,
    /// Where dispatchers find it.
    pub footage: &'a str,
}

/// Where the balancer placed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Who is to slice it.
    pub dispatcher: Option<String>,
    /// Which queues it goes through.
    pub partition: u16,
}

/// What the two queues of its partition hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waiting {
    /// Segments to be looked at.
    pub detect: Depth,
    /// Outcomes to be merged.
    pub merge: Depth,
}

/// What can be seen of a film on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Why the last look failed.
    pub unknown: Option<String>,
    /// How many dispatchers there are.
    pub dispatchers: usize,
    /// Who places cameras.
    pub balancer: Option<String>,
    /// The event store has yet to be made from the bucket, or nobody has found yet that there is nothing to make.
    pub pending: bool,
    /// Where it is placed.
    pub place: Option<Place>,
    /// What its dispatcher says of it, with its ledger.
    pub info: Option<CameraInfo>,
    /// Records that the broker has confirmed, where that can be known.
    pub published: Option<u64>,
    /// Records that are merged.
    pub merged: u64,
    /// The last record that is merged ends it.
    pub end: Option<EndReason>,
    /// What waits; or why nobody knows.
    pub waiting: Result<Waiting, String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            unknown: None,
            dispatchers: 0,
            balancer: None,
            pending: false,
            place: None,
            info: None,
            published: None,
            merged: 0,
            end: None,
            waiting: Ok(Waiting::default()),
        }
    }
}

impl Seen {
    /// Whose film it is, once all of it is accounted for.
    pub fn through(&self) -> Option<&CameraInfo> {
        let whole = |info: &&CameraInfo| info.ledger.closes() && info.ledger.captured > 0;
        self.info.as_ref().filter(whole).filter(|_| self.end == Some(EndReason::EndOfFile))
    }

    /// Why it can never be.
    pub fn failed(&self, footage: &str) -> Option<String> {
        let by = || match self.place.as_ref().and_then(|place| place.dispatcher.as_deref()) {
            Some(name) => format!("the dispatcher {name}"),
            None => "its dispatcher".to_owned(),
        };
        if let Some(CameraState::Failed { error }) = self.info.as_ref().map(|info| &info.state) {
            return Some(format!(
                "{} cannot read {footage}: {error}; --footage names a file as dispatchers see it",
                by()
            ));
        }
        if self.end == Some(EndReason::SourceFailed) {
            return Some(format!("{} could not read {footage} to its end", by()));
        }
        let info = self.through()?;
        let (captured, failed) = (info.ledger.captured, info.ledger.failed_total());
        let camera = &info.id;
        match (failed, info.ledger.detected) {
            (0, 0) => Some(format!("none of {captured} frames was looked at: {footage} shows too little")),
            (0, _) => None,
            _ => Some(format!(
                "{failed} of {captured} frames failed; `detektor replay --list --camera {camera}` says why, and so does the log \
                 of detect"
            )),
        }
    }

    /// How far it is, in a few words.
    pub fn progress(&self) -> String {
        if let Some(why) = &self.unknown {
            return format!("cannot look: {why}");
        }
        let Some(Place { dispatcher: Some(dispatcher), partition }) = &self.place else {
            return "no dispatcher has it yet".to_owned();
        };
        match (&self.info, self.merged) {
            (None, _) => format!("{dispatcher} is to slice it, partition {partition}"),
            (Some(_), 0) => format!("{dispatcher} slices it, partition {partition}"),
            (Some(info), merged) => {
                let of = self.published.map(|published| format!(" of {published}")).unwrap_or_default();
                let so_far = if self.end.is_some() || self.sliced() { "" } else { " so far" };
                // Merge goes on without what is late, and comes back to it.
                let late = match info.ledger.holes {
                    0 => String::new(),
                    holes => format!(", {holes} are late"),
                };
                format!("{merged}{of} records{so_far} are merged{late}, {} frames", info.ledger.captured)
            }
        }
    }

    fn sliced(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.state == CameraState::Ended)
    }

    /// Where it is stuck, and what to look at.
    pub fn stuck(&self, Film { camera, footage }: &Film<'_>) -> String {
        if let Some(why) = &self.unknown {
            return format!("the database does not say how far it is: {why}");
        }
        let (dispatcher, partition) = match (&self.place, &self.balancer) {
            (None, None) => return "nobody places cameras: is a balancer running?".to_owned(),
            (None, Some(balancer)) => {
                return format!("the balancer {balancer} has not placed it: does it live? Its log says why");
            }
            (Some(Place { dispatcher: None, .. }), _) => {
                let them = match self.dispatchers {
                    0 if self.pending => {
                        "there is no dispatcher, and one that is started waits until the event store is made from the bucket \
                         (`detektor reindex`), or until it finds that there is nothing to make"
                            .to_owned()
                    }
                    0 => "there is no dispatcher".to_owned(),
                    several => format!("{several} dispatchers are known, and none is free for it"),
                };
                return format!("no dispatcher took it: {them}; `detektor placement` shows them");
            }
            (Some(Place { dispatcher: Some(dispatcher), partition }), _) => (dispatcher, partition),
        };
        if self.pending {
            return format!(
                "the event store has yet to be made from the bucket: `detektor reindex` does that, and the dispatcher {dispatcher} \
                 and merge wait for it"
            );
        }
        let queues = [format!("detect.{partition:02}"), format!("merge.{partition:02}")];
        match self.info.as_ref().map(|info| &info.state) {
            None | Some(CameraState::Connecting) => {
                return format!("the dispatcher {dispatcher} has it and has not opened {footage}: its log says why");
            }
            Some(CameraState::Lost { error }) => return format!("the dispatcher {dispatcher} lost {footage}: {error}"),
            Some(_) => {}
        }
        let waiting = match &self.waiting {
            Ok(waiting) => waiting,
            Err(why) => return format!("it is sliced, and RabbitMQ does not say what waits: {why}"),
        };
        let of = self.published.map(|published| format!(" of {published}")).unwrap_or_default();
        let merged = format!("{}{of} records are merged", self.merged);
        let held = |Depth { ready, unacked }: Depth| format!("{ready} wait and {unacked} are in work");
        let many = |Depth { ready, unacked }: Depth| ready + unacked > 0;
        if many(waiting.detect) {
            let held = held(waiting.detect);
            return format!(
                "sliced and not looked at: in {} {held}; is detect running, and enough of it? {merged}",
                queues[0]
            );
        }
        if many(waiting.merge) {
            let held = held(waiting.merge);
            return format!(
                "looked at and not merged: in {} {held}; is merge running, and enough of it? {merged}",
                queues[1]
            );
        }
        if !self.sliced() {
            return format!(
                "the dispatcher {dispatcher} is still slicing {footage}, and nothing waits in queues; {merged}"
            );
        }
        let books = self.info.as_ref().filter(|info| !info.ledger.closes()).map_or(String::new(), |info| {
            format!(", and the ledger does not close ({} outcomes are missing)", info.ledger.holes)
        });
        format!(
            "all is sliced, the queues {} and {} are empty, but {merged}{books}: what is missing failed for good \
             (`detektor replay --list --camera {camera}`), or is in work elsewhere",
            queues[0], queues[1]
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use detektor_contract::{CameraId, Failed, Ledger};

    const FILM: Film<'_> = Film { camera: "check-1", footage: "/film.mov" };

    fn placed(dispatcher: Option<&str>) -> Seen {
        let place = Place { dispatcher: dispatcher.map(str::to_owned), partition: 3 };
        Seen { dispatchers: 2, place: Some(place), ..Seen::default() }
    }

    fn known(state: CameraState, captured: u64, detected: u64) -> Seen {
        let ledger = Ledger { captured, detected, ..Ledger::default() };
        let id = CameraId::new("check-1").unwrap();
        let info = CameraInfo { id, url: FILM.footage.to_owned(), state, ledger, merged_until: None };
        Seen { info: Some(info), ..placed(Some("one")) }
    }

    fn waits(detect: u64, merge: u64) -> Result<Waiting, String> {
        let depth = |ready| Depth { ready, unacked: ready.min(1) };
        Ok(Waiting { detect: depth(detect), merge: depth(merge) })
    }

    #[test]
    fn each_place_where_it_can_be_stuck_has_a_sentence() {
        let failed = |error: &str| CameraState::Lost { error: error.to_owned() };
        let ended = || Seen { merged: 2, published: Some(5), ..known(CameraState::Ended, 30, 30) };
        let cases = [
            (Seen { unknown: Some("refused".to_owned()), ..placed(None) }, "the database does not say"),
            (Seen::default(), "is a balancer running?"),
            (Seen { balancer: Some("b".to_owned()), ..Seen::default() }, "the balancer b has not placed it"),
            (Seen { dispatchers: 0, ..placed(None) }, "no dispatcher took it: there is no dispatcher"),
            (placed(None), "no dispatcher took it: 2 dispatchers are known"),
            (placed(Some("one")), "one has it and has not opened /film.mov"),
            (Seen { pending: true, ..placed(Some("one")) }, "`detektor reindex` does that"),
            (known(failed("no route"), 0, 0), "one lost /film.mov: no route"),
            (Seen { waiting: Err("refused".to_owned()), ..ended() }, "RabbitMQ does not say what waits: refused"),
            (Seen { waiting: waits(7, 0), ..ended() }, "not looked at: in detect.03 7 wait and 1 are in work"),
            (Seen { waiting: waits(0, 4), ..ended() }, "not merged: in merge.03 4 wait and 1 are in work"),
            (known(CameraState::Running, 9, 9), "one is still slicing /film.mov"),
            (ended(), "but 2 of 5 records are merged: what is missing failed for good"),
        ];
        for (seen, expected) in cases {
            let said = seen.stuck(&FILM);
            assert!(said.contains(expected), "{said:?} lacks {expected:?}");
        }
    }

    #[test]
    fn it_is_through_with_the_end_of_the_file_and_books_that_close() {
        let whole = Seen { end: Some(EndReason::EndOfFile), ..known(CameraState::Ended, 30, 30) };
        assert!(whole.through().is_some() && whole.failed(FILM.footage).is_none());
        // The dispatcher could not say that it is through: what it published says so.
        let unsaid = Seen { end: Some(EndReason::EndOfFile), ..known(CameraState::Running, 30, 30) };
        assert!(unsaid.through().is_some());
        let not_yet = Seen { end: None, ..whole.clone() };
        let open = Seen { end: Some(EndReason::EndOfFile), ..known(CameraState::Ended, 30, 20) };
        assert!(not_yet.through().is_none() && open.through().is_none());
    }

    #[test]
    fn what_cannot_get_better_ends_it_at_once() {
        let missing = known(CameraState::Failed { error: "no such file".to_owned() }, 0, 0);
        let said = missing.failed(FILM.footage).unwrap();
        assert_eq!(
            said,
            "the dispatcher one cannot read /film.mov: no such file; --footage names a file as dispatchers see it"
        );
        let broken = Seen { end: Some(EndReason::SourceFailed), ..known(CameraState::Ended, 9, 9) };
        assert!(broken.failed(FILM.footage).unwrap().contains("to its end"));
        let mut dead = Seen { end: Some(EndReason::EndOfFile), ..known(CameraState::Ended, 30, 20) };
        dead.info.as_mut().unwrap().ledger.failed.insert(Failed::DeadLettered, 10);
        assert!(dead.failed(FILM.footage).unwrap().starts_with("10 of 30 frames failed"));
    }
}
