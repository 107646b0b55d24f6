//! What cameras and the process cost.
//!
//! A camera's cost is the time that its own work takes: receiving, cutting, writing segments. It is measured around the polls of
//! its task, which do not wait. What is done for it elsewhere (sending to the queue, a file's demuxing) is about as much more for
//! each, and leaves the shares as they are.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use detektor_backends::coordination::Load;
use detektor_contract::CameraId;

use super::Measured;

/// A cost is told of so long.
const WINDOW: Duration = Duration::from_secs(10);
/// What a new window weighs, in hundredths.
const NEW_PERCENT: u64 = 30;
/// Linux counts processor time for others in hundredths of a second.
const TICK_MILLIS: u64 = 10;

/// Measures.
#[derive(Default)]
pub(super) struct Meter {
    cameras: Mutex<BTreeMap<CameraId, Camera>>,
    process: Mutex<Process>,
}

struct Camera {
    spent_ns: Arc<AtomicU64>,
    /// When the window began, and what was spent until then.
    since: Instant,
    before_ns: u64,
    millis: Option<u32>,
}

#[derive(Default)]
struct Process {
    window: Option<(Instant, u64)>,
    millis: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// Does a camera's work, and counts what it takes.
    pub(super) async fn around<T>(&self, id: &CameraId, work: impl Future<Output = T>) -> T {
        let spent_ns = Arc::new(AtomicU64::new(0));
        let camera = Camera { spent_ns: Arc::clone(&spent_ns), since: Instant::now(), before_ns: 0, millis: None };
        lock(&self.cameras).insert(id.clone(), camera);
        let _counted = Counted { meter: self, id, spent_ns: &spent_ns };
        let mut work = pin!(work);
        poll_fn(|context| {
            let begun = Instant::now();
            let polled = work.as_mut().poll(context);
            spent_ns.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// What it came to by now.
    pub(super) fn measured(&self) -> Measured {
        let now = Instant::now();
        let mut cameras = lock(&self.cameras);
        cameras.values_mut().for_each(|camera| camera.measure(now));
        let costs = cameras.iter().filter_map(|(id, camera)| Some((id.clone(), camera.millis?))).collect();
        let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32);
        let load =
            Load { cpu_millis: lock(&self.process).measure(now), capacity_millis: cores * 1_000, leaving: false };
        Measured { load, costs }
    }
}

/// Ends a camera's count, also where its work is dropped.
struct Counted<'a> {
    meter: &'a Meter,
    id: &'a CameraId,
    spent_ns: &'a Arc<AtomicU64>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut cameras = lock(&self.meter.cameras);
        // It may have begun anew meanwhile.
        if cameras.get(self.id).is_some_and(|camera| Arc::ptr_eq(&camera.spent_ns, self.spent_ns)) {
            cameras.remove(self.id);
        }
    }
}

impl Camera {
    fn measure(&mut self, now: Instant) {
        let window = now.saturating_duration_since(self.since);
        if window < WINDOW {
            return;
        }
        let spent_ns = self.spent_ns.load(Ordering::Relaxed);
        // Rounded up: 0 would say that it was never measured.
        let new = (spent_ns - self.before_ns).saturating_mul(1_000).div_ceil(window.as_nanos() as u64).max(1);
        let old = self.millis.map_or(new, u64::from);
        self.millis = Some(((old * (100 - NEW_PERCENT) + new * NEW_PERCENT).div_ceil(100)) as u32);
        (self.since, self.before_ns) = (now, spent_ns);
    }
}

impl Process {
    fn measure(&mut self, now: Instant) -> u32 {
        let Some(spent) = spent_millis() else { return 0 };
        match self.window {
            None => self.window = Some((now, spent)),
            Some((since, before)) => {
                let window = now.saturating_duration_since(since);
                if window >= WINDOW {
                    self.millis = (spent.saturating_sub(before) * 1_000 / window.as_millis() as u64) as u32;
                    self.window = Some((now, spent));
                }
            }
        }
        self.millis
    }
}

/// The processor time that this process has used.
fn spent_millis() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything: state, and so on; the user's and the system's share are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * TICK_MILLIS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_camera_costs_what_its_windows_say() {
        let begun = Instant::now();
        let spent_ns = Arc::new(AtomicU64::new(0));
        let mut camera = Camera { spent_ns: Arc::clone(&spent_ns), since: begun, before_ns: 0, millis: None };
        let mut after = |seconds, millis: u64| {
            spent_ns.fetch_add(millis * 1_000_000, Ordering::Relaxed);
            camera.measure(begun + Duration::from_secs(seconds));
            camera.millis
        };
        assert_eq!(after(5, 500), None);
        assert_eq!(after(10, 500), Some(100));
        assert_eq!(after(15, 1_000), Some(100));
        assert_eq!(after(20, 1_000), Some(130));
        assert_eq!(after(40, 0), Some(92));
    }

    #[tokio::test]
    async fn work_is_counted_while_it_goes_on() {
        let meter = Meter::default();
        let id = CameraId::new("gate").unwrap();
        let spent = || lock(&meter.cameras).get(&id).map(|camera| camera.spent_ns.load(Ordering::Relaxed));
        let work = async {
            std::thread::sleep(Duration::from_millis(2));
            tokio::task::yield_now().await;
            let one = spent().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            (one, spent().unwrap())
        };
        let (one, waited) = meter.around(&id, work).await;
        assert!(one >= 2_000_000);
        assert!(waited - one < 20_000_000, "waiting costs nothing");
        assert_eq!(spent(), None);
        assert!(spent_millis().is_some());
        assert!(meter.measured().load.capacity_millis >= 1_000);
    }
}
