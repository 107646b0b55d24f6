//! The wire form, held by golden files: what one release writes, the next one reads.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{camera, engine, score, seen};
use detektor_contract::wire::{VERSION, WireError, decode_job, decode_outcome, encode_job, encode_outcome};
use detektor_contract::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn segment(sequence: Sequence) -> SegmentId {
    SegmentId { camera: camera(), epoch: Epoch(1_795_000_000_123), sequence }
}

fn span() -> Span {
    Span {
        first_frame: 60,
        frames: 3,
        start: TimeUs(1_795_000_002_000_000),
        end: TimeUs(1_795_000_002_100_000),
        clock: Clock::Unix,
        key_frame: Some(Digest::of(b"key frame")),
    }
}

fn seam() -> Seam {
    Seam { at: TimeUs(1_795_000_002_000_000), key_frame: Some(Digest::of(b"key frame")) }
}

fn job(payload: Payload) -> SegmentJob {
    SegmentJob {
        id: segment(0),
        generation: 1,
        span: span(),
        seam: Some(seam()),
        media: MediaInfo {
            codec: Codec::H265,
            width: 1_920,
            height: 1_080,
            time_scale: 90_000,
            init: Digest::of(b"init"),
            samples: 6,
            pre_roll: 1,
            post_roll: Some(4),
            hidden: Vec::new(),
        },
        payload,
        policy: DetectPolicy {
            labels: vec!["person".into()],
            masks: vec![[0, 0, 10_000, 800]],
            ..DetectPolicy::default()
        },
        rules: EventRules::default(),
    }
}

fn inline() -> SegmentJob {
    job(Payload::Inline { init_bytes: 4, video: Bytes::from_static(b"ftypmoof") })
}

fn result(hidden: Vec<u32>) -> OutcomeBody {
    let at = |i: i64| TimeUs(1_795_000_002_000_000 + i * 33_333);
    let objects = vec![seen("person", 0.9, [10.0, 20.0, 30.5, 60.0]), seen("car", 0.4, [0.0, 0.0, 5.0, 5.0])];
    OutcomeBody::Result(SegmentResult {
        span: span(),
        seam: Some(seam()),
        rules: EventRules::default(),
        picture: [1_920, 1_080],
        engine: engine(),
        frames: vec![
            Frame { at: at(0), fate: Fate::Detected(objects) },
            Frame { at: at(1), fate: Fate::Skipped(Skipped::SecondField) },
            Frame { at: at(2), fate: Fate::Failed(Failed::Decode) },
        ],
        snapshots: vec![SnapshotRef { frame: 0, key: ObjectKey::snapshot(&segment(0), 0) }],
        video: Some(KeptVideo { key: ObjectKey::video(&segment(0)), pre_roll: 1, post_roll: Some(4), hidden }),
    })
}

/// One of each kind, by the name of its golden file.
fn outcomes() -> Vec<(&'static str, Outcome)> {
    let bodies = [
        ("result", result(Vec::new())),
        ("result_of_an_edited_file", result(vec![2, 5])),
        (
            "tombstone",
            OutcomeBody::Tombstone(Tombstone {
                span: span(),
                seam: None,
                error: "the segment's init part cannot be read".to_owned(),
                attempts: 3,
                quarantine: Some(ObjectKey::quarantine(&segment(0), 0)),
            }),
        ),
        ("shed", OutcomeBody::Marker(Marker::Shed { span: span(), seam: Some(seam()), reason: ShedReason::SpoolFull })),
        (
            "undecodable",
            OutcomeBody::Marker(Marker::Undecodable { span: span(), seam: None, reason: Failed::BeforeKeyFrame }),
        ),
        (
            "gap",
            OutcomeBody::Marker(Marker::Gap {
                from: TimeUs(1_795_000_002_100_000),
                until: None,
                clock: Clock::Unix,
                cause: GapCause::Disconnected,
            }),
        ),
        (
            "end",
            OutcomeBody::Marker(Marker::EndOfEpoch {
                frames: 63,
                at: TimeUs(1_795_000_002_100_000),
                reason: EndReason::HandedOver,
            }),
        ),
    ];
    bodies.map(|(name, body)| (name, Outcome { id: segment(0), generation: 0, body })).into()
}

/// A message as text: what stands before the header, the header, and what follows it.
fn text(message: &[u8]) -> String {
    let length = u32::from_be_bytes(message[6..10].try_into().unwrap()) as usize;
    let (header, body) = message[10..].split_at(length);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    format!("{}\n{}\n{}", hex(&message[..10]), std::str::from_utf8(header).unwrap(), hex(body))
}

#[test]
fn jobs_are_as_the_golden_files_say() {
    let message = encode_job(&inline());
    insta::assert_snapshot!("job_inline", text(&message));
    assert_eq!(decode_job(&message).unwrap(), inline());
    let key = ObjectKey::in_flight(&segment(0));
    let large = job(Payload::Object { init_bytes: 700, bytes: 4_000_000, key });
    let message = encode_job(&large);
    insta::assert_snapshot!("job_object", text(&message));
    assert_eq!(decode_job(&message).unwrap(), large);
}

#[test]
fn outcomes_are_as_the_golden_files_say() {
    for (name, outcome) in outcomes() {
        let message = encode_outcome(&outcome);
        insta::assert_snapshot!(name, text(&message));
        assert_eq!(decode_outcome(&message).unwrap(), outcome);
        assert_eq!(serde_json::from_slice::<Outcome>(&outcome.to_json()).unwrap(), outcome);
    }
}

#[test]
fn inline_video_shares_the_messages_memory() {
    let message = encode_job(&inline());
    let Payload::Inline { video, .. } = decode_job(&message).unwrap().payload else { panic!() };
    assert!(message.as_ptr_range().contains(&video.as_ptr()));
}

fn with_header(message: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Bytes {
    let length = u32::from_be_bytes(message[6..10].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&message[10..10 + length]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let mut changed = message[..6].to_vec();
    changed.extend((header.len() as u32).to_be_bytes());
    changed.extend(header);
    changed.extend(&message[10 + length..]);
    changed.into()
}

#[test]
fn unknown_fields_are_ignored() {
    let later = with_header(&encode_job(&inline()), |header| {
        header["mood"] = "good".into();
        header["policy"]["mood"] = 1.into();
        header["media"]["mood"] = serde_json::json!({"a": []});
    });
    assert_eq!(decode_job(&later).unwrap(), inline());
    for (_, outcome) in outcomes() {
        let later = with_header(&encode_outcome(&outcome), |header| {
            header["mood"] = "good".into();
            header["body"]["mood"] = 1.into();
            if let Some(frame) = header["body"].get_mut("frames").and_then(|frames| frames.get_mut(0)) {
                frame["mood"] = 1.into();
                frame["seen"][0]["mood"] = 1.into();
            }
        });
        assert_eq!(decode_outcome(&later).unwrap(), outcome);
    }
}

#[test]
fn versions_are_told_apart() {
    let mut message = encode_job(&inline()).to_vec();
    message[5] = VERSION.1 + 1;
    assert!(decode_job(&message.clone().into()).is_ok(), "a newer minor version reads");
    message[4] = VERSION.0 + 1;
    let error = decode_job(&message.into()).unwrap_err();
    assert!(matches!(error, WireError::TooNew { major: 2, minor: 1 }), "{error}");
    assert_eq!(error.to_string(), "wire version 2.1 is newer than this build's 1.x: upgrade this part first");
    assert_eq!(error.fault(), Fault::Permanent);
}

#[test]
fn a_message_that_contradicts_itself_is_refused() {
    let refused = |message: Bytes| {
        let error = decode_job(&message).map(|_| ()).or_else(|_| decode_outcome(&message).map(|_| ())).unwrap_err();
        assert!(matches!(error, WireError::Inconsistent(_) | WireError::Kind { .. }), "{error}");
    };
    refused(with_header(&encode_job(&inline()), |header| header["payload"]["init_bytes"] = 9.into()));
    refused(with_header(&encode_job(&inline()), |header| header["media"]["pre_roll"] = 7.into()));
    refused(with_header(&encode_job(&inline()), |header| header["media"]["post_roll"] = 6.into()));
    let outcome = Outcome { id: segment(0), generation: 0, body: result(Vec::new()) };
    refused(with_header(&encode_outcome(&outcome), |header| header["body"]["span"]["frames"] = 4.into()));
    let error = decode_outcome(&encode_job(&inline())).unwrap_err();
    assert_eq!(error.to_string(), "not an outcome: message kind 'J'");
}

#[test]
fn scores_and_names_outside_their_range_are_refused() {
    let outcome = Outcome { id: segment(0), generation: 0, body: result(Vec::new()) };
    let bad = |change: fn(&mut serde_json::Value)| decode_outcome(&with_header(&encode_outcome(&outcome), change));
    assert!(bad(|h| h["body"]["frames"][0]["seen"][0]["score"] = 10_001.into()).is_err());
    assert!(bad(|h| h["id"]["camera"] = "../etc".into()).is_err());
    assert!(bad(|h| h["body"]["video"]["key"] = "../etc/passwd".into()).is_err());
    assert!(bad(|h| h["body"]["frames"][1] = serde_json::json!({"t": 1})).is_err());
    assert_eq!(score(0.5).ten_thousandths(), 5_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_is_refused_not_fatal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"DTKJ\x01\x00".to_vec();
        framed.extend(&bytes);
        for message in [Bytes::from(bytes), Bytes::from(framed)] {
            prop_assert!(decode_job(&message).is_err());
            prop_assert!(decode_outcome(&message).is_err());
        }
    }

    #[test]
    fn a_message_that_breaks_off_is_refused(cut in any::<prop::sample::Index>(), which in 0usize..7) {
        let outcomes = outcomes();
        let (message, body) = match outcomes.get(which) {
            Some((_, outcome)) => (encode_outcome(outcome), 0),
            None => (encode_job(&inline()), 8),
        };
        let cut = message.slice(..cut.index(message.len() - body));
        prop_assert!(decode_job(&cut).is_err());
        prop_assert!(decode_outcome(&cut).is_err());
    }

    #[test]
    fn a_damaged_message_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        which in 0usize..7,
    ) {
        let outcomes = outcomes();
        let message = outcomes.get(which).map_or_else(|| encode_job(&inline()), |(_, outcome)| encode_outcome(outcome));
        let mut message = message.to_vec();
        for (at, with) in flips {
            let at = at.index(message.len());
            message[at] ^= with;
        }
        let message = Bytes::from(message);
        // Whatever still reads, writes and reads the same.
        if let Ok(job) = decode_job(&message) {
            prop_assert_eq!(decode_job(&encode_job(&job)).unwrap(), job);
        }
        if let Ok(outcome) = decode_outcome(&message) {
            prop_assert_eq!(decode_outcome(&encode_outcome(&outcome)).unwrap(), outcome);
        }
    }
}
