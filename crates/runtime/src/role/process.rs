//! What every role's process has: numbers, health, an HTTP server, an owner for its tasks, and the drain.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use detektor_backends::breaker::Breaker;
use detektor_backends::queue::Queues;
use detektor_contract::Faulty;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::fields::settings::{Settings, Visitor};
use crate::fields::{boolean, parsed, whole};
use crate::handler::Handler;
use crate::host::{Host, HostConfig};
use crate::http::{ConnectionLimits, Health, Listen, Server, Wary};
use crate::metrics::Metrics;
use crate::retry::{Policy, RetryError, retry};
use crate::task::{BoxError, Supervisor};

use super::calls::Calls;

/// How much longer than the drain the process may take to end: to close connections, and to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// What every role can be told, in its own section.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// Where `/livez`, `/readyz`, `/metrics` and the role's own routes are.
    pub listen: SocketAddr,
    /// Listen beyond loopback without authentication.
    pub allow_unauthenticated: bool,
    /// How long what is in flight may take to finish after SIGTERM. The process ends at most 5 s later.
    pub drain: Duration,
    /// What it takes of connections. A role that serves more than probes says so in settings of its own.
    pub connections: ConnectionLimits,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            allow_unauthenticated: false,
            drain: Duration::from_secs(25),
            connections: ConnectionLimits::default(),
        }
    }
}

impl Settings for ProcessSettings {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.field(
            "listen",
            &mut self.listen,
            parsed("ADDRESS:PORT"),
            "Serve /livez, /readyz, /metrics and the role's own pages here.",
        );
        visitor.field(
            "allow_unauthenticated",
            &mut self.allow_unauthenticated,
            boolean(),
            "Listen beyond loopback without authentication.",
        );
        let drain = whole(1_000..=600_000).map(Duration::from_millis);
        visitor.field(
            "drain_ms",
            &mut self.drain,
            drain,
            "How long work in flight may take to finish after SIGTERM; the process ends at most 5 s later.",
        );
    }
}

/// A role's process while it runs.
pub struct Process {
    /// Numbers for `/metrics`.
    pub metrics: Metrics,
    /// Checks for `/readyz`.
    pub health: Health,
    /// Owns the tasks.
    pub supervisor: Supervisor,
    /// How long the drain may take.
    pub drain: Duration,
    name: &'static str,
    routes: Arc<OnceLock<Router>>,
    wary: Wary,
    calls: Calls,
}

impl Process {
    /// Takes the port and serves health and numbers on it. The role's own routes answer 503 until [`Process::serve`].
    pub(super) async fn begin(
        name: &'static str,
        settings: &ProcessSettings,
        shutdown: CancellationToken,
    ) -> Result<Self, BoxError> {
        let (metrics, health) = (Metrics::new(), Health::new());
        let mut supervisor = Supervisor::new(shutdown.clone());
        let listen = Listen { address: settings.listen, allow_unauthenticated: settings.allow_unauthenticated };
        let routes = Arc::new(OnceLock::new());
        let own = Router::new().fallback(later).with_state(Arc::clone(&routes));
        let server = Server::bind(&listen, &health, &metrics).await?.merge(own).limited(settings.connections);
        let wary = server.wary();
        tracing::info!(role = name, address = %server.address(), version = env!("CARGO_PKG_VERSION"), "starting");
        let drain = settings.drain;
        let stop = shutdown;
        supervisor.service("http", async move {
            server.run(stop, drain).await;
            Ok::<(), Infallible>(())
        });
        let calls = Calls::new(&metrics)?;
        Ok(Self { metrics, health, supervisor, drain, name, routes, wary, calls })
    }

    /// Begins the shutdown when cancelled, and is cancelled by it.
    pub fn shutdown(&self) -> CancellationToken {
        self.supervisor.shutdown().clone()
    }

    /// Serves these routes beside health and numbers. Only the first call counts.
    pub fn serve(&self, routes: Router) {
        _ = self.routes.set(routes);
    }

    /// Who is shown the numbers and the list of checks.
    pub fn wary(&self) -> &Wary {
        &self.wary
    }

    /// Runs a handler on queues until shutdown, and drains it within the process's drain.
    ///
    /// # Errors
    /// Where the configuration makes no sense.
    pub fn host(
        &mut self,
        name: &'static str,
        handler: impl Handler,
        queues: &Arc<dyn Queues>,
        config: HostConfig,
    ) -> Result<(), BoxError> {
        let config = config.drained_within(self.drain);
        let host = Host::new(name, handler, Arc::clone(queues), config, &self.metrics, &self.health)?;
        let stop = self.shutdown();
        self.supervisor.service(name, async move { host.run(stop).await.map(drop) });
        Ok(())
    }

    /// A circuit breaker for the calls to a server. It shows in `/readyz?verbose`, and does not make this process unready.
    pub fn breaker(&self, server: &'static str) -> Arc<Breaker> {
        let check = self.health.check(format!("{server} breaker"));
        check.pass();
        let (calls, changes) = (self.calls.clone(), self.calls.clone());
        let tell = move |open| {
            changes.breaker(server, open);
            if open { check.note("open: most calls fail") } else { check.pass() }
        };
        Breaker::new(server, Arc::new(tell), Arc::new(move |took, away| calls.made(server, took, away)))
    }

    /// Does what needs a server until it works, however long that server is away; readiness says so meanwhile.
    ///
    /// # Errors
    /// What is wrong for good, or that the process is to stop.
    pub async fn patiently<T, E, F, Fut>(&self, what: &str, attempt: F) -> Result<T, BoxError>
    where
        E: Faulty + std::error::Error + Send + Sync + 'static,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let check = self.health.check(what);
        let done = retry(what, &Policy::default(), &self.shutdown(), attempt).await;
        match done {
            Ok(value) => {
                check.pass();
                Ok(value)
            }
            Err(RetryError::Failed(error)) => Err(Box::new(error)),
            Err(error @ RetryError::Cancelled) => Err(Box::new(error)),
        }
    }

    /// Runs until shutdown, then drains. `started` is what became of the role's start.
    pub(super) async fn run(self, started: Result<(), BoxError>) -> Result<(), BoxError> {
        let shutdown = self.shutdown();
        // To be stopped while waiting for a server is no failure.
        let stopped = shutdown.is_cancelled();
        match started {
            Ok(()) => tracing::info!(role = self.name, "started"),
            Err(_) => shutdown.cancel(),
        }
        let ended = self.supervisor.run(self.drain + GOODBYE).await;
        if !stopped {
            started?;
        }
        ended?;
        tracing::info!(role = self.name, "stopped");
        Ok(())
    }
}

async fn later(State(routes): State<Arc<OnceLock<Router>>>, request: Request) -> Response {
    match routes.get() {
        // A router never fails.
        Some(routes) => match routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}
