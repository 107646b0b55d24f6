//! An HTTP server with one file, and the habits of its trade.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a server answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The file, with its length.
    Whole {
        /// Also from the middle on.
        ranges: bool,
    },
    /// The file, without a length; then it closes.
    Endless,
    /// With its length and from anywhere on, but nothing behind this byte.
    BreaksOffAt(usize),
    /// Nothing, ever.
    Nothing,
    /// So many bytes, and then nothing.
    HangsAfter(usize),
    /// 401.
    Denies,
}

pub struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(body: Vec<u8>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = Arc::new(body);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&body), answer));
            }
        });
        Self { port, task }
    }

    /// `user` is empty, or ends in an `@`.
    pub fn url(&self, user: &str) -> String {
        format!("http://{user}127.0.0.1:{}/camera", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, body: Arc<Vec<u8>>, answer: Answer) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let from = request.split_once("range: bytes=").and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
    let (head, sent): (String, &[u8]) = match (answer, from) {
        (Answer::Whole { ranges: true } | Answer::BreaksOffAt(_), from) => {
            let from: usize = from.unwrap_or(0);
            let until = if let Answer::BreaksOffAt(until) = answer { until } else { body.len() };
            let (last, total) = (body.len() - 1, body.len());
            let length = total - from;
            let status = format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{total}");
            (format!("{status}\r\nAccept-Ranges: bytes\r\nContent-Length: {length}"), &body[from..until.max(from)])
        }
        (Answer::Whole { ranges: false }, _) => (format!("200 OK\r\nContent-Length: {}", body.len()), &body),
        (Answer::Endless, _) => ("200 OK".to_owned(), &body),
        (Answer::HangsAfter(bytes), _) => ("200 OK".to_owned(), &body[..bytes]),
        (Answer::Denies, _) => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=x".to_owned(), &[]),
        (Answer::Nothing, _) => return std::future::pending().await,
    };
    // The client may have had enough.
    let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).await;
    let _ = stream.write_all(sent).await;
    if matches!(answer, Answer::HangsAfter(_)) {
        std::future::pending().await
    }
    let _ = stream.shutdown().await;
}
