//! The connections of one process.

use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Row as _, Transaction};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::PostgresOptions;
use super::error::Doing;
use crate::secret::SecretFile;
use crate::store::StoreError;

/// The server ends a transaction that is left alone for so long: a holder of locks that hangs holds up everybody.
const IDLE_IN_TRANSACTION: &str = "15s";
/// The longest that a statement may be allowed: the server is to give up before we do.
const LONGEST_STATEMENT: Duration = Duration::from_secs(10);
/// How long a connection may take to say that it is whole.
const PING: Duration = Duration::from_secs(2);
/// A connection that was idle for longer is asked whether it is whole before it is used.
const TRUSTED: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(300);
/// How old a connection gets: where the server moves to another address, all have followed after that.
const LIFETIME: Duration = Duration::from_secs(1800);

/// A pool of connections to one database.
pub(crate) struct Database {
    pool: PgPool,
    password: SecretFile,
    /// The password that new connections use.
    current: Mutex<Zeroizing<String>>,
}

/// A transaction. Dropped without `commit` it is rolled back.
pub(crate) struct Writing(Transaction<'static, Postgres>);

impl Writing {
    /// Where statements go.
    pub(crate) fn db(&mut self) -> &mut PgConnection {
        &mut self.0
    }

    /// Makes it true.
    pub(crate) async fn commit(mut self, what: &'static str) -> Result<(), StoreError> {
        // To commit what has failed is a rollback, and no error.
        sqlx::query("SELECT 1").execute(&mut *self.0).doing(what).await?;
        self.0.commit().doing(what).await
    }
}

impl Database {
    /// Connects once, so that what is wrong is said at once, and readies the pool.
    pub(super) async fn connect(options: &PostgresOptions) -> Result<Self, StoreError> {
        let password = SecretFile::new(&options.password_file);
        let current = password.read().map_err(|error| unavailable("reading the database's password", error))?;
        let connect = connect_options(options)?.password(&current);
        let first = timeout(options.acquire_timeout, connect.connect()).await;
        let first = first.map_err(|late| unavailable("connecting to the database", late))?;
        let first = first.map_err(|error| unavailable("connecting to the database", error))?;
        // It has said what it had to say.
        let _ = first.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(IDLE)
            .max_lifetime(LIFETIME)
            .test_before_acquire(false)
            .before_acquire(|db, connection| {
                Box::pin(async move { Ok(connection.idle_for < TRUSTED || is_between_transactions(db).await) })
            })
            // Where a call was given up, the connection may be one that nothing comes back on, or be left in a transaction.
            .after_release(|db, _| Box::pin(async move { Ok(is_between_transactions(db).await) }))
            .connect_lazy_with(connect);
        Ok(Self { pool, password, current: Mutex::new(current) })
    }

    /// A connection to read; each statement sees everything committed before it.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.renew_password();
        self.pool.acquire().doing("connecting to the database").await
    }

    /// A transaction in which all that is read is of one moment.
    pub(crate) async fn moment(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// Begins a transaction that is on the disk once it is committed.
    pub(crate) async fn write(&self) -> Result<Writing, StoreError> {
        self.begin("BEGIN ISOLATION LEVEL READ COMMITTED").await.map(Writing)
    }

    /// Begins a transaction that a crash of the server may undo, together with those that came shortly before it.
    pub(crate) async fn write_lazily(&self) -> Result<Writing, StoreError> {
        self.begin("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit TO off").await.map(Writing)
    }

    /// Whether nobody else writes.
    pub(crate) fn is_only_writer(&self) -> bool {
        false
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self, how: &'static str) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.renew_password();
        self.pool.begin_with(how).doing("beginning a transaction").await
    }

    /// Has connections that are opened from now on use what the password's file holds now.
    fn renew_password(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match self.password.read() {
            Ok(now) if now != *current => {
                self.pool.set_connect_options((*self.pool.connect_options()).clone().password(&now));
                *current = now;
            }
            Ok(_) => {}
            // The last one may still be right; where it is not, the server says so.
            Err(error) => tracing::debug!(%error, "the database's password cannot be read"),
        }
    }
}

/// Whether it answers, and the next one to use it begins afresh. The driver does not know: where a call is given up while it begins a
/// transaction, the server has begun one that nobody ends, and in which all that follows fails once anything does.
///
/// Outside of a transaction, a statement that is sent by itself (not prepared: that is several messages) begins one that is as old as it.
async fn is_between_transactions(db: &mut PgConnection) -> bool {
    let begins = async { sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(&mut *db).await?.try_get(0) };
    matches!(timeout(PING, begins).await, Ok(Ok(true))) && !db.is_in_transaction()
}

/// Everything but the password.
pub(super) fn connect_options(options: &PostgresOptions) -> Result<PgConnectOptions, StoreError> {
    let what = "reading the database's URL";
    let authority = options.url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    if authority.is_none_or(|authority| authority.contains('@')) {
        let context = format!("{what}: it is `postgres://host:port/database`, without a user or a password");
        return Err(StoreError::Unavailable { context, source: None });
    }
    let parsed = PgConnectOptions::from_str(&options.url).map_err(|error| unavailable(what, error))?;
    let statement_ms = options.statement_timeout.min(LONGEST_STATEMENT).as_millis().to_string();
    let connect = parsed
        .username(&options.user)
        .application_name("detektor")
        .options([
            ("statement_timeout", statement_ms.as_str()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
            // A node that is gone gives its locks back in a quarter of a minute rather than in two hours.
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "2"),
            ("tcp_user_timeout", "15000"),
        ])
        .disable_statement_logging();
    Ok(match &options.ca_file {
        Some(file) => connect.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file),
        None => connect,
    })
}

pub(super) fn unavailable(context: &str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable { context: context.to_owned(), source: Some(source.into()) }
}
