//! The log: which records there are, in which order, and where they stand on the disk.
//!
//! Nothing is rewritten. A record that is published is forgotten, and a file goes with the last of its records. So a process that
//! is killed may publish again what it published last; under the same names that changes nothing.
//!
//! Invariant: after [`Log::sync`] every record that was pushed is on the disk, or a marker in its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use bytes::Bytes;
use detektor_contract::CameraId;

use super::files::{self, Kind, Name, Writer, io};
use super::frame::{self, Found, Frame, Frames, Head, Why};
use super::{Holdings, SpoolError};
use crate::record::Record;

/// No file grows further, but for a last record.
const FILE_BYTES: u64 = 16 << 20;
/// Files are at most this share of all, so that little more is shed than must be.
const FILE_SHARE: u64 = 64;

/// Records on the disk.
pub(super) struct Log {
    folder: PathBuf,
    limit: u64,
    _lock: File,
    files: BTreeMap<Name, Kept>,
    writers: BTreeMap<(u16, Kind), Writer>,
    /// By partition, then by order.
    partitions: BTreeMap<u16, BTreeMap<u64, Entry>>,
    cameras: HashMap<CameraId, u64>,
    next_number: u64,
    next_order: u64,
    bytes: u64,
    shed: u64,
    /// Files were made that the disk may not know of.
    made: bool,
}

/// A file and which of its records are not published.
#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    orders: BTreeSet<u64>,
}

/// Where a record stands.
#[derive(Clone, Debug)]
struct Entry {
    file: Name,
    at: u64,
    bytes: u64,
    camera: CameraId,
}

/// Records in order, each with what [`Log::forget`] wants.
pub(super) type Batch = Vec<(u64, Record)>;

impl Log {
    /// Opens a folder's log, or begins one that holds `limit` bytes.
    pub(super) fn open(folder: PathBuf, limit: u64) -> Result<Self, SpoolError> {
        let lock = files::lock(&folder)?;
        let mut log = Self {
            _lock: lock,
            limit,
            files: BTreeMap::new(),
            writers: BTreeMap::new(),
            partitions: BTreeMap::new(),
            cameras: HashMap::new(),
            next_number: 0,
            next_order: 0,
            bytes: 0,
            shed: 0,
            made: false,
            folder,
        };
        for name in files::list(&log.folder)? {
            log.load(name)?;
        }
        let empty: Vec<Name> = log.files.iter().filter(|(_, kept)| kept.orders.is_empty()).map(|(n, _)| *n).collect();
        empty.into_iter().try_for_each(|name| log.remove(name))?;
        Ok(log)
    }

    fn load(&mut self, name: Name) -> Result<(), SpoolError> {
        let path = name.path(&self.folder);
        let reading = || io("reading", &path);
        self.next_number = self.next_number.max(name.number + 1);
        self.files.insert(name, Kept::default());
        let file = File::open(&path).map_err(reading())?;
        let mut frames = Frames::new(BufReader::new(file)).map_err(reading())?;
        while let Some(found) = frames.next().map_err(reading())? {
            match found {
                Found::Frame { at, head, bytes } => {
                    self.note_bytes(name, bytes);
                    self.next_order = self.next_order.max(head.order + 1);
                    // A marker took its place, and the file was to go.
                    let replaced = self.entry(name.partition, head.order).is_some_and(|e| e.file.kind == Kind::Marker);
                    if !replaced {
                        self.note(name, at, bytes, &head);
                    }
                }
                Found::Damage { bytes } => {
                    self.note_bytes(name, bytes);
                    tracing::error!(file = %path.display(), bytes, "a part of the spool is damaged and lost");
                }
                Found::Torn { at, bytes } => {
                    tracing::warn!(file = %path.display(), bytes, "cutting off what was being written at the last end");
                    files::cut(&path, at)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a record. It is on the disk after the next [`Log::sync`].
    pub(super) fn push(&mut self, record: &Record) -> Result<(), SpoolError> {
        let order = self.next_order;
        let unfit = || SpoolError::Unfit(record.id.clone());
        let (mut frame, mut kind) = (Frame::new(order, record).ok_or_else(unfit)?, Kind::of(record));
        while self.bytes + frame.len() > self.limit && self.shed_oldest()? {}
        if self.bytes + frame.len() > self.limit
            && let Some(marker) = frame.head.in_its_place(Why::Full)
        {
            self.shed += 1;
            (frame, kind) = (Frame::new(order, &marker).ok_or_else(unfit)?, Kind::Marker);
        }
        self.append(kind, &frame)?;
        self.next_order += 1;
        Ok(())
    }

    /// Returns once everything is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        self.writers.values_mut().try_for_each(Writer::sync)?;
        if std::mem::take(&mut self.made) {
            files::sync_folder(&self.folder)?;
        }
        Ok(())
    }

    /// The oldest records of a partition: at most so many, and not many more bytes than that.
    pub(super) fn oldest(&mut self, partition: u16, most: usize, most_bytes: u64) -> Result<Batch, SpoolError> {
        let entries = self.partitions.get(&partition).into_iter().flatten();
        let orders: Vec<u64> = entries.map(|(order, _)| *order).take(most).collect();
        let (mut batch, mut bytes) = (Batch::new(), 0);
        for order in orders {
            if bytes >= most_bytes {
                break;
            }
            let Some(entry) = self.entry(partition, order).cloned() else { continue };
            let whole = files::read(&entry.file.path(&self.folder), entry.at, entry.bytes)?;
            let record = match whole.as_ref().and_then(frame::read) {
                Some((_, Some(record))) => Some(record),
                Some((head, None)) => head.in_its_place(Why::Damaged),
                None => None,
            };
            match record {
                Some(record) => {
                    bytes += entry.bytes;
                    batch.push((order, record));
                }
                None => self.lose(partition, order, &entry)?,
            }
        }
        Ok(batch)
    }

    /// Forgets records that are safe elsewhere.
    pub(super) fn forget(&mut self, partition: u16, orders: &[u64]) -> Result<(), SpoolError> {
        for order in orders {
            let Some(entry) = self.partitions.get_mut(&partition).and_then(|entries| entries.remove(order)) else {
                continue;
            };
            if let Some(held) = self.cameras.get_mut(&entry.camera) {
                *held -= 1;
            }
            self.leave(entry.file, *order)?;
        }
        self.cameras.retain(|_, held| *held > 0);
        self.partitions.retain(|_, entries| !entries.is_empty());
        Ok(())
    }

    /// The records of the oldest file as they are written, with their partition; none if there are none.
    pub(super) fn pack(&mut self) -> Result<Option<(u16, Vec<u64>, Bytes)>, SpoolError> {
        let Some((name, kept)) = self.files.iter().find(|(_, kept)| !kept.orders.is_empty()) else { return Ok(None) };
        let (partition, orders) = (name.partition, Vec::from_iter(kept.orders.iter().copied()));
        let mut packed = Vec::new();
        for order in &orders {
            let Some(entry) = self.entry(partition, *order).cloned() else { continue };
            match files::read(&entry.file.path(&self.folder), entry.at, entry.bytes)? {
                Some(frame) => packed.extend_from_slice(&frame),
                None => self.lose(partition, *order, &entry)?,
            }
        }
        Ok(Some((partition, orders, packed.into())))
    }

    /// What there is.
    pub(super) fn holdings(&self) -> Holdings {
        Holdings {
            records: self.partitions.values().map(|entries| entries.len() as u64).sum(),
            bytes: self.bytes,
            shed: self.shed,
            cameras: self.cameras.keys().cloned().collect(),
            partitions: self.partitions.keys().copied().collect(),
        }
    }

    fn entry(&self, partition: u16, order: u64) -> Option<&Entry> {
        self.partitions.get(&partition)?.get(&order)
    }

    /// Puts markers in the place of a file: the oldest of quiet segments, else the oldest. False if there is none.
    fn shed_oldest(&mut self) -> Result<bool, SpoolError> {
        let of = |kind| self.files.iter().find(|(name, kept)| name.kind == kind && !kept.orders.is_empty());
        let Some((name, kept)) = of(Kind::Quiet).or_else(|| of(Kind::Busy)) else { return Ok(false) };
        let (name, orders) = (*name, kept.orders.clone());
        for order in orders {
            let Some(entry) = self.entry(name.partition, order).cloned() else { continue };
            let whole = files::read(&entry.file.path(&self.folder), entry.at, entry.bytes)?;
            let marker = whole.as_ref().and_then(frame::read).and_then(|(head, _)| head.in_its_place(Why::Full));
            match marker.and_then(|marker| Frame::new(order, &marker)) {
                Some(frame) => {
                    self.append(Kind::Marker, &frame)?;
                    self.shed += 1;
                }
                None => self.lose(name.partition, order, &entry)?,
            }
        }
        // The markers are there before the segments go.
        self.sync()?;
        self.remove(name)?;
        Ok(true)
    }

    fn append(&mut self, kind: Kind, frame: &Frame) -> Result<(), SpoolError> {
        let key = (frame.head.partition, kind);
        let full = FILE_BYTES.min(self.limit / FILE_SHARE);
        if self.writers.get(&key).is_none_or(|writer| writer.is_full(full)) {
            let name = Name { number: self.next_number, partition: key.0, kind };
            let writer = Writer::create(name, &self.folder)?;
            self.next_number += 1;
            self.made = true;
            self.files.insert(name, Kept::default());
            if let Some(mut before) = self.writers.insert(key, writer) {
                before.sync()?;
            }
        }
        let Some(writer) = self.writers.get_mut(&key) else { return Ok(()) };
        let name = Name { number: writer.number, partition: key.0, kind };
        let at = writer.append(frame)?;
        self.note_bytes(name, frame.len());
        self.note(name, at, frame.len(), &frame.head);
        Ok(())
    }

    fn note_bytes(&mut self, name: Name, bytes: u64) {
        self.bytes += bytes;
        if let Some(kept) = self.files.get_mut(&name) {
            kept.bytes += bytes;
        }
    }

    /// Notes where a record stands, and that it stands nowhere else.
    fn note(&mut self, file: Name, at: u64, bytes: u64, head: &Head) {
        let (order, camera) = (head.order, head.id.camera.clone());
        let entry = Entry { file, at, bytes, camera: camera.clone() };
        match self.partitions.entry(file.partition).or_default().insert(order, entry) {
            Some(before) => {
                if let Some(kept) = self.files.get_mut(&before.file) {
                    kept.orders.remove(&order);
                }
            }
            None => *self.cameras.entry(camera).or_default() += 1,
        }
        if let Some(kept) = self.files.get_mut(&file) {
            kept.orders.insert(order);
        }
    }

    /// A file has one record less.
    fn leave(&mut self, name: Name, order: u64) -> Result<(), SpoolError> {
        let Some(kept) = self.files.get_mut(&name) else { return Ok(()) };
        kept.orders.remove(&order);
        if kept.orders.is_empty() { self.remove(name) } else { Ok(()) }
    }

    fn remove(&mut self, name: Name) -> Result<(), SpoolError> {
        self.writers.retain(|_, writer| writer.number != name.number);
        files::remove(&name.path(&self.folder))?;
        if let Some(kept) = self.files.remove(&name) {
            self.bytes -= kept.bytes;
        }
        Ok(())
    }

    fn lose(&mut self, partition: u16, order: u64, entry: &Entry) -> Result<(), SpoolError> {
        let file = entry.file.path(&self.folder);
        tracing::error!(camera = %entry.camera, file = %file.display(), "a record of the spool is damaged and lost");
        self.forget(partition, &[order])
    }
}
