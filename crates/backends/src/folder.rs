//! A folder as bucket: a key is a path.
//!
//! An object is written beside its place, synced, and moved there; so a reader, and whoever starts after a crash, finds
//! all of it or nothing. A key and a longer key below it (`a`, `a/b`) cannot both be objects here.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::bucket::{Bucket, BucketError, Listed};

mod walk;

use walk::Walk;

/// Where objects are written before they are moved to their place. No key contains a `~`.
const UNFINISHED: &str = "~unfinished";
/// Objects read from the directories at a time while listing.
const CHUNK: usize = 1_000;

/// A folder whose files are objects.
#[derive(Clone, Debug)]
pub struct FolderBucket(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    next: AtomicU64,
}

impl FolderBucket {
    /// Opens a folder, makes it where there is none, and clears away what a crash left unfinished. The caller sees to it
    /// that no other process writes it.
    pub async fn open(root: &Path) -> Result<Self, BucketError> {
        let root = root.to_owned();
        blocking(move || {
            let unfinished = root.join(UNFINISHED);
            create_dirs(&unfinished).map_err(|error| unavailable("making", &unfinished, error))?;
            for entry in fs::read_dir(&unfinished).map_err(|error| unavailable("reading", &unfinished, error))? {
                let path = entry.map_err(|error| unavailable("reading", &unfinished, error))?.path();
                fs::remove_file(&path).map_err(|error| unavailable("clearing away", &path, error))?;
            }
            Self::at(&root)
        })
        .await
    }

    /// Opens a folder that another process may write.
    pub async fn open_read_only(root: &Path) -> Result<Self, BucketError> {
        let root = root.to_owned();
        blocking(move || Self::at(&root)).await
    }

    fn at(root: &Path) -> Result<Self, BucketError> {
        // The folder itself may be a link to another disk; below it none is followed.
        let root = root.canonicalize().map_err(|error| unavailable("opening", root, error))?;
        Ok(Self(Arc::new(Folder { root, next: AtomicU64::new(0) })))
    }

    async fn on<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, BucketError> + Send + 'static,
    ) -> Result<T, BucketError> {
        let folder = Arc::clone(&self.0);
        blocking(move || work(&folder)).await
    }
}

impl Folder {
    fn path(&self, key: &ObjectKey) -> Result<PathBuf, BucketError> {
        resolve(&self.root, key)
    }

    fn put(&self, key: &ObjectKey, body: &[u8]) -> Result<(), BucketError> {
        let path = self.path(key)?;
        let unfinished = self.root.join(UNFINISHED).join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let written = write_synced(&unfinished, body).and_then(|()| {
            let parent = path.parent().unwrap_or(&self.root);
            create_dirs(parent)?;
            fs::rename(&unfinished, &path)?;
            sync_dir(parent)
        });
        written.map_err(|error| {
            // It may not even be there; the next start clears it away as well.
            let _ = fs::remove_file(&unfinished);
            unavailable("writing", &path, error)
        })
    }

    /// The bytes from `start` of an object, at most `length`; all of it if no range is given.
    fn get(&self, key: &ObjectKey, range: Option<(u64, u64)>) -> Result<Bytes, BucketError> {
        let path = self.path(key)?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BucketError::NotFound(key.clone()),
            _ => unavailable("reading", &path, error),
        };
        let mut file = File::open(&path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(BucketError::NotFound(key.clone()));
        }
        let bytes = meta.len();
        let (start, length) = range.unwrap_or((0, bytes));
        if range.is_some() && start >= bytes {
            return Err(BucketError::Range { key: key.clone(), bytes, start });
        }
        let length = length.min(bytes - start);
        let mut body = Vec::new();
        body.try_reserve_exact(length as usize).map_err(|error| failed(io::Error::other(error)))?;
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        file.take(length).read_to_end(&mut body).map_err(failed)?;
        Ok(body.into())
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        let path = self.path(key)?;
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(path.parent().unwrap_or(&self.root)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
            // A directory: longer keys begin like this one, which is no object itself.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| unavailable("removing", &path, error))
    }
}

#[async_trait]
impl Bucket for FolderBucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError> {
        let key = key.clone();
        self.on(move |folder| folder.put(&key, &body)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError> {
        let key = key.clone();
        self.on(move |folder| folder.get(&key, None)).await
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError> {
        let key = key.clone();
        self.on(move |folder| folder.get(&key, Some((start, length)))).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        let key = key.clone();
        self.on(move |folder| folder.delete(&key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>> {
        let walk = match Walk::new(&self.0.root, prefix) {
            Ok(walk) => walk,
            Err(error) => return stream::once(std::future::ready(Err(error))).boxed(),
        };
        stream::try_unfold(walk, |mut walk| async {
            let (walk, chunk) = blocking(move || walk.chunk(CHUNK).map(|chunk| (walk, chunk))).await?;
            Ok((!chunk.is_empty()).then(|| (stream::iter(chunk.into_iter().map(Ok)), walk)))
        })
        .try_flatten()
        .boxed()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BucketError> + Send + 'static,
) -> Result<T, BucketError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let context = "the work on the folder broke off".to_owned();
        Err(BucketError::Unavailable { context, source: Some(error.into()) })
    })
}

fn unavailable(doing: &str, path: &Path, error: io::Error) -> BucketError {
    let context = format!("{doing} {}: {}", path.display(), reason(&error));
    BucketError::Unavailable { context, source: Some(error.into()) }
}

/// What went wrong, in words that name what to do something about.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "no space left on the disk".to_owned(),
        io::ErrorKind::QuotaExceeded => "no space left in the quota".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

/// Where an object is or will be; refused where a link leads out of the folder.
fn resolve(root: &Path, key: &ObjectKey) -> Result<PathBuf, BucketError> {
    let mut path = root.to_owned();
    for part in key.as_str().split('/') {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                return Err(unavailable("following", &path, io::Error::other("it is a symbolic link")));
            }
            Ok(_) => {}
            // What is not there leads nowhere; the caller finds out.
            Err(_) => break,
        }
    }
    Ok(root.join(key.as_str()))
}

fn write_synced(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(body)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a directory and all above it, so that they are there after a power cut as well.
pub(crate) fn create_dirs(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_dirs(parent)?;
    match fs::create_dir(dir) {
        // Somebody else was faster, but perhaps has not synced it yet.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}
