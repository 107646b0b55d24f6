#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::response::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

const ANY_PORT: Listen =
    Listen { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), allow_unauthenticated: false };

struct Running {
    address: SocketAddr,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(routes: Router, drain: Duration) -> Running {
    let (health, metrics, shutdown) = (Health::new(), Metrics::new(), CancellationToken::new());
    let server = Server::bind(&ANY_PORT, &health, &metrics).await.unwrap().merge(routes);
    let address = server.address();
    let task = tokio::spawn(server.run(shutdown.clone(), drain));
    Running { address, health, metrics, shutdown, task }
}

async fn open(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut text = String::new();
    open(address, path).await.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn says_how_it_is() {
    let server = start(Router::new(), Duration::from_secs(5)).await;
    assert!(fetch(server.address, "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(fetch(server.address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    assert!(fetch(server.address, "/nothing").await.starts_with("HTTP/1.1 404 "));

    let queue = server.health.check("queue");
    server.health.check("detect").pass();
    assert!(fetch(server.address, "/readyz").await.starts_with("HTTP/1.1 503 "));
    queue.fail("connection refused");
    let verbose = fetch(server.address, "/readyz?verbose").await;
    assert!(verbose.contains("[+]detect ok\n[-]queue failed: connection refused\nnot ready"), "{verbose}");
    queue.pass();
    assert!(server.health.is_ready());
    assert!(fetch(server.address, "/readyz").await.starts_with("HTTP/1.1 200 "));

    server.metrics.part("http").gauge("open_connections", "x").unwrap().set(3);
    let numbers = fetch(server.address, "/metrics").await;
    assert!(numbers.contains("text/plain; version=0.0.4") && numbers.contains("detektor_http_open_connections 3"));
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn an_answer_under_way_is_finished_at_shutdown() {
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        "finished"
    };
    let server = start(Router::new().route("/slow", get(slow)), Duration::from_secs(30)).await;
    let mut stream = open(server.address, "/slow").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.shutdown.cancel();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("finished"), "{text}");
    server.task.await.unwrap();
}

#[tokio::test]
async fn an_endless_stream_is_cut_after_the_drain() {
    let endless = || async {
        Response::new(axum::body::Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>()))
    };
    let server = start(Router::new().route("/endless", get(endless)), Duration::from_millis(50)).await;
    let mut stream = open(server.address, "/endless").await;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    server.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_listens_beyond_loopback_unasked() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let mut listen = Listen { address: address.parse().unwrap(), allow_unauthenticated: false };
        assert!(matches!(listen.check(), Err(HttpError::Exposed(_))), "{address}");
        listen.allow_unauthenticated = true;
        assert!(listen.check().is_ok());
    }
    for address in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0"] {
        let listen = Listen { address: address.parse().unwrap(), allow_unauthenticated: false };
        assert!(listen.check().is_ok(), "{address}");
    }
    let open = Listen { address: "0.0.0.0:0".parse().unwrap(), allow_unauthenticated: false };
    assert!(Server::bind(&open, &Health::new(), &Metrics::new()).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = start(Router::new(), Duration::from_secs(1)).await;
    let listen = Listen { address: server.address, ..ANY_PORT };
    let error = Server::bind(&listen, &Health::new(), &Metrics::new()).await.err().unwrap();
    assert_eq!(error.to_string(), format!("cannot listen on {}", server.address));
}
