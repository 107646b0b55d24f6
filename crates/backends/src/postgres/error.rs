//! From the driver's errors to ours.

use std::future::Future;
use std::time::Duration;

use crate::store::StoreError;

/// When a server that answers nothing counts as gone. It ends our statements itself before that, as long as it is there.
pub(super) const ANSWER: Duration = Duration::from_secs(12);

// SQLSTATEs, from PostgreSQL's documentation ("PostgreSQL Error Codes").
const DATA_CORRUPTED: &str = "XX001";
const INDEX_CORRUPTED: &str = "XX002";
const DISK_FULL: &str = "53100";

/// A call of the driver. Says what was being done when it fails.
pub(crate) trait Doing<T>: Future<Output = Result<T, sqlx::Error>> + Send + Sized {
    /// Fails as well where nothing comes back.
    fn doing(self, what: &'static str) -> impl Future<Output = Result<T, StoreError>> + Send {
        async move {
            match tokio::time::timeout(ANSWER, self).await {
                Ok(answer) => answer.map_err(|error| store_error(what, error)),
                Err(late) => Err(StoreError::Unavailable { context: what.to_owned(), source: Some(late.into()) }),
            }
        }
    }

    /// The same for what may take as long as it does.
    fn doing_long(self, what: &'static str) -> impl Future<Output = Result<T, StoreError>> + Send {
        async move { self.await.map_err(|error| store_error(what, error)) }
    }
}

impl<T, F: Future<Output = Result<T, sqlx::Error>> + Send> Doing<T> for F {}

/// Whatever the server refuses may be mended on its side (its disk, its rights, a deadlock, a restart), so it is worth
/// another try; but not what it holds and we cannot read.
pub(super) fn store_error(what: &str, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code());
    match (code.as_deref(), &error) {
        (Some(DATA_CORRUPTED | INDEX_CORRUPTED), _)
        | (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            StoreError::Corrupt(format!("{what}: {error}"))
        }
        (Some(DISK_FULL), _) => {
            let context = format!("{what}: no space left on the disk of the database");
            StoreError::Unavailable { context, source: Some(error.into()) }
        }
        _ => StoreError::Unavailable { context: what.to_owned(), source: Some(error.into()) },
    }
}
