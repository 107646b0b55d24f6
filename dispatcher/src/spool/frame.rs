//! Records as bytes: a fixed part, a head (JSON), and the data (a message, then the object that goes before it).
//!
//! ```text
//! "DTKSPL1\n"  head_len:u32be  data_len:u32be  digest of the data:16  digest of all before and of the head:16  head  data
//! ```
//!
//! The head says who the record is and which frames it accounts for, under a digest of its own: where the data is damaged, a
//! marker can still take its place. Where the head is damaged, the next frame is looked for behind it.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    Digest, Failed, Marker, ObjectKey, Outcome, OutcomeBody, Seam, SegmentId, ShedReason, Span, wire,
};
use serde::{Deserialize, Serialize};

use crate::record::Record;

const MAGIC: [u8; 8] = *b"DTKSPL1\n";
/// Magic, two lengths, and the data's digest; the digest of the head follows.
const OPENING: usize = 32;
const FIXED: usize = OPENING + 16;
/// No head is longer.
const HEAD_MOST: usize = 1 << 16;

/// What is known of a record without its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Its place among all of a spool.
    pub(super) order: u64,
    pub(super) id: SegmentId,
    work: Work,
    pub(super) partition: u16,
    captured_unix_us: i64,
    closed_unix_us: i64,
    /// So much of the data is the message; the rest is the object.
    message_bytes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<ObjectKey>,
    /// The frames of a job; a marker's are inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    span: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seam: Option<Seam>,
}

impl Head {
    /// What takes the place of a job: its frames are accounted for. None for what is a marker already.
    pub(super) fn in_its_place(&self, why: Why) -> Option<Record> {
        let (span, seam) = (self.span?, self.seam);
        let marker = match why {
            Why::Full => Marker::Shed { span, seam, reason: ShedReason::SpoolFull },
            Why::Damaged => Marker::Undecodable { span, seam, reason: Failed::Decode },
        };
        let outcome = Outcome { id: self.id.clone(), generation: 0, body: OutcomeBody::Marker(marker) };
        Some(Record {
            id: self.id.clone(),
            queue: Queue::Work(Work::Merge, self.partition),
            body: wire::encode_outcome(&outcome),
            object: None,
            captured_unix_us: self.captured_unix_us,
            closed_unix_us: self.closed_unix_us,
            fault: None,
            provisional: false,
            quiet: false,
        })
    }

    /// The record again. None where the data is not what was written.
    fn record(&self, data: &Bytes) -> Option<Record> {
        let message = self.message_bytes as usize;
        let object = match &self.object {
            Some(key) if message <= data.len() => Some((key.clone(), data.slice(message..))),
            None if message == data.len() => None,
            _ => return None,
        };
        Some(Record {
            id: self.id.clone(),
            queue: Queue::Work(self.work, self.partition),
            body: data.slice(..message),
            object,
            captured_unix_us: self.captured_unix_us,
            closed_unix_us: self.closed_unix_us,
            fault: None,
            provisional: false,
            quiet: false,
        })
    }
}

/// Why a marker takes a job's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There was no room.
    Full,
    /// It cannot be read.
    Damaged,
}

/// A record as it is written: what goes before the data, and the data in one or two pieces.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) head: Head,
    pub(super) pieces: Vec<Bytes>,
}

impl Frame {
    /// Frames a record; none if it is no work or is longer than any message.
    pub(super) fn new(order: u64, record: &Record) -> Option<Self> {
        let Queue::Work(work, partition) = record.queue else { return None };
        let job = wire::decode_job(&record.body).ok();
        let head = Head {
            order,
            id: record.id.clone(),
            work,
            partition,
            captured_unix_us: record.captured_unix_us,
            closed_unix_us: record.closed_unix_us,
            message_bytes: u32::try_from(record.body.len()).ok()?,
            object: record.object.as_ref().map(|(key, _)| key.clone()),
            span: job.as_ref().map(|job| job.span),
            seam: job.and_then(|job| job.seam),
        };
        let object = record.object.as_ref().map(|(_, bytes)| bytes.clone());
        let data: Vec<Bytes> = std::iter::once(record.body.clone()).chain(object).collect();
        // Plain data with string keys: there is nothing in it that JSON cannot hold.
        let text = serde_json::to_vec(&head).unwrap_or_default();
        let mut opening = Vec::with_capacity(FIXED + text.len());
        opening.extend_from_slice(&MAGIC);
        opening.extend_from_slice(&(text.len() as u32).to_be_bytes());
        opening.extend_from_slice(&u32::try_from(data.iter().map(Bytes::len).sum::<usize>()).ok()?.to_be_bytes());
        opening.extend_from_slice(&digest(data.iter().map(|piece| &**piece)));
        opening.extend_from_slice(&digest([&*opening, &*text]));
        opening.extend_from_slice(&text);
        Some(Self { head, pieces: std::iter::once(opening.into()).chain(data).collect() })
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

fn digest<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    Digest::of_hash(&hasher.finalize()).0
}

/// What stands in a file.
#[derive(Debug)]
pub(super) enum Found {
    /// A frame whose head is whole. Its data has not been looked at.
    Frame { at: u64, head: Box<Head>, bytes: u64 },
    /// Bytes that are no frame, with frames behind them.
    Damage { bytes: u64 },
    /// Bytes that are no frame to the end: what was being written when the writer was killed.
    Torn { at: u64, bytes: u64 },
}

/// Walks over the frames of a file.
pub(super) struct Frames<R> {
    reader: R,
    at: u64,
    end: u64,
}

impl<R: Read + Seek> Frames<R> {
    pub(super) fn new(mut reader: R) -> io::Result<Self> {
        let end = reader.seek(SeekFrom::End(0))?;
        Ok(Self { reader, at: 0, end })
    }

    /// What comes next; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        let at = self.at;
        if at >= self.end {
            return Ok(None);
        }
        if let Some((head, bytes)) = self.frame_at(at)? {
            self.at = at + bytes;
            return Ok(Some(Found::Frame { at, head: Box::new(head), bytes }));
        }
        let behind = self.find_after(at)?;
        self.at = behind.unwrap_or(self.end);
        let bytes = self.at - at;
        Ok(Some(if behind.is_some() { Found::Damage { bytes } } else { Found::Torn { at, bytes } }))
    }

    /// The frame that begins here, if it is whole up to its data.
    fn frame_at(&mut self, at: u64) -> io::Result<Option<(Head, u64)>> {
        if self.end - at < FIXED as u64 {
            return Ok(None);
        }
        let mut fixed = [0; FIXED];
        self.reader.seek(SeekFrom::Start(at))?;
        self.reader.read_exact(&mut fixed)?;
        let (head_len, data_len) = (number(&fixed[8..12]), number(&fixed[12..16]));
        let bytes = FIXED as u64 + u64::from(head_len) + u64::from(data_len);
        if fixed[..8] != MAGIC || head_len as usize > HEAD_MOST || bytes > self.end - at {
            return Ok(None);
        }
        let mut text = vec![0; head_len as usize];
        self.reader.read_exact(&mut text)?;
        if digest([&fixed[..OPENING], &text]) != fixed[OPENING..] {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&text).ok().map(|head| (head, bytes)))
    }

    /// Where the next frame behind begins.
    fn find_after(&mut self, at: u64) -> io::Result<Option<u64>> {
        let mut rest = Vec::new();
        self.reader.seek(SeekFrom::Start(at + 1))?;
        self.reader.read_to_end(&mut rest)?;
        for (n, window) in (at + 1..).zip(rest.windows(MAGIC.len())) {
            if window == MAGIC && self.frame_at(n)?.is_some() {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }
}

/// Reads a whole frame. The head is none where it is damaged, the record where the data is.
pub(super) fn read(frame: &Bytes) -> Option<(Head, Option<Record>)> {
    let mut frames = Frames::new(io::Cursor::new(frame)).ok()?;
    let Ok(Some(Found::Frame { at: 0, head, bytes })) = frames.next() else { return None };
    let data = frame.slice(FIXED + number(&frame[8..12]) as usize..usize::try_from(bytes).ok()?);
    let whole = digest([&*data]) == frame[16..OPENING];
    let record = if whole { head.record(&data) } else { None };
    Some((*head, record))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
