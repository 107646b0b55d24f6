//! Named OS threads for work that keeps a core busy, each with state of its own: a decoder, a model's session.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use detektor_contract::{Fault, Faulty};
use tokio::sync::{mpsc, oneshot};

use crate::task::{BoxError, panic_message};

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The job panicked. Its worker's state is gone and will be built anew.
    #[error("the worker panicked: {0}")]
    Panicked(String),
    /// After a panic, the worker's state could not be built again.
    #[error("the worker's state cannot be built")]
    Build(#[source] BoxError),
    /// The workers were shut down.
    #[error("the workers are stopped")]
    Stopped,
}

impl Faulty for WorkerError {
    fn fault(&self) -> Fault {
        match self {
            // Repeats for the same input, as far as anybody can tell.
            Self::Panicked(_) => Fault::Permanent,
            Self::Build(_) | Self::Stopped => Fault::Transient,
        }
    }
}

/// Why the workers could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no thread.
    #[error("no thread for {0}")]
    Thread(String, #[source] std::io::Error),
    /// A worker's first state could not be built.
    #[error("{0} cannot be set up")]
    Build(String, #[source] BoxError),
}

struct Job<J, R> {
    input: J,
    reply: oneshot::Sender<Result<R, WorkerError>>,
}

type Jobs<J, R> = Arc<Mutex<mpsc::Receiver<Job<J, R>>>>;

/// A pool of threads. Cheap to clone; clones share the threads.
pub struct Workers<J, R> {
    inner: Arc<Inner<J, R>>,
}

struct Inner<J, R> {
    jobs: Mutex<Option<mpsc::Sender<Job<J, R>>>>,
    threads: Mutex<Vec<(JoinHandle<()>, oneshot::Receiver<()>)>>,
}

impl<J, R> Clone for Workers<J, R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<J, R> fmt::Debug for Workers<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &lock(&self.inner.threads).len()).finish()
    }
}

impl<J: Send + 'static, R: Send + 'static> Workers<J, R> {
    /// Starts `threads` threads called `name-0`, `name-1`, … (Linux shows 15 bytes) and waits until each has built its
    /// state by `build(index)`. At most `queue` jobs wait for a thread; further ones wait in [`Self::submit`].
    ///
    /// `work` does a job. If it panics the state is dropped, and the next job builds a new one.
    pub async fn start<S, B, W>(name: &str, threads: usize, queue: usize, build: B, work: W) -> Result<Self, StartError>
    where
        S: 'static,
        B: Fn(usize) -> Result<S, BoxError> + Send + Sync + 'static,
        W: Fn(&mut S, J) -> R + Send + Sync + 'static,
    {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let jobs: Jobs<J, R> = Arc::new(Mutex::new(receiver));
        let (build, work) = (Arc::new(build), Arc::new(work));
        let mut running = Vec::with_capacity(threads);
        let mut set_up = Vec::with_capacity(threads);
        for index in 0..threads.max(1) {
            let name = format!("{name}-{index}");
            let (jobs, build, work) = (Arc::clone(&jobs), Arc::clone(&build), Arc::clone(&work));
            let (built, first_state) = oneshot::channel();
            let (ended, end) = oneshot::channel();
            let body = move || {
                let build = || build_state(&*build, index);
                run_worker(&jobs, build, &*work, built);
                // Whoever waits for it may be gone.
                let _ = ended.send(());
            };
            let thread = std::thread::Builder::new().name(name.clone()).spawn(body);
            running.push((thread.map_err(|error| StartError::Thread(name.clone(), error))?, end));
            set_up.push((name, first_state));
        }
        let inner = Inner { jobs: Mutex::new(Some(sender)), threads: Mutex::new(running) };
        let workers = Self { inner: Arc::new(inner) };
        for (name, first_state) in set_up {
            let built = first_state.await.unwrap_or_else(|_| Err("the thread ended".into()));
            if let Err(error) = built {
                workers.shutdown().await;
                return Err(StartError::Build(name, error));
            }
        }
        Ok(workers)
    }

    /// Does a job on the next free thread. Dropping the future takes a job back that has not begun; one that has begun goes
    /// on to its end, unheard.
    pub async fn submit(&self, input: J) -> Result<R, WorkerError> {
        let sender = lock(&self.inner.jobs).clone().ok_or(WorkerError::Stopped)?;
        let (reply, result) = oneshot::channel();
        sender.send(Job { input, reply }).await.map_err(|_| WorkerError::Stopped)?;
        drop(sender);
        result.await.unwrap_or(Err(WorkerError::Stopped))
    }

    /// Takes no more jobs, does those that were submitted, and joins the threads.
    pub async fn shutdown(&self) {
        lock(&self.inner.jobs).take();
        let threads = std::mem::take(&mut *lock(&self.inner.threads));
        for (thread, end) in threads {
            // Sent as the thread's last act, or dropped by its death: join does not block then.
            let _ = end.await;
            if thread.join().is_err() {
                tracing::error!("a worker thread died");
            }
        }
    }
}

/// Nothing under these locks can panic half-way, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build_state<S>(build: &dyn Fn(usize) -> Result<S, BoxError>, index: usize) -> Result<S, BoxError> {
    catch_unwind(AssertUnwindSafe(|| build(index)))
        .unwrap_or_else(|payload| Err(format!("panicked: {}", panic_message(&*payload)).into()))
}

fn run_worker<J, R, S>(
    jobs: &Jobs<J, R>,
    build: impl Fn() -> Result<S, BoxError>,
    work: &dyn Fn(&mut S, J) -> R,
    built: oneshot::Sender<Result<(), BoxError>>,
) {
    let mut state = match build() {
        Ok(state) => Some(state),
        Err(error) => {
            let _ = built.send(Err(error));
            return;
        }
    };
    // Whoever started it may have given up.
    let _ = built.send(Ok(()));
    loop {
        // One thread waits for the next job, the others for the lock.
        let Some(Job { input, reply }) = lock(jobs).blocking_recv() else { return };
        if reply.is_closed() {
            continue;
        }
        let result = do_job(&mut state, &build, work, input);
        // Nobody may be listening any more.
        let _ = reply.send(result);
    }
}

fn do_job<J, R, S>(
    state: &mut Option<S>,
    build: &impl Fn() -> Result<S, BoxError>,
    work: &dyn Fn(&mut S, J) -> R,
    input: J,
) -> Result<R, WorkerError> {
    let mut taken = match state.take() {
        Some(state) => state,
        None => build().map_err(WorkerError::Build)?,
    };
    // A panic unwinds through the closure and drops the state with it: it never comes back half-changed.
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let result = work(&mut taken, input);
        (taken, result)
    }));
    match outcome {
        Ok((kept, result)) => {
            *state = Some(kept);
            Ok(result)
        }
        Err(payload) => Err(WorkerError::Panicked(panic_message(&*payload))),
    }
}

#[cfg(test)]
mod tests;
