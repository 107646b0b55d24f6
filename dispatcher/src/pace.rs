//! As fast as a file can be read, or as fast as it was recorded.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How fast a file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can be taken.
    #[default]
    AsFast,
    /// By its own times.
    RealTime,
}

/// A step that is longer, either way, is no step: the pace begins anew.
const LONGEST: Duration = Duration::from_secs(10);

/// Holds units back until their time has come.
pub(crate) struct Pacer {
    pace: Pace,
    began: Option<(Instant, i64)>,
}

impl Pacer {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, began: None }
    }

    /// Waits until it is time for `stamp`, in ticks; returns at once when cancelled.
    pub(crate) async fn wait(&mut self, stamp: Option<i64>, time_scale: u32, cancel: &CancellationToken) {
        let (Pace::RealTime, Some(stamp)) = (self.pace, stamp) else { return };
        let now = Instant::now();
        let (began, first) = *self.began.get_or_insert((now, stamp));
        let ticks = u128::try_from(stamp.saturating_sub(first)).ok();
        let after = ticks.map(|ticks| ticks * 1_000_000 / u128::from(time_scale.max(1)));
        let due =
            after.and_then(|us| u64::try_from(us).ok()).and_then(|us| began.checked_add(Duration::from_micros(us)));
        match due {
            Some(due) if due.max(now) - due.min(now) <= LONGEST => {
                cancel.run_until_cancelled(tokio::time::sleep_until(due)).await;
            }
            _ => self.began = Some((now, stamp)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_takes_as_long_as_it_was_recorded_and_jumps_do_not_count() {
        let (begun, cancel) = (Instant::now(), CancellationToken::new());
        let mut pacer = Pacer::new(Pace::RealTime);
        for stamp in [0, 90_000, 180_000, 90_000 * 3_600, 90_000 * 3_601, 0, 90_000] {
            pacer.wait(Some(stamp), 90_000, &cancel).await;
        }
        assert_eq!(begun.elapsed().as_secs(), 4);
        let mut pacer = Pacer::new(Pace::AsFast);
        pacer.wait(Some(0), 90_000, &cancel).await;
        pacer.wait(Some(900_000), 90_000, &cancel).await;
        assert_eq!(begun.elapsed().as_secs(), 4);
    }
}
