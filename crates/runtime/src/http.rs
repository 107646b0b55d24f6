//! The HTTP server: health, readiness, metrics, and whatever routes a part adds.
//!
//! - `GET /livez`: 200 while the process answers at all.
//! - `GET /readyz`: 200 if every check passes, 503 if not; `?verbose` lists them.
//! - `GET /metrics`: Prometheus's text format.
//!
//! The list of checks and the numbers can be kept to those who show a token: see [`Wary`].

mod health;
mod limits;
mod probe;
mod serve;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

pub use health::{Check, Health};
pub use limits::{ConnectionLimits, Counted, CountedOne, Peer};
pub use probe::{ProbeError, probe};

/// Where to listen. There is no authentication, so only loopback is allowed unless told otherwise in so many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// Whoever reaches the address may read everything.
    pub allow_unauthenticated: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080), allow_unauthenticated: false }
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address can be reached from other machines.
    #[error(
        "{0} can be reached from other machines, and there is no authentication: \
         listen on 127.0.0.1, or allow it with allow_unauthenticated"
    )]
    Exposed(SocketAddr),
    /// The address is not free, or not ours.
    #[error("cannot listen on {0}")]
    Bind(SocketAddr, #[source] std::io::Error),
}

impl Listen {
    /// Refuses what other machines can reach, unless it is allowed.
    pub fn check(&self) -> Result<(), HttpError> {
        if self.address.ip().is_loopback() || self.allow_unauthenticated {
            Ok(())
        } else {
            Err(HttpError::Exposed(self.address))
        }
    }
}

/// A server that has its port and does not serve yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    wary: Wary,
}

/// Who is shown `/metrics` and the list of checks. Until it is told, everybody is.
#[derive(Clone, Default)]
pub struct Wary(Arc<OnceLock<Admits>>);

type Admits = Box<dyn Fn(&Parts) -> bool + Send + Sync>;

impl Wary {
    /// Shows them only to requests that `admits` takes. Only the first call counts.
    pub fn show_only(&self, admits: impl Fn(&Parts) -> bool + Send + Sync + 'static) {
        _ = self.0.set(Box::new(admits));
    }

    fn admits(&self, parts: &Parts) -> bool {
        self.0.get().is_none_or(|admits| admits(parts))
    }
}

impl Server {
    /// Takes the port. Connections wait from now on; [`Self::run`] answers them.
    pub async fn bind(listen: &Listen, health: &Health, metrics: &Metrics) -> Result<Self, HttpError> {
        listen.check()?;
        let refused = |error| HttpError::Bind(listen.address, error);
        let listener = TcpListener::bind(listen.address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let wary = Wary::default();
        let router = base_routes(health.clone(), metrics.clone(), &wary);
        Ok(Self { listener, address, router, limits: ConnectionLimits::default(), wary })
    }

    /// How many connections it takes, and how long it waits for what they send.
    #[must_use]
    pub fn limited(self, limits: ConnectionLimits) -> Self {
        Self { limits, ..self }
    }

    /// Who is shown the numbers and the list of checks.
    pub fn wary(&self) -> Wary {
        self.wary.clone()
    }

    /// Where it listens: the port that was found, if any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds routes. Paths must not repeat those that are there.
    #[must_use]
    pub fn merge(mut self, routes: Router) -> Self {
        self.router = self.router.merge(routes);
        self
    }

    /// Serves until shutdown. Then it takes no more connections, finishes what is being answered, and cuts what takes longer
    /// than `drain`, as an endless stream does.
    pub async fn run(self, shutdown: CancellationToken, drain: Duration) {
        serve::serve(self.listener, self.router, self.limits, shutdown, drain).await;
    }
}

fn base_routes(health: Health, metrics: Metrics, wary: &Wary) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state((health.clone(), wary.clone())))
        .route("/metrics", get(numbers).with_state((metrics, health, wary.clone())))
}

async fn ready(
    State((health, wary)): State<(Health, Wary)>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> impl IntoResponse {
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    let report = health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Whether it is ready everybody may know; why not names servers.
    let verbose = verbose && wary.admits(&parts);
    let summary = if report.ready { "ok\n" } else { "not ready\n" };
    (status, if verbose { report.lines + summary } else { summary.to_owned() })
}

async fn numbers(State((metrics, health, wary)): State<(Metrics, Health, Wary)>, parts: Parts) -> Response {
    if !wary.admits(&parts) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"detektor\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "a token is required\n").into_response();
    }
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.text() + &health.text()).into_response()
}

#[cfg(test)]
mod tests;
