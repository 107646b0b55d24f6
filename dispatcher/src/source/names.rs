//! A camera's address by its name, also where a DNS server has just died.
//!
//! The system's resolver asks again by the very socket that it asked by before. A cluster's network takes all that comes by one
//! socket to one DNS server; so whoever has hit on a dead one hears nothing for ten seconds, for as long as the cluster thinks that
//! it lives. Here each try has a socket of its own, and the next goes out while the last is still waited for.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverOpts};
use tokio::time::timeout;
use url::{Host, Url};

/// A question is put three times within a round, a third of a second or more apart.
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 4;

/// Puts the address in place of the name, if there is just one. A name that DNS does not know (the system may know others) and one
/// with several addresses (the system tries each) stays, and so does one that nobody has answered for within `patience`.
pub(super) async fn resolve(url: &mut Url, patience: Duration) {
    let Some(Host::Domain(name)) = url.host() else { return };
    // With schemes such as RTSP's an IPv4 address counts as a name.
    if name.parse::<IpAddr>().is_ok() {
        return;
    }
    // Built anew each time: the system's configuration may have changed.
    let Ok(mut builder) = TokioResolver::builder_tokio() else { return };
    patient(builder.options_mut());
    let Ok(resolver) = builder.build() else { return };
    if let Some(address) = only_address(&resolver, name, patience).await {
        // It has a host, so it can have this one.
        _ = url.set_ip_host(address);
    }
}

fn patient(options: &mut ResolverOpts) {
    (options.timeout, options.attempts) = (ROUND, ROUNDS);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

async fn only_address(resolver: &TokioResolver, name: &str, patience: Duration) -> Option<IpAddr> {
    let found = timeout(patience, resolver.lookup_ip(name)).await.ok()?.ok()?;
    let mut addresses = found.iter();
    addresses.next().filter(|_| addresses.next().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Answers 192.0.2.7 to questions for an IPv4 address, and nothing to the first sockets that ask.
    async fn answer(server: UdpSocket, deaf_to: usize) {
        let (mut buffer, mut asked_by) = ([0; 512], BTreeSet::new());
        loop {
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            asked_by.insert(from.port());
            if asked_by.len() <= deaf_to {
                continue;
            }
            let question = &buffer[12..length];
            let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
            let ipv4 = question[end - 4..end - 2] == [0, 1];
            let mut answer = buffer[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(ipv4), 0, 0, 0, 0]);
            answer.extend(&question[..end]);
            if ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 7]);
            }
            server.send_to(&answer, from).await.unwrap();
        }
    }

    async fn resolver(deaf_to: usize) -> TokioResolver {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = server.local_addr().unwrap();
        tokio::spawn(answer(server, deaf_to));
        let mut udp = ConnectionConfig::udp();
        udp.port = at.port();
        let servers = vec![NameServerConfig::new(at.ip(), true, vec![udp])];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        patient(builder.options_mut());
        builder.build().unwrap()
    }

    #[tokio::test]
    async fn whoever_is_not_answered_by_one_socket_asks_by_another() {
        let found = only_address(&resolver(4).await, "camera.example.", PATIENCE).await;
        assert_eq!(found, Some(IpAddr::from([192, 0, 2, 7])));
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_stays() {
        assert_eq!(only_address(&resolver(usize::MAX).await, "camera.example.", PATIENCE).await, None);
    }

    #[tokio::test]
    async fn an_address_stays() {
        for address in ["rtsp://192.0.2.9:8554/a", "rtsp://[2001:db8::1]/a"] {
            let mut url = Url::parse(address).unwrap();
            resolve(&mut url, PATIENCE).await;
            assert_eq!(url.as_str(), address);
        }
    }
}
