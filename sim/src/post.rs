//! Calls over the simulated network.
//!
//! What travels is a ticket: a call's number, there and back. The call itself, a closure, waits at the post office until its
//! ticket arrives, and so does its answer. So the network does to calls what it does to messages (it delays, loses and cuts
//! them off), and nothing has to be encoded.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{interval, timeout};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 1;
/// A caller waits so long for an answer, then takes the connection for broken.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// A caller shows so often that it is there.
const SIGN: Duration = Duration::from_millis(500);
/// A server takes a connection for broken after so long without a sign.
const SILENCE: Duration = Duration::from_secs(2);
/// The ticket of a sign of life.
const NOTHING: u64 = 0;

type Anything = Box<dyn Any + Send>;
type Call<S> = Box<dyn FnOnce(Arc<S>) -> BoxFuture<'static, Anything> + Send>;

/// Where calls and answers wait for their tickets.
#[derive(Clone, Default)]
pub struct Office(Arc<Mutex<Shelves>>);

#[derive(Default)]
struct Shelves {
    last: u64,
    calls: BTreeMap<u64, Anything>,
    answers: BTreeMap<u64, Anything>,
}

impl Office {
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        lock(&self.0)
    }

    fn hand_in(&self, call: Anything) -> u64 {
        let mut shelves = self.shelves();
        shelves.last += 1;
        let ticket = shelves.last;
        shelves.calls.insert(ticket, call);
        ticket
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers calls on this host, for ever. Each connection has a session of its own, which ends with it.
pub async fn serve<S: Send + Sync + 'static>(office: Office, session: impl Fn() -> S) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, office.clone(), Arc::new(session())));
    }
}

async fn answer<S: Send + Sync + 'static>(mut stream: TcpStream, office: Office, session: Arc<S>) {
    let mut running: JoinSet<u64> = JoinSet::new();
    loop {
        let ticket = tokio::select! {
            biased;
            Some(done) = running.join_next() => {
                let Ok(ticket) = done else { return };
                if stream.write_u64(ticket).await.is_err() {
                    return;
                }
                continue;
            }
            read = timeout(SILENCE, stream.read_u64()) => match read {
                Ok(Ok(ticket)) => ticket,
                Ok(Err(_)) | Err(_) => return,
            },
        };
        let call = office.shelves().calls.remove(&ticket).and_then(|call| call.downcast::<Call<S>>().ok());
        let Some(call) = call else { continue };
        let (office, session) = (office.clone(), Arc::clone(&session));
        running.spawn(async move {
            let answer = call(session).await;
            office.shelves().answers.insert(ticket, answer);
            ticket
        });
    }
}

/// A connection to a server whose sessions are `S`; made when needed, and made anew once it broke.
pub struct Line<S> {
    host: &'static str,
    office: Office,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    session: std::marker::PhantomData<fn(S)>,
}

struct Connection {
    send: mpsc::UnboundedSender<u64>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: Send + Sync + 'static> Line<S> {
    /// A line to a host; not connected yet.
    pub fn new(host: &'static str, office: Office) -> Self {
        Self { host, office, connection: Default::default(), session: std::marker::PhantomData }
    }

    /// Another line to the same host, with a session of its own.
    pub fn another(&self) -> Self {
        Self::new(self.host, self.office.clone())
    }

    /// Has a call done there. None where no answer came: it may have been done or not.
    pub async fn call<T, F, Fut>(&self, call: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<S>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let answered = timeout(PATIENCE, self.try_call(call)).await.ok().flatten();
        if answered.is_none() {
            self.hang_up();
        }
        answered
    }

    /// Ends the connection, and the session with it.
    pub fn hang_up(&self) {
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    async fn try_call<T, F, Fut>(&self, call: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<S>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let connection = self.connected().await?;
        let call: Call<S> = Box::new(move |session| {
            let answer = call(session);
            Box::pin(async move { Box::new(answer.await) as Anything })
        });
        let ticket = self.office.hand_in(Box::new(call));
        let (tell, told) = oneshot::channel();
        lock(&connection.waiting).insert(ticket, tell);
        connection.send.send(ticket).ok()?;
        told.await.ok()?;
        let answer = self.office.shelves().answers.remove(&ticket)?;
        answer.downcast().ok().map(|answer| *answer)
    }

    async fn connected(&self) -> Option<Arc<Connection>> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref().filter(|connection| !connection.send.is_closed()) {
            return Some(Arc::clone(connection));
        }
        let stream = TcpStream::connect((self.host, PORT)).await.ok()?;
        let (send, tickets) = mpsc::unbounded_channel();
        let waiting: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let task = tokio::spawn(carry(stream, tickets, Arc::clone(&waiting))).abort_handle();
        Some(Arc::clone(connection.insert(Arc::new(Connection { send, waiting, task }))))
    }
}

async fn carry(
    mut stream: TcpStream,
    mut tickets: mpsc::UnboundedReceiver<u64>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>,
) {
    let mut signs = interval(SIGN);
    loop {
        let written = tokio::select! {
            biased;
            Some(ticket) = tickets.recv() => stream.write_u64(ticket).await,
            read = stream.read_u64() => match read {
                Ok(ticket) => {
                    // Whoever called may have stopped waiting.
                    let _ = lock(&waiting).remove(&ticket).map(|tell| tell.send(()));
                    Ok(())
                }
                Err(error) => Err(error),
            },
            _ = signs.tick() => stream.write_u64(NOTHING).await,
        };
        if written.is_err() {
            break;
        }
    }
    tickets.close();
    lock(&waiting).clear();
}
