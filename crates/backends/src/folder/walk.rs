//! Listing: a walk through the folder in key order, a chunk at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use detektor_contract::ObjectKey;

use super::{resolve, unavailable};
use crate::bucket::{BucketError, Listed, whole_parts};

/// Where a listing stands. Holds the names of the directories that it is in.
pub(super) struct Walk {
    root: PathBuf,
    /// Each directory's remaining entries, last first; the deepest directory last.
    open: Vec<Vec<Entry>>,
    /// The directory to begin with.
    first: Option<String>,
}

/// An entry by what its key is, or (for a directory) what the keys in it begin with, including the `/`. Ordered by that,
/// entries are in key order: `a-b` comes before `a/`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: String,
}

impl Walk {
    /// Begins a listing of the keys that begin with `prefix`.
    pub(super) fn new(root: &Path, prefix: &str) -> Result<Self, BucketError> {
        whole_parts(prefix)?;
        Ok(Self { root: root.to_owned(), open: Vec::new(), first: Some(prefix.to_owned()) })
    }

    /// The next objects, at most `limit`; none at the end.
    pub(super) fn chunk(&mut self, limit: usize) -> Result<Vec<Listed>, BucketError> {
        if let Some(first) = self.first.take() {
            if let Some(Ok(dir)) = first.strip_suffix('/').map(ObjectKey::parse) {
                resolve(&self.root, &dir)?;
            }
            self.enter(&first)?;
        }
        let mut chunk = Vec::new();
        while chunk.len() < limit {
            let Some(entries) = self.open.last_mut() else { break };
            match entries.pop() {
                None => {
                    self.open.pop();
                }
                Some(entry) if entry.key.ends_with('/') => self.enter(&entry.key)?,
                Some(entry) => chunk.extend(self.object(&entry.key)?),
            }
        }
        Ok(chunk)
    }

    fn enter(&mut self, prefix: &str) -> Result<(), BucketError> {
        let dir = self.root.join(prefix);
        let failed = |error| unavailable("listing", &dir, error);
        let listing = match fs::read_dir(&dir) {
            Ok(listing) => listing,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = entry.file_name();
            // What no key can name is not ours: unfinished objects, links, other programs' files.
            let Some(key) = name.to_str().map(|name| format!("{prefix}{name}")) else { continue };
            if ObjectKey::parse(&key).is_err() {
                continue;
            }
            if kind.is_dir() {
                entries.push(Entry { key: key + "/" });
            } else if kind.is_file() {
                entries.push(Entry { key });
            }
        }
        entries.sort_unstable_by(|a, b| b.cmp(a));
        self.open.push(entries);
        Ok(())
    }

    /// The object; none if it was removed since its directory was read.
    fn object(&self, key: &str) -> Result<Option<Listed>, BucketError> {
        let path = self.root.join(key);
        match fs::symlink_metadata(&path) {
            Ok(meta) => Ok(ObjectKey::parse(key).ok().map(|key| Listed { key, bytes: meta.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable("listing", &path, error)),
        }
    }
}
