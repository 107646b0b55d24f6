//! From the driver's errors to ours.

use crate::queue::QueueError;
use crate::store::StoreError;

// Primary result codes, from SQLite's documentation ("Result and Error Codes").
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;

/// Says what was being done when the driver failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| store_error(what, error))
    }
}

/// The store's error for a driver's error.
pub(crate) fn store_error(what: &str, error: sqlx::Error) -> StoreError {
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

/// A number that the database can hold (63 bits).
pub(crate) fn column(number: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{what} {number} is above 2^63 - 1")))
}

/// A number read back.
pub(crate) fn number(column: i64, what: &'static str) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| StoreError::Corrupt(format!("{what} {column} is below 0")))
}

/// A document read back.
pub(crate) fn document<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

/// A document to write.
pub(crate) fn text<T: serde::Serialize>(value: &T, what: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}
