//! Simulated time, and the clocks of hosts, which may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use detektor_dispatcher::distributed::UnixMillis;
use detektor_merge::Now;

/// The Unix time at which every simulation begins, in microseconds.
const BEGIN_US: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;

/// One host's clock.
#[derive(Clone, Default)]
pub struct HostClock(Arc<AtomicI64>);

fn elapsed_us() -> i64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as i64)
}

impl HostClock {
    /// Puts the clock ahead (or back) by so much.
    pub fn jump(&self, by: Duration, ahead: bool) {
        let us = by.as_micros() as i64;
        self.0.fetch_add(if ahead { us } else { -us }, Ordering::Relaxed);
    }

    /// Puts the clock ahead by so much in all.
    pub fn set(&self, skew_us: i64) {
        self.0.store(skew_us, Ordering::Relaxed);
    }

    /// How wrong it is.
    pub fn skew_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The right time of a second since the beginning.
    pub fn at(&self, second: i64) -> i64 {
        BEGIN_US + second * SECOND
    }

    /// The second that lasts.
    pub fn second(&self) -> i64 {
        elapsed_us() / SECOND
    }

    /// Waits for the next second, and says which it is.
    pub async fn next_second(&self) -> i64 {
        let next = self.second() + 1;
        self.wait_for(next).await;
        next
    }

    /// Waits until a second has begun.
    pub async fn wait_for(&self, second: i64) {
        let left = second * SECOND - elapsed_us();
        tokio::time::sleep(Duration::from_micros(u64::try_from(left).unwrap_or_default())).await;
    }

    /// For leases.
    pub fn millis(&self) -> UnixMillis {
        let clock = self.clone();
        Arc::new(move || u64::try_from((BEGIN_US + elapsed_us() + clock.skew_us()) / 1_000).unwrap_or_default())
    }

    /// For merge.
    pub fn micros(&self) -> Now {
        let clock = self.clone();
        Arc::new(move || BEGIN_US + elapsed_us() + clock.skew_us())
    }
}
