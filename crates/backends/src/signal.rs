//! Tells waiters of this process that the feed has grown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The longest wait for a change.
const WAIT: Duration = Duration::from_secs(1);

/// Raised by whoever knows of a change.
#[derive(Default)]
pub(crate) struct Signal {
    version: AtomicU64,
    seen: AtomicU64,
    notify: Notify,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Returns at once if there was a change that no call has returned for, and after a second in any case.
    pub(crate) async fn wait(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if self.unseen() {
            return;
        }
        // After the wait the caller looks in any case.
        let _ = tokio::time::timeout(WAIT, notified).await;
        let _ = self.unseen();
    }

    fn unseen(&self) -> bool {
        let version = self.version.load(Ordering::SeqCst);
        self.seen.swap(version, Ordering::SeqCst) != version
    }
}
