//! What fails for good is kept, counted, and can be tried again.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::queue::Message;
use detektor_contract::names::{HEADER_ATTEMPTS, HEADER_ERROR, Queue, Work};
use detektor_contract::wire::{decode_job, decode_outcome, encode_job, encode_outcome};
use detektor_contract::*;
use detektor_merge::DeadLetters;
use detektor_runtime::Output;
use detektor_runtime::replay::{Partitions, Quarantine, Replayed, Which};
use support::footage::{Footage, seen};
use support::{World, call, camera, merge};

/// The job whose result `outcome` is.
fn job(outcome: &Outcome) -> SegmentJob {
    SegmentJob {
        id: outcome.id.clone(),
        generation: 0,
        span: *outcome.span().unwrap(),
        seam: outcome.seam(),
        media: MediaInfo {
            codec: Codec::H264,
            width: 640,
            height: 480,
            time_scale: 90_000,
            init: Digest::of(b"init"),
            samples: 5,
            pre_roll: 0,
            post_roll: None,
            hidden: Vec::new(),
        },
        payload: Payload::Inline { init_bytes: 4, video: Bytes::from_static(b"initmedia") },
        policy: DetectPolicy::default(),
        rules: EventRules::default(),
    }
}

fn dead(body: Bytes) -> Message {
    let headers = [(HEADER_ERROR, "no picture came out"), (HEADER_ATTEMPTS, "3")];
    Message { body, headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
}

async fn replay(world: &World, which: &Which) -> Replayed {
    let quarantine = Quarantine::new(world.store(), world.bucket());
    quarantine.replay(which, &*world.embedded.queues(), &Partitions::Only(7)).await.unwrap()
}

#[tokio::test]
async fn a_dead_job_gets_a_tombstone_and_a_replay_wins_over_it() {
    let world = World::new().await;
    let function = world.merge();
    let mut footage = Footage::live();
    footage.looks(3.0, |t| vec![seen("person", 0.8, [100.0 + 50.0 * t, 400.0, 80.0, 200.0])]);
    let letters = Arc::new(DeadLetters::new(world.bucket()));
    let lost = job(&footage.outcomes[1]);
    let reply = call(Arc::clone(&letters).jobs(), vec![dead(encode_job(&lost))]).await.unwrap();
    let [Ok(outputs)] = &reply.0[..] else { panic!("{reply:?}") };
    let [Output { work: Work::Merge, message }] = &outputs[..] else { panic!("{outputs:?}") };
    let tombstone = decode_outcome(&message.body).unwrap();
    let OutcomeBody::Tombstone(body) = &tombstone.body else { panic!("{tombstone:?}") };
    assert_eq!((body.error.as_str(), body.attempts, body.span), ("no picture came out", 3, lost.span));

    let mut without = footage.outcomes.clone();
    without[1] = tombstone;
    merge(&function, &without).await.unwrap();
    assert_eq!(world.ledger().await.failed, [(Failed::DeadLettered, 5)].into());
    assert!(world.ledger().await.closes());
    assert_eq!(world.store().tombstones().await.unwrap().len(), 1);

    let queues = world.embedded.queues();
    let replayed = replay(&world, &Which::All).await;
    assert_eq!((replayed.queued, replayed.failed), (vec![lost.id.clone()], vec![]));
    let consumer = queues.consume(&[Queue::Work(Work::Detect, 7)], 1).await.unwrap();
    let again = decode_job(&consumer.receive().await.unwrap().message.body).unwrap();
    assert_eq!(again, SegmentJob { generation: 1, ..lost });

    let result = Outcome { generation: 1, ..footage.outcomes[1].clone() };
    merge(&function, std::slice::from_ref(&result)).await.unwrap();
    without[1] = result;
    world.agrees_with(&fold::project(&camera(), &without)).await;
    assert_eq!(world.store().tombstones().await.unwrap(), []);
}

#[tokio::test]
async fn a_job_that_is_gone_is_named() {
    let world = World::new().await;
    let mut footage = Footage::live();
    footage.tombstone(5);
    let id = footage.outcomes[0].id.clone();
    let key = ObjectKey::quarantine(&id, 0);
    let OutcomeBody::Tombstone(body) = &mut footage.outcomes[0].body else { panic!() };
    body.quarantine = Some(key);
    merge(&world.merge(), &footage.outcomes).await.unwrap();
    let replayed = replay(&world, &Which::All).await;
    assert_eq!(replayed.queued, []);
    assert_eq!(replayed.failed[0].0, id);
    assert!(replayed.failed[0].1.contains("no object"), "{:?}", replayed.failed);
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_as_it_is() {
    let world = World::new().await;
    let letters = Arc::new(DeadLetters::new(world.bucket()));
    let rubbish = Bytes::from_static(b"rubbish");
    let reply = call(Arc::clone(&letters).jobs(), vec![dead(rubbish.clone())]).await.unwrap();
    assert!(matches!(&reply.0[..], [Ok(outputs)] if outputs.is_empty()), "{reply:?}");
    call(letters.outcomes(), vec![dead(rubbish.clone())]).await.unwrap();
    let keys = world.keys(ObjectKey::QUARANTINE).await;
    assert_eq!(keys, [ObjectKey::quarantine_unreadable(Digest::of(&rubbish))]);
    assert_eq!(world.bucket().get(&keys[0]).await.unwrap(), rubbish);
    let replayed = replay(&world, &Which::All).await;
    assert_eq!((replayed.queued, replayed.unreadable.len()), (vec![], 1));
    assert_eq!(replayed.unreadable[0].0, keys[0]);
    let replayed = replay(&world, &Which::Camera(camera())).await;
    assert_eq!(replayed.unreadable, [], "it is nobody's");
    assert_eq!(world.keys(ObjectKey::QUARANTINE).await, keys, "it is kept");
}

#[tokio::test]
async fn what_a_newer_release_reads_is_queued_again_as_it_is() {
    let world = World::new().await;
    let mut footage = Footage::live();
    footage.looks(2.0, |_| vec![]);
    let outcome = footage.outcomes[0].clone();
    let job = job(&footage.outcomes[1]);
    let bodies = [encode_outcome(&outcome), encode_job(&job)];
    for body in &bodies {
        let key = ObjectKey::quarantine_unreadable(Digest::of(body));
        world.bucket().put(&key, body.clone()).await.unwrap();
    }
    let queues = world.embedded.queues();
    let other = CameraId::new("other").unwrap();
    let replayed = replay(&world, &Which::Camera(other)).await;
    assert_eq!((replayed, world.keys(ObjectKey::UNREADABLE).await.len()), (Replayed::default(), 2));
    let replayed = replay(&world, &Which::All).await;
    assert_eq!((replayed.queued.len(), replayed.unreadable), (2, vec![]));
    for (work, body) in [Work::Merge, Work::Detect].into_iter().zip(&bodies) {
        let consumer = queues.consume(&[Queue::Work(work, 7)], 1).await.unwrap();
        assert_eq!(consumer.receive().await.unwrap().message.body, body);
    }
    assert_eq!(world.keys(ObjectKey::UNREADABLE).await, []);
}

/// A job as the first release of this wire version wrote it: fields that came later are not there, one that went is.
fn first_release(id: &SegmentId) -> Bytes {
    let header = format!(
        r#"{{"id":{{"camera":"{}","epoch":{},"sequence":{}}},"generation":0,"span":{{"first_frame":5,"frames":5,"start":0,"end":1000000,"clock":"unix"}},"media":{{"codec":"h264","width":640,"height":480,"time_scale":90000,"init":"b690dd4b190c86e4b4a62928d4094a94","samples":5,"pre_roll":0}},"payload":{{"at":"inline","init_bytes":4}},"policy":{{"sampling":{{"per_second":5}},"gate":true,"store_score":1000,"keep_video":"events","gone":1}},"rules":{{"report_score":3000,"open_score":5000,"open_looks":3,"open_window":5,"lost_after_ms":2000,"stationary_after_ms":10000,"stationary_misses":15}}}}"#,
        id.camera, id.epoch, id.sequence
    );
    let mut message = b"DTKJ\x01\x00".to_vec();
    message.extend((header.len() as u32).to_be_bytes());
    message.extend(header.bytes());
    message.extend(b"initmedia");
    message.into()
}

#[tokio::test]
async fn an_older_releases_job_is_replayed_and_no_other_is() {
    let world = World::new().await;
    let mut footage = Footage::live();
    for _ in 0..3 {
        footage.tombstone(5);
    }
    for outcome in &mut footage.outcomes[..3] {
        let key = ObjectKey::quarantine(&outcome.id, 0);
        world.bucket().put(&key, first_release(&outcome.id)).await.unwrap();
        let OutcomeBody::Tombstone(body) = &mut outcome.body else { panic!() };
        body.quarantine = Some(key);
    }
    merge(&world.merge(), &footage.outcomes).await.unwrap();
    let id = footage.outcomes[1].id.clone();
    let replayed = replay(&world, &Which::Segment(id.clone())).await;
    assert_eq!(replayed, Replayed { queued: vec![id.clone()], ..Replayed::default() });
    let consumer = world.embedded.queues().consume(&[Queue::Work(Work::Detect, 7)], 1).await.unwrap();
    let job = decode_job(&consumer.receive().await.unwrap().message.body).unwrap();
    assert_eq!((&job.id, job.generation, job.policy.max_age_ms), (&id, 1, None));
    assert_eq!(job.payload, Payload::Inline { init_bytes: 4, video: Bytes::from_static(b"initmedia") });

    let none = SegmentId { sequence: 99, ..id };
    assert_eq!(replay(&world, &Which::Segment(none)).await, Replayed::default());
    assert_eq!(replay(&world, &Which::All).await.queued.len(), 3);
}
