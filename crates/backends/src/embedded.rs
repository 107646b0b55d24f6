//! Everything in one directory, for one process: queues and event store in a SQLite file, objects in a folder.
//!
//! ```text
//! DIR/detektor.db   queues and event store
//! DIR/bucket/       objects
//! DIR/lock          whose it is
//! ```

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bucket::{Bucket, BucketError};
use crate::coordination::Coordination;
use crate::folder::{self, FolderBucket};
use crate::queue::Queues;
use crate::sqlite::Database;
use crate::sqlite::queue::{Limits, SqliteQueues};
use crate::sqlite::sql::Store;
use crate::sqlite::sql::coordination::SqlCoordination;
use crate::store::{EventStore, StoreError};

const FILE: &str = "detektor.db";
const BUCKET: &str = "bucket";
const LOCK: &str = "lock";
/// What a data directory that is only tried is called; a process id follows.
const TRIAL: &str = ".detektor-trial-";

/// Limits of the embedded backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often a message is delivered before it goes to the dead letters; at least 1.
    pub delivery_limit: u32,
    /// How many messages a queue keeps ready before publishing to it is refused as full.
    pub max_ready: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { delivery_limit: 20, max_ready: 1_000_000 }
    }
}

/// The embedded backends of one data directory, held against every other process.
///
/// While a merge transaction is open nothing else is written, not to the queues either: whoever holds one settles and
/// publishes after it.
pub struct Embedded {
    db: Arc<Database>,
    queues: Arc<SqliteQueues>,
    store: Arc<Store>,
    bucket: Arc<FolderBucket>,
}

impl Embedded {
    /// Opens a data directory, and makes it where there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it (or this one, already); [`StoreError::Corrupt`] and
    /// [`StoreError::TooNew`] by what the file holds; otherwise [`StoreError::Unavailable`].
    pub async fn open(data_dir: &Path, options: Options) -> Result<Self, StoreError> {
        let dir = data_dir.to_owned();
        let lock = tokio::task::spawn_blocking(move || DataLock::take(&dir)).await.map_err(|error| {
            StoreError::Unavailable { context: "locking the data directory".to_owned(), source: Some(error.into()) }
        })??;
        let db = Arc::new(Database::open(&data_dir.join(FILE), lock).await?);
        let bucket = Arc::new(FolderBucket::open(&data_dir.join(BUCKET)).await.map_err(store_error)?);
        let limits = Limits { deliveries: options.delivery_limit.max(1), ready: options.max_ready };
        let queues = Arc::new(SqliteQueues::open(Arc::clone(&db), limits).await?);
        let store = Arc::new(Store::new(Arc::clone(&db)));
        Ok(Self { db, queues, store, bucket })
    }

    /// Whether [`Embedded::open`] would work. Makes no data directory: where there is none, one is tried beside its place
    /// and removed again.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub async fn probe(data_dir: &Path) -> Result<(), StoreError> {
        if tokio::fs::try_exists(data_dir.join(FILE)).await.unwrap_or(false) {
            Self::open(data_dir, Options::default()).await?.close().await;
            return Ok(());
        }
        let nearest = data_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        let trial = nearest.join(format!("{TRIAL}{}", std::process::id()));
        let opened = Self::open(&trial, Options::default()).await;
        let works = match opened {
            Ok(made) => {
                made.close().await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        // What cannot be removed could not be made either, or is left as empty as it is.
        let _ = tokio::fs::remove_dir_all(&trial).await;
        works
    }

    /// Opens a data directory for reading, beside the process that has it or without one.
    ///
    /// # Errors
    /// As [`Embedded::open`], but never [`StoreError::InUse`]; [`StoreError::Unavailable`] where there is none.
    pub async fn open_read_only(data_dir: &Path) -> Result<ReadOnly, StoreError> {
        let file = data_dir.join(FILE);
        if !tokio::fs::try_exists(&file).await.unwrap_or(false) {
            let context = format!("{} is no data directory: there is no {FILE} in it", data_dir.display());
            return Err(StoreError::Unavailable { context, source: None });
        }
        let db = Arc::new(Database::open_read_only(&file).await?);
        let bucket = Arc::new(FolderBucket::open_read_only(&data_dir.join(BUCKET)).await.map_err(store_error)?);
        Ok(ReadOnly { store: Arc::new(Store::new(Arc::clone(&db))), bucket })
    }

    /// The bucket of a data directory, or of a folder that is a bucket itself, for reading.
    ///
    /// # Errors
    /// [`BucketError::Unavailable`] where there is none.
    pub async fn open_bucket(dir: &Path) -> Result<Arc<dyn Bucket>, BucketError> {
        // No key begins with this name.
        let within = dir.join(BUCKET);
        let there = tokio::fs::try_exists(&within).await.unwrap_or(false);
        Ok(Arc::new(FolderBucket::open_read_only(if there { &within } else { dir }).await?))
    }

    /// The queues.
    pub fn queues(&self) -> Arc<dyn Queues> {
        self.queues.clone()
    }

    /// The event store.
    pub fn store(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    /// The bucket.
    pub fn bucket(&self) -> Arc<dyn Bucket> {
        self.bucket.clone()
    }

    /// Who runs what.
    pub fn coordination(&self) -> Arc<dyn Coordination> {
        Arc::new(SqlCoordination::new(Arc::clone(&self.db)))
    }

    /// Ends the writer and the connections, so that the file is whole without its log. To leave it out, or to be killed
    /// before, costs nothing but time at the next opening.
    pub async fn close(self) {
        self.queues.close().await;
        self.db.close().await;
    }
}

/// A data directory opened for reading. The store's writing methods fail.
pub struct ReadOnly {
    store: Arc<Store>,
    bucket: Arc<FolderBucket>,
}

impl ReadOnly {
    /// The event store.
    pub fn store(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    /// The bucket.
    pub fn bucket(&self) -> Arc<dyn Bucket> {
        self.bucket.clone()
    }
}

fn store_error(error: BucketError) -> StoreError {
    StoreError::Unavailable { context: "opening the bucket".to_owned(), source: Some(error.into()) }
}

/// The right to write a data directory. The operating system takes it back however the process ends.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK);
        let failed = |error: std::io::Error| {
            let reason = folder::reason(&error);
            StoreError::Unavailable { context: format!("{}: {reason}", path.display()), source: Some(error.into()) }
        };
        folder::create_dirs(dir).map_err(failed)?;
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(holder(dir.to_owned(), file))),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Only for the message that others show.
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The directory, and who has it as far as it is known.
fn holder(dir: PathBuf, mut file: File) -> String {
    let mut text = String::new();
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    match pid {
        Some(pid) => format!("{} (held by process {pid})", dir.display()),
        None => dir.display().to_string(),
    }
}

#[cfg(test)]
mod tests;
