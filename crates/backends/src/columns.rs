//! Between our values and the columns of a database.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// A number that the database can hold (63 bits).
pub(crate) fn column(number: u64, what: &'static str) -> Result<i64> {
    i64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{what} {number} is above 2^63 - 1")))
}

/// A number read back.
pub(crate) fn number(column: i64, what: &'static str) -> Result<u64> {
    u64::try_from(column).map_err(|_| StoreError::Corrupt(format!("{what} {column} is below 0")))
}

/// A document read back.
pub(crate) fn document<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

/// A document to write.
pub(crate) fn text<T: serde::Serialize>(value: &T, what: &'static str) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

/// The Unix time in milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
