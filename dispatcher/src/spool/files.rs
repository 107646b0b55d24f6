//! The files of a spool: their names, and what is read from and written to them.
//!
//! Invariant: a file holds records of one partition and one kind alone, so that what is shed first goes as whole files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};

use super::SpoolError;
use super::frame::Frame;
use crate::record::Record;

/// What a file's records are. Markers are never shed: nothing smaller could take their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Jobs in which nothing moves.
    Quiet,
    /// All other jobs.
    Busy,
    /// Markers.
    Marker,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Quiet, Self::Busy, Self::Marker];

    pub(super) fn of(record: &Record) -> Self {
        match record.queue {
            Queue::Work(Work::Detect, _) if record.quiet => Self::Quiet,
            Queue::Work(Work::Detect, _) => Self::Busy,
            _ => Self::Marker,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Busy => "busy",
            Self::Marker => "marker",
        }
    }
}

/// A file's name: the number tells their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) number: u64,
    pub(super) partition: u16,
    pub(super) kind: Kind,
}

impl Name {
    pub(super) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{:016}-{:05}-{}.spool", self.number, self.partition, self.kind.name()))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".spool")?.split('-');
        let (number, partition, kind) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        parts.next().is_none().then_some(Self { number, partition, kind })
    }
}

/// Takes a folder for this process alone, as long as the file is open.
pub(super) fn lock(folder: &Path) -> Result<File, SpoolError> {
    std::fs::create_dir_all(folder).map_err(io("making its folder", folder))?;
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = file.map_err(io("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(SpoolError::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(io("locking", &path)(error)),
    }
}

/// The files of a folder by age. What is no file of ours is left alone.
pub(super) fn list(folder: &Path) -> Result<Vec<Name>, SpoolError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io("listing", folder))? {
        let name = entry.map_err(io("listing", folder))?.file_name();
        names.extend(name.to_str().and_then(Name::parse));
    }
    names.sort();
    Ok(names)
}

/// A file that is written to.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) number: u64,
    path: PathBuf,
    file: File,
    bytes: u64,
    dirty: bool,
    /// What failed to be written stands in it.
    broken: bool,
}

impl Writer {
    pub(super) fn create(name: Name, folder: &Path) -> Result<Self, SpoolError> {
        let path = name.path(folder);
        let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(io("creating", &path))?;
        Ok(Self { number: name.number, path, file, bytes: 0, dirty: true, broken: false })
    }

    /// Whether another file is to be begun.
    pub(super) fn is_full(&self, bytes: u64) -> bool {
        self.broken || self.bytes >= bytes
    }

    /// Appends a frame; where it stands. What is written of a frame that fails is cut off again.
    pub(super) fn append(&mut self, frame: &Frame) -> Result<u64, SpoolError> {
        self.dirty = true;
        let written = frame.pieces.iter().try_for_each(|piece| self.file.write_all(piece));
        if let Err(error) = written {
            self.broken = self.file.set_len(self.bytes).is_err();
            return Err(io("writing", &self.path)(error));
        }
        let at = self.bytes;
        self.bytes += frame.len();
        Ok(at)
    }

    /// Returns once everything written is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        if self.dirty {
            self.file.sync_data().map_err(io("writing to the disk", &self.path))?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Returns once it is on the disk which files there are.
pub(super) fn sync_folder(folder: &Path) -> Result<(), SpoolError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("writing to the disk", folder))
}

/// Reads a piece of a file; none where it is not there or cannot be read.
pub(super) fn read(path: &Path, at: u64, bytes: u64) -> Result<Option<Bytes>, SpoolError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("opening", path)(error)),
    };
    let mut piece = vec![0; usize::try_from(bytes).unwrap_or(0)];
    Ok(file.read_exact_at(&mut piece, at).is_ok().then(|| piece.into()))
}

/// Cuts off what stands behind `bytes`.
pub(super) fn cut(path: &Path, bytes: u64) -> Result<(), SpoolError> {
    let file = OpenOptions::new().write(true).open(path).map_err(io("opening", path))?;
    file.set_len(bytes).and_then(|()| file.sync_data()).map_err(io("cutting", path))
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), SpoolError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("removing", path)(error)),
        _ => Ok(()),
    }
}

/// What went wrong with which file.
pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { doing, path, source: Arc::new(source) }
}
