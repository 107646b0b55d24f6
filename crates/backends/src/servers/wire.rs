//! A wire to a server that can be cut, stalled and slowed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes passed on at a time.
const PIECE: usize = 16 << 10;

/// How a wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// Each piece waits.
    Slow(Duration),
    /// Nothing passes, and connections stand.
    Stalled,
    /// Connections break, and no new one comes about.
    Cut,
}

/// How a wire is, and how often it was cut and lost its connections: they do not outlive what is mended at once.
#[derive(Clone, Copy, Debug)]
struct Now {
    state: State,
    cuts: u64,
    losses: u64,
}

/// A port of this machine that leads to another one.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    state: watch::Sender<Now>,
    task: JoinHandle<()>,
}

impl Wire {
    /// A whole one to a port of this machine.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(Now { state: State::Whole, cuts: 0, losses: 0 });
        let task = tokio::spawn(accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, server)), seen));
        Self { port, state, task }
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection, and each new one.
    pub fn cut(&self) {
        self.state.send_modify(|now| *now = Now { state: State::Cut, cuts: now.cuts + 1, ..*now });
    }

    /// Has its connections carry nothing any more, and tells nobody: as if the machine at the other end were gone. New ones work.
    pub fn lose(&self) {
        self.state.send_modify(|now| now.losses += 1);
    }

    /// Lets nothing pass; connections stand.
    pub fn stall(&self) {
        self.set(State::Stalled);
    }

    /// Holds each piece of at most 16 KiB back for so long.
    pub fn slow(&self, wait: Duration) {
        self.set(State::Slow(wait));
    }

    /// Makes it whole.
    pub fn restore(&self) {
        self.set(State::Whole);
    }

    fn set(&self, to: State) {
        self.state.send_modify(|now| now.state = to);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: watch::Receiver<Now>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(connection(near, server, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(near: TcpStream, server: SocketAddr, state: watch::Receiver<Now>) {
    let begun = *state.borrow();
    if begun.state == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(server).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut later = state.clone();
    let way = |from, to| pass(from, to, state.clone(), begun.losses);
    let both = async { tokio::try_join!(way(near_in, far_out), way(far_in, near_out)) };
    tokio::select! {
        _ = both => {}
        _ = later.wait_for(|now| now.cuts != begun.cuts) => {}
    }
}

/// Passes on what comes, until it ends.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Now>,
    losses: u64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await;
        // The end passes as little as anything else.
        if let State::Slow(wait) = passing(&mut state, losses).await {
            tokio::time::sleep(wait).await;
        }
        match read? {
            0 => return to.shutdown().await,
            length => to.write_all(&piece[..length]).await?,
        }
    }
}

/// Waits until something passes; for ever where the connection is lost.
async fn passing(state: &mut watch::Receiver<Now>, losses: u64) -> State {
    let passing = state.wait_for(|now| now.state != State::Stalled && now.losses == losses).await;
    passing.map_or(State::Cut, |now| now.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says again what it hears.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn heard(stream: &mut TcpStream, said: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(said).await?;
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn a_wire_stalls_slows_breaks_and_is_mended() {
        let wire = Wire::to(echo().await).await;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, wire.port()));
        let mut stream = connect().await.unwrap();
        assert_eq!(heard(&mut stream, b"one").await.unwrap(), b"one");
        wire.stall();
        let late = tokio::time::timeout(Duration::from_millis(100), heard(&mut stream, b"two")).await;
        assert!(late.is_err(), "nothing passes a stalled wire");
        wire.restore();
        let mut two = [0; 3];
        stream.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"two");
        wire.slow(Duration::from_millis(50));
        let began = std::time::Instant::now();
        assert_eq!(heard(&mut stream, b"three").await.unwrap(), b"three");
        assert!(began.elapsed() >= Duration::from_millis(100));
        wire.cut();
        assert!(heard(&mut stream, b"four").await.is_err());
        assert!(heard(&mut connect().await.unwrap(), b"five").await.is_err());
        wire.restore();
        assert!(heard(&mut stream, b"six").await.is_err(), "what was cut stays cut");
        let mut stream = connect().await.unwrap();
        assert_eq!(heard(&mut stream, b"seven").await.unwrap(), b"seven");
        wire.lose();
        let never = tokio::time::timeout(Duration::from_millis(100), heard(&mut stream, b"eight")).await;
        assert!(never.is_err(), "nothing passes a lost connection");
        assert_eq!(heard(&mut connect().await.unwrap(), b"nine").await.unwrap(), b"nine");
    }
}
