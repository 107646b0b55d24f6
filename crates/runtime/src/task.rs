//! An owner for long-lived tasks: each has a name, each is awaited, and the first that dies stops the rest.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::telemetry::chain;

/// What a task may fail with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why the tasks did not all end well. The first failure; later ones are in the log.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task failed.
    #[error("{name} failed")]
    Failed {
        /// Which.
        name: String,
        /// Why.
        source: BoxError,
    },
    /// A task panicked.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// Which.
        name: String,
        /// What the panic said.
        message: String,
    },
    /// A service ended although nobody stopped it.
    #[error("{name} ended unexpectedly")]
    Ended {
        /// Which.
        name: String,
    },
    /// These did not stop in time and were aborted.
    #[error("not stopped within {deadline:?}: {}", names.join(", "))]
    Stuck {
        /// Which.
        names: Vec<String>,
        /// How long they had.
        deadline: Duration,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Service,
    Job,
}

/// Owns tasks. Dropping it aborts them; [`Supervisor::run`] ends them in order.
#[derive(Default)]
pub struct Supervisor {
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, (String, Life)>,
}

impl Supervisor {
    /// Owns nothing yet; cancels `shutdown` when a task dies.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, ..Self::default() }
    }

    /// What the tasks listen to.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Spawns a task that runs until shutdown: that it ends earlier is an error.
    pub fn service<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.spawn(name.into(), Life::Service, task);
    }

    /// Spawns a task that may end on its own; that it fails is an error.
    pub fn job<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.spawn(name.into(), Life::Job, task);
    }

    fn spawn<F, E>(&mut self, name: String, life: Life, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let handle = self.tasks.spawn(async move { task.await.map_err(Into::into) });
        self.names.insert(handle.id(), (name, life));
    }

    /// Waits until every task has ended. From shutdown on, or from the first failure, which causes it, they have `drain`.
    pub async fn run(mut self, drain: Duration) -> Result<(), TaskError> {
        let mut first = None;
        while !self.shutdown.is_cancelled() {
            let ended = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                ended = self.tasks.join_next_with_id() => ended,
            };
            let Some(ended) = ended else { break };
            self.note(ended, &mut first);
        }
        let drained = tokio::time::timeout(drain, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.note(ended, &mut first);
            }
        });
        if drained.await.is_err() {
            let mut names: Vec<String> = self.names.drain().map(|(_, (name, _))| name).collect();
            names.sort();
            self.tasks.shutdown().await;
            let stuck = TaskError::Stuck { names, deadline: drain };
            tracing::error!(error = chain(&stuck), "tasks aborted");
            first.get_or_insert(stuck);
        }
        first.map_or(Ok(()), Err)
    }

    /// Takes note of a task that ended, and begins the shutdown if it should not have.
    fn note(&mut self, ended: Result<(Id, Result<(), BoxError>), JoinError>, first: &mut Option<TaskError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some((name, life)) = self.names.remove(&id) else { return };
        let error = match ended {
            Ok((_, Ok(()))) if life == Life::Job || self.shutdown.is_cancelled() => {
                tracing::debug!(task = name, "ended");
                return;
            }
            Ok((_, Ok(()))) => TaskError::Ended { name },
            Ok((_, Err(source))) => TaskError::Failed { name, source },
            Err(error) => TaskError::Panicked { name, message: join_message(error) },
        };
        tracing::error!(error = chain(&error), "a task died: stopping");
        first.get_or_insert(error);
        self.shutdown.cancel();
    }
}

fn join_message(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|_| "aborted".to_owned(), |payload| panic_message(&*payload))
}

/// What a panic said, where it said a text.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const DRAIN: Duration = Duration::from_secs(10);

    fn until(shutdown: &CancellationToken) -> impl Future<Output = Result<(), BoxError>> + use<> {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_end_at_shutdown() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown.clone());
        tasks.service("a", until(&shutdown));
        tasks.job("b", async { Ok::<_, BoxError>(()) });
        tasks.job("stopper", async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            shutdown.cancel();
            Ok::<_, BoxError>(())
        });
        tasks.run(DRAIN).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn ends_by_itself_when_every_job_is_done() {
        let mut tasks = Supervisor::new(CancellationToken::new());
        tasks.job("a", async { Ok::<_, BoxError>(()) });
        tasks.run(DRAIN).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_task_stops_the_rest_and_is_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown.clone());
        tasks.service("healthy", until(&shutdown));
        tasks.service("dying", async { Err::<(), BoxError>("no more".into()) });
        let error = tasks.run(DRAIN).await.unwrap_err();
        assert_eq!(chain(&error), "dying failed: no more");
        assert!(shutdown.is_cancelled());

        let mut tasks = Supervisor::new(CancellationToken::new());
        tasks.service("short", async { Ok::<_, BoxError>(()) });
        assert_eq!(tasks.run(DRAIN).await.unwrap_err().to_string(), "short ended unexpectedly");

        let mut tasks = Supervisor::new(CancellationToken::new());
        tasks.job("wild", async { panic!("ouch {}", 7) as Result<(), BoxError> });
        assert_eq!(tasks.run(DRAIN).await.unwrap_err().to_string(), "wild panicked: ouch 7");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_is_aborted_and_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown.clone());
        tasks.service("good", until(&shutdown));
        tasks.service("stubborn", std::future::pending::<Result<(), BoxError>>());
        shutdown.cancel();
        let error = tasks.run(DRAIN).await.unwrap_err();
        assert_eq!(error.to_string(), "not stopped within 10s: stubborn");
    }
}
