//! What one server takes of connections, and of one peer's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fields::settings::{Settings, Visitor};
use crate::fields::whole;

/// How many connections a server takes, and how long and large what they send may be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once from one address; further ones are closed.
    pub per_peer: usize,
    /// How long a client may take to send a request's head.
    pub head: Duration,
    /// How large a request's head may be, in bytes.
    pub head_bytes: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { connections: 1024, per_peer: 256, head: Duration::from_secs(10), head_bytes: 32 << 10 }
    }
}

impl Settings for ConnectionLimits {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.field(
            "connections_max",
            &mut self.connections,
            whole(1..=65_536),
            "Connections at once; further ones wait.",
        );
        visitor.field(
            "connections_per_peer_max",
            &mut self.per_peer,
            whole(1..=65_536),
            "Connections at once from one address (of IPv6: one /64 network); further ones are closed.",
        );
        visitor.field(
            "head_ms",
            &mut self.head,
            whole(100..=600_000).map(Duration::from_millis),
            "How long a client may take to send a request's head.",
        );
        visitor.field(
            "head_bytes_max",
            &mut self.head_bytes,
            whole(8_192..=1_048_576),
            "How large a request's head may be.",
        );
    }
}

/// Who is at the other end of a request's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The peer at an address. Of IPv6 its /64 network: that is what one customer has.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::at(address.ip())
    }
}

/// Counts what peers have open. Clones count together.
#[derive(Clone, Default)]
pub struct Counted(Arc<Mutex<HashMap<Peer, usize>>>);

/// One that is counted until it is dropped.
pub struct CountedOne {
    counted: Counted,
    peer: Peer,
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has anything open.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Counts one more; none if the peer has `most` already.
    pub fn one_more(&self, peer: Peer, most: usize) -> Option<CountedOne> {
        let mut counts = self.lock();
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(CountedOne { counted: self.clone(), peer })
    }
}

impl Drop for CountedOne {
    fn drop(&mut self) {
        let mut counts = self.counted.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_peer_is_an_address_or_a_network() {
        let peer = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::2:3"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn what_is_closed_counts_no_longer() {
        let (counted, peer) = (Counted::default(), Peer::at("192.0.2.1".parse().unwrap()));
        let one = counted.one_more(peer, 2).unwrap();
        let two = counted.one_more(peer, 2).unwrap();
        assert!(counted.one_more(peer, 2).is_none());
        assert!(counted.one_more(Peer::at("192.0.2.2".parse().unwrap()), 2).is_some());
        drop(one);
        assert!(counted.one_more(peer, 2).is_some());
        drop(two);
        assert!(counted.is_empty());
    }
}
