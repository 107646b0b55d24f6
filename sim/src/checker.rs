//! Holds what is left against what happened.

use std::collections::{BTreeMap, BTreeSet};

use detektor_backends::bucket::Bucket;
use detektor_backends::coordination::LeaseName;
use detektor_backends::store::{EventFilter, EventStore, Feed, FeedEntry, FeedPosition, Order};
use detektor_contract::fold::{Projection, project};
use detektor_contract::{
    CameraId, Digest, Epoch, Event, EventChange, EventId, EventState, Ledger, ObjectKey, Outcome, Position, SegmentId,
};
use futures::TryStreamExt as _;

use crate::history::Notes;
use crate::hosts::Ground;

/// As many of anything as there are.
const ALL: u32 = 1_000_000;

/// What is left when all is done.
pub struct Left {
    /// Every outcome in the bucket's log.
    pub logged: Vec<Outcome>,
    /// What the store says of each camera.
    pub cameras: BTreeMap<CameraId, Stored>,
    /// The feed; none after a reindex, which begins a new one.
    pub feed: Option<Vec<FeedEntry>>,
    /// The events' objects in the bucket.
    pub objects: BTreeMap<ObjectKey, Option<Event>>,
}

/// What the store says of a camera.
pub struct Stored {
    /// Its ledger.
    pub ledger: Ledger,
    /// Its winning outcomes.
    pub outcomes: Vec<Outcome>,
    /// Its events.
    pub events: BTreeMap<EventId, Event>,
}

impl Left {
    /// Reads it all.
    ///
    /// # Errors
    /// If something cannot be read.
    pub async fn read(ground: &Ground, reindexed: bool) -> anyhow::Result<Self> {
        let (bucket, store) = (&ground.bucket, &ground.database);
        let mut logged = Vec::new();
        for object in bucket.list(ObjectKey::LOG).try_collect::<Vec<_>>().await? {
            for line in bucket.get(&object.key).await?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                logged.push(serde_json::from_slice(line)?);
            }
        }
        let mut objects = BTreeMap::new();
        for object in bucket.list(ObjectKey::EVENTS).try_collect::<Vec<_>>().await? {
            let body = bucket.get(&object.key).await?;
            objects.insert(object.key, serde_json::from_slice(&body).ok());
        }
        let mut cameras = BTreeMap::new();
        for info in store.cameras().await? {
            let filter = EventFilter { camera: Some(info.id.clone()), ..EventFilter::default() };
            let events = store.events(&filter, Order::Ascending, None, ALL).await?;
            let events = events.into_iter().map(|stored| (stored.event.id.clone(), stored.event)).collect();
            let outcomes = store.outcomes(&info.id, Position::default(), ALL).await?;
            cameras.insert(info.id, Stored { ledger: info.ledger, outcomes, events });
        }
        let begin = FeedPosition { position: 0, ..store.feed_head().await? };
        let feed = match store.feed(begin, ALL).await? {
            Feed::Entries(entries) => Some(entries).filter(|_| !reindexed),
            Feed::Reset(_) => None,
        };
        Ok(Self { logged, cameras, feed, objects })
    }

    /// A digest of all of it: equal runs have equal ones.
    pub fn digest(&self, notes: &Notes) -> Digest {
        let mut text = format!("{:?}\n{:?}\n{:?}\n", notes.takes, notes.confirmed, self.feed);
        for outcome in &self.logged {
            text.push_str(&outcome.digest().to_string());
        }
        Digest::of(text.as_bytes())
    }
}

/// Everything that is not as promised.
pub fn check(notes: &Notes, left: &Left) -> Vec<String> {
    let mut wrong = Vec::new();
    epochs_rise(notes, &mut wrong);
    one_publishes(notes, &mut wrong);
    nothing_is_lost(notes, left, &mut wrong);
    events_follow(left, &mut wrong);
    ledgers_close(left, &mut wrong);
    if let Some(feed) = &left.feed {
        told_once(feed, left, &mut wrong);
    }
    objects_stand(left, &mut wrong);
    wrong
}

/// Promise 5: every take of a lease has a higher epoch than all before.
fn epochs_rise(notes: &Notes, wrong: &mut Vec<String>) {
    let mut last: BTreeMap<&LeaseName, Epoch> = BTreeMap::new();
    for (name, epoch, by) in &notes.takes {
        if let Some(before) = last.insert(name, *epoch).filter(|before| before >= epoch) {
            wrong.push(format!("{name:?}: epoch {epoch}, taken by {by}, does not exceed {before}"));
        }
    }
}

/// Nobody publishes under another's epoch.
fn one_publishes(notes: &Notes, wrong: &mut Vec<String>) {
    for ((camera, epoch), who) in notes.publishers.iter().filter(|(_, who)| who.len() > 1) {
        wrong.push(format!("{camera}/{epoch} was published by several: {who:?}"));
    }
    let mut taken: BTreeSet<(&CameraId, Epoch, &str)> = BTreeSet::new();
    for (name, epoch, by) in &notes.takes {
        if let LeaseName::Camera(camera) = name {
            taken.insert((camera, *epoch, by.as_str()));
        }
    }
    for ((camera, epoch), who) in &notes.publishers {
        for who in who.iter().filter(|who| !taken.contains(&(camera, *epoch, who.as_str()))) {
            wrong.push(format!("{camera}/{epoch} was published by {who}, who never took it"));
        }
    }
}

/// What the queue confirmed has an outcome, in the log and in the store.
fn nothing_is_lost(notes: &Notes, left: &Left, wrong: &mut Vec<String>) {
    let logged: BTreeSet<&SegmentId> = left.logged.iter().map(|outcome| &outcome.id).collect();
    let stored: BTreeSet<&SegmentId> =
        left.cameras.values().flat_map(|camera| &camera.outcomes).map(|outcome| &outcome.id).collect();
    for id in notes.confirmed.keys() {
        if !logged.contains(id) {
            wrong.push(format!("{id} was confirmed and is not in the log"));
        }
        if !stored.contains(id) {
            wrong.push(format!("{id} was confirmed and is not in the store"));
        }
    }
}

/// Promise 4: what the store holds is the fold of the log.
fn events_follow(left: &Left, wrong: &mut Vec<String>) {
    let logged: BTreeSet<&CameraId> = left.logged.iter().map(|outcome| &outcome.id.camera).collect();
    for camera in logged {
        let Some(stored) = left.cameras.get(camera) else {
            wrong.push(format!("{camera} is in the log and not in the store"));
            continue;
        };
        let Projection { fold, events, .. } = project(camera, &left.logged);
        if *fold.ledger() != stored.ledger {
            wrong.push(format!("{camera}: the ledger is {:?}, the log says {:?}", stored.ledger, fold.ledger()));
        }
        for (id, event) in &events {
            match stored.events.get(id) {
                Some(there) if there == event => {}
                there => wrong.push(format!("{id}: the event is {there:?}, the log says {event:?}")),
            }
        }
        for id in stored.events.keys().filter(|id| !events.contains_key(id)) {
            wrong.push(format!("{id}: there is an event that the log knows nothing of"));
        }
    }
}

/// Promise 7: every captured frame is accounted for, and a hole is only where nothing was confirmed.
fn ledgers_close(left: &Left, wrong: &mut Vec<String>) {
    for (camera, stored) in &left.cameras {
        let ledger = &stored.ledger;
        let sum = ledger.detected + ledger.skipped_total() + ledger.failed_total();
        let mut epochs: BTreeMap<Epoch, (u64, u64)> = BTreeMap::new();
        for outcome in &stored.outcomes {
            let (count, next) = epochs.entry(outcome.id.epoch).or_default();
            (*count, *next) = (*count + 1, outcome.id.sequence + 1);
        }
        let holes: u64 = epochs.values().map(|(count, next)| next - count).sum();
        if ledger.holes != holes {
            wrong.push(format!("{camera}: {} holes in the ledger, {holes} in the outcomes", ledger.holes));
        }
        // What is in a hole was captured, and nothing tells what became of it.
        if ledger.miscounted > 0 || sum > ledger.captured || (holes == 0 && sum != ledger.captured) {
            wrong.push(format!("{camera}: the ledger does not close: {ledger:?}"));
        }
    }
}

/// No change is told twice, no event is opened twice, and what was told last is what is there.
fn told_once(feed: &[FeedEntry], left: &Left, wrong: &mut Vec<String>) {
    let mut known: BTreeMap<&EventId, (u32, &EventChange)> = BTreeMap::new();
    for (place, entry) in (1..).zip(feed) {
        let id = &entry.change.event().id;
        if entry.at.position != place {
            wrong.push(format!("the feed's entry {place} says that it is {}", entry.at.position));
        }
        let before = known.insert(id, (entry.revision, &entry.change));
        let revision = before.map_or(0, |(revision, _)| revision);
        if entry.revision != revision + 1 {
            wrong.push(format!("{id}: revision {} was told after {revision}", entry.revision));
        }
        let open = before.is_some_and(|(_, change)| !matches!(change, EventChange::Withdrawn(_)));
        if open && matches!(entry.change, EventChange::Opened(_)) {
            wrong.push(format!("{id} was opened twice"));
        }
    }
    let stands = |(_, change): &&(u32, &EventChange)| !matches!(change, EventChange::Withdrawn(_));
    let told: BTreeSet<&EventId> = known.iter().filter(|(_, last)| stands(last)).map(|(id, _)| *id).collect();
    let there: BTreeSet<&EventId> = left.cameras.values().flat_map(|camera| camera.events.keys()).collect();
    for id in told.symmetric_difference(&there) {
        wrong.push(format!("{id}: told and stored differ"));
    }
}

/// Every closed event is an object, as it is, and there is no other.
fn objects_stand(left: &Left, wrong: &mut Vec<String>) {
    let events = left.cameras.values().flat_map(|camera| camera.events.values());
    let closed = events.filter(|event| matches!(event.state, EventState::Closed(_)));
    let expected: BTreeMap<ObjectKey, &Event> = closed.map(|event| (ObjectKey::event(event), event)).collect();
    for (key, event) in &expected {
        if left.objects.get(key).and_then(Option::as_ref) != Some(*event) {
            wrong.push(format!("{key}: the object is not as the event"));
        }
    }
    for key in left.objects.keys().filter(|key| !expected.contains_key(key)) {
        wrong.push(format!("{key}: an object without an event"));
    }
}
