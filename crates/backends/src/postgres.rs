//! The event store on PostgreSQL, for any number of processes.
//!
//! Its queries are those of the embedded store (see `sql`). What differs is that many write at once: merges lock the rows of
//! their cameras, in id order, before they read; and the feed's head is locked last, so that positions follow the order of
//! commits.
//!
//! Invariant: after it has begun, a transaction reads what it relies on only behind the lock that keeps it true. Then READ
//! COMMITTED is enough: each statement sees all that was committed before the lock was given.

mod database;
mod dialect;
mod error;
mod schema;
#[path = "sql/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the same queries serve two databases, see docs/decisions/0061")]
mod sql;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};

use self::database::{Database, connect_options, unavailable};
use self::error::Doing as _;
use self::sql::Store;
use self::sql::coordination::SqlCoordination;
use crate::coordination::Coordination;
use crate::secret::SecretFile;
use crate::store::{EventStore, StoreError};

/// Where a database is, and how to use it.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgres://host:port/database`, without credentials; `?sslmode=` as libpq has it.
    pub url: String,
    /// The user.
    pub user: String,
    /// A file that holds the user's password; read again for new connections.
    pub password_file: PathBuf,
    /// Certificates (PEM) to trust. With them the server has to prove that it is who the URL names.
    pub ca_file: Option<PathBuf>,
    /// How many connections this process has at most.
    pub connections: u32,
    /// How long anybody waits for one.
    pub acquire_timeout: Duration,
    /// How long a statement may take, with what it waits for; at most 10 s.
    pub statement_timeout: Duration,
}

/// A database that this process is connected to.
pub struct Postgres {
    db: Arc<Database>,
    store: Arc<Store>,
}

impl Postgres {
    /// Connects to a database that has been migrated.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where it cannot be reached, refuses us, or is not migrated; [`StoreError::TooNew`] where
    /// a newer release has changed it beyond what this one can work with.
    pub async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let db = Arc::new(Database::connect(options).await?);
        schema::check(&mut *db.read().await?).await?;
        Ok(Self { store: Arc::new(Store::new(Arc::clone(&db))), db })
    }

    /// Brings a database up to this build's schema, once however many do so at a time; processes of the release before may
    /// be at work on it. The user has to own the tables.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub async fn migrate(options: &PostgresOptions) -> Result<(), StoreError> {
        let password = SecretFile::new(&options.password_file).read();
        let password = password.map_err(|error| unavailable("reading the database's password", error))?;
        // A script takes as long as it does.
        let connect = connect_options(options)?.password(&password).options([("statement_timeout", "0")]);
        let mut db = connect.connect().doing("connecting to the database").await?;
        schema::migrate(&mut db).await?;
        // What is done is done.
        let _ = db.close().await;
        Ok(())
    }

    /// The schema's version that this build needs, and makes.
    pub const fn schema_version() -> i64 {
        schema::KNOWN
    }

    /// The event store.
    pub fn store(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    /// Who runs what.
    pub fn coordination(&self) -> Arc<dyn Coordination> {
        Arc::new(SqlCoordination::new(Arc::clone(&self.db)))
    }

    /// Ends all connections. To leave it out costs nothing.
    pub async fn close(self) {
        self.db.close().await;
    }
}

#[cfg(test)]
mod tests;
