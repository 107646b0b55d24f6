//! The accept loop. Ours rather than axum's, so that connections are bounded, slow headers time out, and a connection that
//! outlives the drain is cut and awaited.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::limits::{ConnectionLimits, Counted, Peer};

/// How long to wait when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(limits.head_bytes);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let counted = Counted::default();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let next = || async {
        let slot = Arc::clone(&slots).acquire_owned().await;
        (slot, accept(&listener).await)
    };
    while let Some((slot, (stream, peer))) = shutdown.run_until_cancelled(next()).await {
        let Some(one) = counted.one_more(peer, limits.per_peer) else {
            tracing::debug!(peer = %peer.0, "a connection too many from one address is closed");
            continue;
        };
        // Handlers learn from whom a request comes.
        let named = router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(named));
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop((slot, one));
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::debug!(connections = connections.len(), "cutting connections that outlast the drain");
    }
    connections.shutdown().await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, Peer) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small writes go out at once; a socket that refuses still works.
                let _ = stream.set_nodelay(true);
                return (stream, address.into());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
