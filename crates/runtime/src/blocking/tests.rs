#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;

use super::*;

/// Counts how many are alive.
struct Counted(Arc<AtomicUsize>, u32);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive), 0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn state_lives_on_between_jobs_and_ends_with_the_workers() {
    let alive = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&alive);
    let workers = Workers::start(
        "count",
        1,
        4,
        move |_| Ok(Counted::new(&counter)),
        |state, add: u32| {
            state.1 += add;
            (state.1, std::thread::current().name().map(str::to_owned))
        },
    );
    let workers = workers.await.unwrap();
    assert_eq!(workers.submit(2).await.unwrap(), (2, Some("count-0".into())));
    assert_eq!(workers.submit(3).await.unwrap().0, 5);
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    let clone = workers.clone();
    workers.shutdown().await;
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert!(matches!(clone.submit(1).await, Err(WorkerError::Stopped)));
}

#[tokio::test]
async fn a_panic_costs_its_own_job_and_the_state() {
    let alive = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&alive);
    let workers = Workers::start(
        "panic",
        1,
        4,
        move |_| Ok(Counted::new(&counter)),
        |state, add: u32| {
            assert!(add != 13, "unlucky {add}");
            state.1 += add;
            state.1
        },
    );
    let workers = workers.await.unwrap();
    assert_eq!(workers.submit(2).await.unwrap(), 2);
    let error = workers.submit(13).await.unwrap_err();
    assert!(matches!(&error, WorkerError::Panicked(message) if message == "unlucky 13"), "{error:?}");
    assert_eq!(workers.submit(3).await.unwrap(), 3, "a new state");
    assert_eq!(alive.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_state_that_cannot_be_built_is_reported_at_the_start() {
    let build = |index| if index == 1 { Err("corrupt model".into()) } else { Ok(()) };
    let error = Workers::start("engine", 2, 1, build, |(), (): ()| ()).await.unwrap_err();
    assert_eq!(crate::telemetry::chain(&error), "engine-1 cannot be set up: corrupt model");
    let build = |_| -> Result<(), BoxError> { panic!("bad library") };
    let error = Workers::start("engine", 1, 1, build, |(), (): ()| ()).await.unwrap_err();
    assert_eq!(crate::telemetry::chain(&error), "engine-0 cannot be set up: panicked: bad library");
}

#[tokio::test]
async fn jobs_run_beside_one_another_and_a_dropped_one_that_waits_is_not_done() {
    let (started, starts) = std_mpsc::channel();
    let (release, released) = std_mpsc::channel::<()>();
    let released = Mutex::new(released);
    let workers = Workers::start(
        "gate",
        1,
        4,
        |_| Ok(()),
        move |(), n: u32| {
            started.send(n).unwrap();
            if n == 1 {
                lock(&released).recv().unwrap();
            }
        },
    );
    let workers = workers.await.unwrap();
    let first = tokio::spawn({
        let workers = workers.clone();
        async move { workers.submit(1).await }
    });
    let (started_1, starts) = tokio::task::spawn_blocking(move || (starts.recv().unwrap(), starts)).await.unwrap();
    assert_eq!(started_1, 1);
    {
        let mut second = Box::pin(workers.submit(2));
        assert!(futures::poll!(&mut second).is_pending());
    }
    release.send(()).unwrap();
    first.await.unwrap().unwrap();
    workers.submit(3).await.unwrap();
    workers.shutdown().await;
    assert_eq!(starts.iter().collect::<Vec<_>>(), [3], "2 was taken back");
}

#[tokio::test]
async fn shutdown_does_what_was_submitted() {
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    let work = move |(): &mut (), (): ()| counter.fetch_add(1, Ordering::SeqCst);
    let workers = Workers::start("drain", 2, 16, |_| Ok(()), work).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut job = Box::pin(workers.submit(()));
        match futures::poll!(&mut job) {
            // A worker may be quicker than we are.
            std::task::Poll::Ready(answer) => drop(answer.unwrap()),
            std::task::Poll::Pending => waiting.push(job),
        }
    }
    workers.shutdown().await;
    assert_eq!(done.load(Ordering::SeqCst), 10);
    for job in waiting {
        job.await.unwrap();
    }
}
