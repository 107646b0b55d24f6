//! From the driver's errors to ours.

use std::future::Future;

use crate::queue::QueueError;
use crate::store::StoreError;

// Primary result codes, from SQLite's documentation ("Result and Error Codes").
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;

/// A call of the driver. Says what was being done when it fails.
pub(crate) trait Doing<T>: Future<Output = Result<T, sqlx::Error>> + Send + Sized {
    fn doing(self, what: &'static str) -> impl Future<Output = Result<T, StoreError>> + Send {
        async move { self.await.map_err(|error| store_error(what, error)) }
    }

    /// The same for what may take as long as it does.
    fn doing_long(self, what: &'static str) -> impl Future<Output = Result<T, StoreError>> + Send {
        self.doing(what)
    }
}

impl<T, F: Future<Output = Result<T, sqlx::Error>> + Send> Doing<T> for F {}

fn store_error(what: &str, error: sqlx::Error) -> StoreError {
    let primary = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<i32>().ok());
    match (primary.map(|code| code & 0xff), &error) {
        (Some(CORRUPT | NOT_A_DATABASE), _) | (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            StoreError::Corrupt(format!("{what}: {error}"))
        }
        (Some(FULL), _) => {
            let context = format!("{what}: no space left on the disk of the data directory");
            StoreError::Unavailable { context, source: Some(error.into()) }
        }
        _ => StoreError::Unavailable { context: what.to_owned(), source: Some(error.into()) },
    }
}

/// The queue's error for the same trouble.
pub(crate) fn queue_error(error: StoreError) -> QueueError {
    match error {
        StoreError::Unavailable { context, source } => QueueError::Unavailable { context, source },
        StoreError::InUse(_) | StoreError::Corrupt(_) | StoreError::TooNew { .. } => {
            QueueError::Unavailable { context: "the queue's file".to_owned(), source: Some(error.into()) }
        }
    }
}
