//! Whoever waits for a segment.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::DetectError;

/// A call for a segment to be looked at: it hears that the work gets on, and can be taken back.
#[derive(Clone)]
pub struct Call {
    stop: CancellationToken,
    heard: Arc<dyn Fn() + Send + Sync>,
}

impl Call {
    /// `heard` is called often, with every packet that is decoded and every picture that is looked at; cancelling
    /// `stop` takes the call back.
    pub fn new(stop: CancellationToken, heard: impl Fn() + Send + Sync + 'static) -> Self {
        Self { stop, heard: Arc::new(heard) }
    }

    /// Whether anybody still waits for what comes next.
    pub(super) fn goes_on(&self) -> bool {
        (self.heard)();
        !self.stop.is_cancelled()
    }

    /// The same as an error.
    pub(super) fn go_on(&self) -> Result<(), DetectError> {
        if self.goes_on() { Ok(()) } else { Err(DetectError::Stopped) }
    }
}

impl Default for Call {
    /// Nobody listens, and nobody takes it back.
    fn default() -> Self {
        Self::new(CancellationToken::new(), || {})
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("stopped", &self.stop.is_cancelled()).finish_non_exhaustive()
    }
}
