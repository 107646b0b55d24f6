#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    Clock, Codec, DetectPolicy, Digest, Epoch, EventRules, Marker, MediaInfo, ObjectKey, Outcome, OutcomeBody, Payload,
    Seam, SegmentJob, Span, TimeUs, wire,
};
use detektor_runtime::Metrics;

use super::*;

mod log;
mod outage;

const FRAMES: u32 = 25;

fn camera() -> CameraId {
    CameraId::new("gate").unwrap()
}

fn span(sequence: u64) -> Span {
    let at = |n: u64| TimeUs(1_795_500_000_000_000 + n as i64 * 1_000_000);
    let first_frame = sequence * u64::from(FRAMES);
    let (start, end) = (at(sequence), at(sequence + 1));
    Span { first_frame, frames: FRAMES, start, end, clock: Clock::Unix, key_frame: None }
}

fn seam(sequence: u64) -> Option<Seam> {
    (sequence == 0).then(|| Seam { at: span(0).start, key_frame: None })
}

/// A job with so many bytes of video inside the message.
fn job(sequence: u64, bytes: usize) -> Record {
    let id = SegmentId { camera: camera(), epoch: Epoch(7), sequence };
    let video = Bytes::from(vec![sequence as u8; bytes]);
    let init = Digest::of(b"");
    let job = SegmentJob {
        id: id.clone(),
        generation: 0,
        span: span(sequence),
        seam: seam(sequence),
        media: MediaInfo {
            codec: Codec::H264,
            width: 640,
            height: 360,
            time_scale: 90_000,
            init,
            samples: FRAMES,
            pre_roll: 0,
            post_roll: None,
            hidden: Vec::new(),
        },
        payload: Payload::Inline { init_bytes: 0, video },
        policy: DetectPolicy::default(),
        rules: EventRules::default(),
    };
    let at = span(sequence).end.0;
    Record {
        id,
        queue: Queue::Work(Work::Detect, 0),
        body: wire::encode_job(&job),
        object: None,
        captured_unix_us: at,
        closed_unix_us: at + 1,
        fault: None,
        provisional: false,
        quiet: false,
    }
}

/// A job whose video travels as an object.
fn large(sequence: u64, bytes: usize) -> Record {
    let record = job(sequence, 10);
    let key = ObjectKey::in_flight(&record.id);
    Record { object: Some((key, Bytes::from(vec![!(sequence as u8); bytes]))), ..record }
}

/// Everything of a record that must come out of the spool as it went in.
fn face(record: &Record) -> (SegmentId, Queue, Bytes, Option<(ObjectKey, Bytes)>, i64, i64) {
    let Record { id, queue, body, object, captured_unix_us, closed_unix_us, .. } = record.clone();
    (id, queue, body, object, captured_unix_us, closed_unix_us)
}

/// The marker that a record is, if it is one, and whose frames it accounts for.
fn marker(record: &Record) -> Option<Marker> {
    let Outcome { id, generation: 0, body: OutcomeBody::Marker(marker) } = wire::decode_outcome(&record.body).ok()?
    else {
        return None;
    };
    assert_eq!((&id, record.queue), (&record.id, Queue::Work(Work::Merge, 0)));
    let (Marker::Shed { span: of, seam: at, .. } | Marker::Undecodable { span: of, seam: at, .. }) = marker else {
        return None;
    };
    assert_eq!((of, at), (span(id.sequence), seam(id.sequence)));
    Some(marker)
}

fn is_shed(record: &Record) -> bool {
    matches!(marker(record), Some(Marker::Shed { reason: detektor_contract::ShedReason::SpoolFull, .. }))
}

/// What is as it was when a process was killed: the files, without the process.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}
