//! Asks a process of ours whether it is ready: for health checks of images that have no program to ask with.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most of an answer that is read.
const MOST: u64 = 64 << 10;

/// Why a process does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens there, or the connection broke.
    #[error("nothing answers at {0}")]
    Unreachable(String, #[source] std::io::Error),
    /// It took too long.
    #[error("no answer from {0} within {1:?}")]
    Late(String, Duration),
    /// It says so itself.
    #[error("{0} is not ready: {1}")]
    NotReady(String, String),
    /// Somebody else is there.
    #[error("{0} answers, but not as Detektor does: {1:?}")]
    Strange(String, String),
}

/// Asks `/readyz` at `address`, a host and a port, and waits no longer than `deadline` in all.
///
/// # Errors
/// Why it is not ready.
pub async fn probe(address: &str, deadline: Duration) -> Result<(), ProbeError> {
    let answer = tokio::time::timeout(deadline, ask(address)).await;
    let answer = answer.map_err(|_| ProbeError::Late(address.to_owned(), deadline))?;
    read(address, &answer.map_err(|error| ProbeError::Unreachable(address.to_owned(), error))?)
}

async fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz?verbose HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(address: &str, answer: &str) -> Result<(), ProbeError> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let first = head.lines().next().unwrap_or_default();
    let mut words = first.split(' ');
    match (words.next().is_some_and(|version| version.starts_with("HTTP/1.")), words.next()) {
        (true, Some("200")) => Ok(()),
        (true, Some("503")) => {
            let failing: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
            let why = match failing.is_empty() {
                // The list of checks may be for those alone who show a token.
                true => "it does not say why to whoever has no token; its log does".to_owned(),
                false => failing.join("; "),
            };
            Err(ProbeError::NotReady(address.to_owned(), why))
        }
        _ => Err(ProbeError::Strange(address.to_owned(), first.chars().take(80).collect())),
    }
}
