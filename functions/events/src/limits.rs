//! How much one client may ask for, and how much all of them together.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use detektor_runtime::fields::settings::{Settings, Visitor};
use detektor_runtime::fields::{boolean, whole};
use detektor_runtime::http::{Counted, CountedOne, Peer};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::ApiError;

/// What clients may ask for. A client is an address (of IPv6: one /64 network).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one client in a second, over time.
    pub requests_per_s: NonZeroU32,
    /// Requests of one client at once.
    pub requests_burst: NonZeroU32,
    /// Wrong tokens of one client in a minute; so many it may also show at once.
    pub wrong_tokens_per_min: NonZeroU32,
    /// Streams open at a time.
    pub streams: usize,
    /// Streams of one client.
    pub streams_per_client: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Events on a page.
    pub events: u32,
    /// Frames on a page.
    pub detections: u32,
    /// Days that `from` and `until` may lie apart.
    pub span_days: u32,
    /// Whether a proxy in front says who the client is.
    pub trust_forwarded_for: bool,
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_s: at_least_one(100),
            requests_burst: at_least_one(1_000),
            wrong_tokens_per_min: at_least_one(10),
            streams: 256,
            streams_per_client: 32,
            body_bytes: 64 << 10,
            events: 500,
            detections: 2_000,
            span_days: 366,
            trust_forwarded_for: false,
        }
    }
}

impl Settings for Limits {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let number = |most: u32| whole(1..=most).map(at_least_one);
        let mut rate = |name, target: &mut NonZeroU32, most, help| {
            let mut plain = target.get();
            visitor.field(name, &mut plain, number(most).map(NonZeroU32::get), help);
            *target = at_least_one(plain);
        };
        rate(
            "requests_per_s",
            &mut self.requests_per_s,
            100_000,
            "Requests that one client may make in a second, over time.",
        );
        rate("requests_burst", &mut self.requests_burst, 1_000_000, "Requests that one client may make at once.");
        rate(
            "wrong_tokens_per_min",
            &mut self.wrong_tokens_per_min,
            10_000,
            "Wrong tokens that one client may show in a minute; then it is refused, whatever it shows, until it may again.",
        );
        visitor.field(
            "streams_max",
            &mut self.streams,
            whole(1..=65_536),
            "Streams of changes that are open at a time.",
        );
        visitor.field(
            "streams_per_client_max",
            &mut self.streams_per_client,
            whole(1..=65_536),
            "Streams that one client may have open.",
        );
        visitor.field(
            "body_bytes_max",
            &mut self.body_bytes,
            whole(1_024..=16 << 20),
            "How large a request's body may be.",
        );
        visitor.field("events_max", &mut self.events, whole(1..=10_000), "Events that one page may hold.");
        visitor.field("detections_max", &mut self.detections, whole(1..=10_000), "Frames that one page may hold.");
        visitor.field(
            "span_days_max",
            &mut self.span_days,
            whole(1..=36_600),
            "How many days a query's `from` and `until` may lie apart.",
        );
        visitor.field(
            "trust_forwarded_for",
            &mut self.trust_forwarded_for,
            boolean(),
            "Take the last address in X-Forwarded-For for the client's: right only behind a proxy that sets it, past which nobody can reach this.",
        );
    }
}

/// Why a client has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Too many requests.
    Requests,
    /// Too many wrong tokens.
    WrongTokens,
    /// Too many streams.
    Streams,
}

impl Excess {
    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::WrongTokens => "wrong_tokens",
            Self::Streams => "streams",
        }
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requests => "too many requests",
            Self::WrongTokens => "too many wrong tokens",
            Self::Streams => "too many open streams",
        })
    }
}

/// Counts what clients do.
pub(crate) struct Gate {
    limits: Limits,
    requests: DefaultKeyedRateLimiter<Peer>,
    wrong: DefaultKeyedRateLimiter<Peer>,
    /// Clients that are refused, and until when.
    shut: Mutex<HashMap<Peer, Instant>>,
    streams: Arc<Semaphore>,
    streams_by: Counted,
    clock: DefaultClock,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        let requests = Quota::per_second(limits.requests_per_s).allow_burst(limits.requests_burst);
        Self {
            limits,
            requests: DefaultKeyedRateLimiter::keyed(requests),
            wrong: DefaultKeyedRateLimiter::keyed(Quota::per_minute(limits.wrong_tokens_per_min)),
            shut: Mutex::default(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            streams_by: Counted::default(),
            clock: DefaultClock::default(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a request.
    pub(crate) fn request(&self, peer: Peer) -> Result<(), ApiError> {
        self.requests.check_key(&peer).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            ApiError::TooMany { what: Excess::Requests, wait }
        })
    }

    /// Whether a client may show a token.
    pub(crate) fn may_show_token(&self, peer: Peer) -> Result<(), ApiError> {
        let until = lock(&self.shut).get(&peer).copied();
        match until.and_then(|until| until.checked_duration_since(Instant::now())) {
            Some(wait) if !wait.is_zero() => Err(ApiError::TooMany { what: Excess::WrongTokens, wait }),
            _ => Ok(()),
        }
    }

    /// Counts a wrong token. Who has shown too many is refused for a while, also with the right one: otherwise a guess would
    /// be told from the right token all the same.
    pub(crate) fn wrong_token(&self, peer: Peer) {
        let Err(until) = self.wrong.check_key(&peer) else { return };
        let wait = until.wait_time_from(self.clock.now());
        tracing::warn!(peer = %peer.0, wait_s = wait.as_secs(), "too many wrong tokens: this client has to wait");
        lock(&self.shut).insert(peer, Instant::now() + wait);
    }

    /// Opens a stream.
    pub(crate) fn stream(&self, peer: Peer) -> Result<StreamPermit, ApiError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| ApiError::Busy("streams"))?;
        let excess = ApiError::TooMany { what: Excess::Streams, wait: Duration::from_secs(5) };
        let counted = self.streams_by.one_more(peer, self.limits.streams_per_client).ok_or(excess)?;
        Ok(StreamPermit { _counted: counted, _all: permit })
    }

    /// Forgets clients that have not been heard of for so long that nothing counts against them.
    pub(crate) fn forget(&self) {
        self.requests.retain_recent();
        self.requests.shrink_to_fit();
        self.wrong.retain_recent();
        self.wrong.shrink_to_fit();
        let now = Instant::now();
        lock(&self.shut).retain(|_, until| *until > now);
    }
}

/// A place for one open stream.
pub(crate) struct StreamPermit {
    _counted: CountedOne,
    _all: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::at([192, 0, 2, last].into())
    }

    #[test]
    fn one_client_in_excess_does_not_cost_another_anything() {
        let limits = Limits { requests_per_s: at_least_one(1), requests_burst: at_least_one(3), ..Limits::default() };
        let gate = Gate::new(limits);
        for _ in 0..3 {
            gate.request(peer(1)).unwrap();
        }
        let Err(ApiError::TooMany { what: Excess::Requests, wait }) = gate.request(peer(1)) else { panic!("a fourth") };
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        gate.request(peer(2)).unwrap();
    }

    #[test]
    fn who_guesses_has_to_wait() {
        let gate = Gate::new(Limits { wrong_tokens_per_min: at_least_one(2), ..Limits::default() });
        for _ in 0..2 {
            gate.may_show_token(peer(1)).unwrap();
            gate.wrong_token(peer(1));
        }
        gate.may_show_token(peer(1)).expect("the last wrong one was within the limit");
        gate.wrong_token(peer(1));
        let Err(ApiError::TooMany { what: Excess::WrongTokens, wait }) = gate.may_show_token(peer(1)) else {
            panic!("it may go on")
        };
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        gate.may_show_token(peer(2)).unwrap();
        gate.forget();
        assert!(gate.may_show_token(peer(1)).is_err(), "forgetting keeps what counts");
    }

    #[test]
    fn a_stream_that_ended_counts_no_longer() {
        let gate = Gate::new(Limits { streams: 3, streams_per_client: 2, ..Limits::default() });
        let mine = [gate.stream(peer(1)).unwrap(), gate.stream(peer(1)).unwrap()];
        assert!(matches!(gate.stream(peer(1)), Err(ApiError::TooMany { what: Excess::Streams, .. })));
        let others = gate.stream(peer(2)).unwrap();
        assert!(matches!(gate.stream(peer(3)), Err(ApiError::Busy(_))));
        drop((mine, others));
        assert!(gate.streams_by.is_empty());
        gate.stream(peer(1)).unwrap();
    }
}
