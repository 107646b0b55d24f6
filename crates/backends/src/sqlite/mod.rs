//! Queue and event store in one SQLite file.
//!
//! One process writes. Its writing transactions take turns behind one mutex, so SQLite itself never has to refuse one;
//! reading goes on beside them (WAL). Two writing connections differ in one thing: what goes over the *durable* one has
//! reached the disk when its commit returns; what goes over the *lazy* one survives the process and reaches the disk
//! with the next durable commit, since the log is synced as a whole.

mod dialect;
mod error;
pub(crate) mod queue;
mod schema;
#[path = "../sql/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the same queries serve two databases, see docs/decisions/0061")]
pub(crate) mod sql;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::error::Doing;
use crate::columns::now_ms;
use crate::store::StoreError;

/// How long anybody waits for a turn or a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long SQLite waits for a lock that another process (a reader that recovers the log) holds.
const BUSY: Duration = Duration::from_secs(10);
/// Reading connections.
const READERS: u32 = 4;

/// The file as one process has it open.
pub(crate) struct Database {
    readers: SqlitePool,
    writers: Option<Writers>,
    /// Held for as long as anything can still write.
    lock: std::sync::Mutex<Option<crate::embedded::DataLock>>,
}

struct Writers {
    turn: Arc<Mutex<()>>,
    durable: SqlitePool,
    lazy: SqlitePool,
}

/// A writing transaction and the turn it has. Dropped without `commit` it is rolled back.
pub(crate) struct Writing {
    // The order matters: the transaction ends before the turn does.
    transaction: Transaction<'static, Sqlite>,
    _turn: OwnedMutexGuard<()>,
}

impl Writing {
    /// Where statements go.
    pub(crate) fn db(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Makes it true.
    pub(crate) async fn commit(self, what: &'static str) -> Result<(), StoreError> {
        self.transaction.commit().doing(what).await
    }
}

impl Database {
    /// Opens the file for reading and writing, and makes or migrates it where needed.
    pub(crate) async fn open(file: &Path, lock: crate::embedded::DataLock) -> Result<Self, StoreError> {
        let options = options(file).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let durable = pool(options.clone().synchronous(SqliteSynchronous::Full), 1);
        let lazy = pool(options.synchronous(SqliteSynchronous::Normal), 1);
        let writers = Writers { turn: Arc::default(), durable, lazy };
        let mut writing = writers.begin(&writers.durable).await?;
        schema::migrate(writing.db(), now_ms()).await?;
        writing.commit("bringing the schema up to date").await?;
        let readers = pool(self::options(file).read_only(true), READERS);
        Ok(Self { readers, writers: Some(writers), lock: std::sync::Mutex::new(Some(lock)) })
    }

    /// Opens the file beside the process that writes it, or without one.
    pub(crate) async fn open_read_only(file: &Path) -> Result<Self, StoreError> {
        let readers = pool(options(file).read_only(true), READERS);
        schema::check(&readers).await?;
        Ok(Self { readers, writers: None, lock: std::sync::Mutex::default() })
    }

    /// Where to read; each statement sees everything committed before it.
    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// A connection to read.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().doing("opening the event store").await
    }

    /// A transaction in which all that is read is of one moment.
    pub(crate) async fn moment(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().doing("opening the event store").await
    }

    /// Whether nobody else writes.
    pub(crate) fn is_only_writer(&self) -> bool {
        self.writers.is_some()
    }

    /// Begins a transaction that is on the disk once it is committed.
    pub(crate) async fn write(&self) -> Result<Writing, StoreError> {
        let writers = self.writers()?;
        writers.begin(&writers.durable).await
    }

    /// Begins a transaction that a power cut may undo, together with all that came after it.
    pub(crate) async fn write_lazily(&self) -> Result<Writing, StoreError> {
        let writers = self.writers()?;
        writers.begin(&writers.lazy).await
    }

    fn writers(&self) -> Result<&Writers, StoreError> {
        self.writers.as_ref().ok_or_else(|| StoreError::Unavailable {
            context: "it was opened for reading only".to_owned(),
            source: None,
        })
    }

    /// Ends all connections, the last of which moves the log into the file, and gives up the lock.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        if let Some(writers) = &self.writers {
            let _turn = writers.turn.lock().await;
            writers.lazy.close().await;
            writers.durable.close().await;
        }
        self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}

impl Writers {
    async fn begin(&self, pool: &SqlitePool) -> Result<Writing, StoreError> {
        let turn = tokio::time::timeout(PATIENCE, self.turn.clone().lock_owned()).await.map_err(|_| {
            let context = format!("another transaction took longer than {} s", PATIENCE.as_secs());
            StoreError::Unavailable { context, source: None }
        })?;
        let transaction = pool.begin_with("BEGIN IMMEDIATE").doing("beginning a transaction").await?;
        Ok(Writing { transaction, _turn: turn })
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        // 16 MiB: a checkpoint syncs the whole file, and at a hundred messages a second the default of 4 MiB is short.
        .pragma("wal_autocheckpoint", "4096")
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-8192")
        .disable_statement_logging()
}

fn pool(options: SqliteConnectOptions, connections: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite itself rolls back what fails on a full disk; the driver then believes that the transaction goes on, and
        // no other could begin on that connection.
        .after_release(|db, _| {
            Box::pin(async move {
                db.ping().await?;
                Ok(!db.is_in_transaction())
            })
        })
        .connect_lazy_with(options)
}
