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
    start_limited(routes, drain, ConnectionLimits::default()).await
}

async fn start_limited(routes: Router, drain: Duration, limits: ConnectionLimits) -> Running {
    let (health, metrics, shutdown) = (Health::new(), Metrics::new(), CancellationToken::new());
    let server = Server::bind(&ANY_PORT, &health, &metrics).await.unwrap().merge(routes).limited(limits);
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
    server.health.check("s3").fail("away");
    let numbers = fetch(server.address, "/metrics").await;
    assert!(numbers.contains("detektor_health_failed_checks{check=\"s3\"} 1"), "{numbers}");
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

#[tokio::test]
async fn who_dawdles_over_a_head_is_cut_off() {
    let limits = ConnectionLimits { head: Duration::from_millis(200), ..ConnectionLimits::default() };
    let server = start_limited(Router::new(), Duration::from_secs(1), limits).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let begin = std::time::Instant::now();
    let drip = async {
        loop {
            if slow.write_all(b"GET /livez HTTP/1.1\r\nx: ".get(..1).unwrap()).await.is_err() {
                break;
            }
            // One byte now and then would keep a server busy that counts silence only.
            let mut byte = [0; 64];
            let read = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut byte)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), drip).await.expect("it is cut off");
    assert!(begin.elapsed() >= Duration::from_millis(150), "not before its time: {:?}", begin.elapsed());
    assert!(fetch(server.address, "/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let limits = ConnectionLimits { head_bytes: 8_192, ..ConnectionLimits::default() };
    let server = start_limited(Router::new(), Duration::from_secs(1), limits).await;
    let answer = |bytes: usize| async move {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(bytes));
        // The server may close before it has read all of it.
        _ = stream.write_all(head.as_bytes()).await;
        let mut text = vec![0; 12];
        stream.read_exact(&mut text).await.map(|_| String::from_utf8(text).unwrap()).unwrap_or_default()
    };
    assert_eq!(answer(4_000).await, "HTTP/1.1 200");
    assert_eq!(answer(20_000).await, "HTTP/1.1 431");
}

#[tokio::test]
async fn one_address_gets_no_more_connections_than_its_share() {
    let limits = ConnectionLimits { per_peer: 2, ..ConnectionLimits::default() };
    let server = start_limited(Router::new(), Duration::from_secs(1), limits).await;
    let idle = [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let read =
        tokio::time::timeout(Duration::from_secs(5), third.read(&mut [0; 1])).await.expect("it is closed at once");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(idle);
    let mut tries = 0;
    while open(server.address, "/livez").await.read(&mut [0; 1]).await.unwrap_or(0) == 0 {
        tries += 1;
        assert!(tries < 100, "places are free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn numbers_and_reasons_can_be_kept_to_some() {
    let (health, metrics, shutdown) = (Health::new(), Metrics::new(), CancellationToken::new());
    health.check("queue").fail("rabbitmq.internal: connection refused");
    let server = Server::bind(&ANY_PORT, &health, &metrics).await.unwrap();
    let (address, wary) = (server.address(), server.wary());
    let task = tokio::spawn(server.run(shutdown.clone(), Duration::from_secs(1)));
    assert!(fetch(address, "/readyz?verbose").await.contains("rabbitmq.internal"));
    wary.show_only(|parts| parts.uri.query().is_some_and(|query| query.contains("sesame")));
    assert!(fetch(address, "/metrics").await.starts_with("HTTP/1.1 401 "));
    assert!(fetch(address, "/metrics?sesame").await.starts_with("HTTP/1.1 200 "));
    let told = fetch(address, "/readyz?verbose").await;
    assert!(told.starts_with("HTTP/1.1 503 ") && !told.contains("rabbitmq.internal"), "{told}");
    assert!(fetch(address, "/readyz?verbose&sesame").await.contains("rabbitmq.internal"));
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_handler_learns_from_whom_a_request_comes() {
    let name = |axum::Extension(Peer(address)): axum::Extension<Peer>| async move { address.to_string() };
    let server = start(Router::new().route("/who", get(name)), Duration::from_secs(1)).await;
    assert!(fetch(server.address, "/who").await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn a_probe_says_what_a_process_waits_for() {
    let second = Duration::from_secs(1);
    let server = start(Router::new(), second).await;
    let address = server.address.to_string();
    probe(&address, second).await.unwrap();
    server.health.check("queue").fail("connection refused");
    server.health.check("model");
    let said = probe(&address, second).await.unwrap_err().to_string();
    assert_eq!(said, format!("{address} is not ready: model failed: starting; queue failed: connection refused"));
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert!(matches!(probe(&address, second).await, Err(ProbeError::Unreachable(..))));

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    assert!(matches!(probe(&address, Duration::from_millis(200)).await, Err(ProbeError::Late(..))));
    let other = tokio::spawn(async move {
        // The one that was given up waits before it.
        for _ in 0..2 {
            let (mut stream, _) = silent.accept().await.unwrap();
            _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        }
    });
    assert!(matches!(probe(&address, second).await, Err(ProbeError::Strange(..))));
    other.await.unwrap();
}
