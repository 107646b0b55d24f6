//! A camera's address by its name, also where a DNS server has just died.
//!
//! The system's resolver asks again by the very socket that it asked by before. A cluster's network takes all that comes by one
//! socket to one DNS server; so whoever has hit on a dead one hears nothing for ten seconds, for as long as the cluster thinks that
//! it lives. Here each try has a socket of its own, and the next goes out a tenth of a second later, while the last is still waited
//! for.

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::{interval, timeout};
use url::{Host, Url};

/// A server that lives has answered by then, nearly always; the resolver itself asks again after a third of a second.
const NEXT_TRY: Duration = Duration::from_millis(100);
/// So many tries are waited for at once.
const TRIES: usize = 10;
/// A try asks so long, and so often.
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
    // Read anew each time: the system's configuration may have changed.
    let Ok((config, options)) = read_system_conf() else { return };
    if let Some(address) = only_address(&config, &options, name, patience).await {
        // It has a host, so it can have this one.
        _ = url.set_ip_host(address);
    }
}

async fn only_address(
    config: &ResolverConfig,
    options: &ResolverOpts,
    name: &str,
    patience: Duration,
) -> Option<IpAddr> {
    let found = timeout(patience, first_answer(config, options, name)).await.ok()??;
    let mut addresses = found.iter();
    addresses.next().filter(|_| addresses.next().is_none())
}

/// What the first try that is answered found. Once one has failed there are no more; none if all have.
async fn first_answer(config: &ResolverConfig, options: &ResolverOpts, name: &str) -> Option<LookupIp> {
    let (mut tries, mut failed) = (FuturesUnordered::new(), false);
    let mut next = interval(NEXT_TRY);
    loop {
        tokio::select! {
            Some(answer) = tries.next() => match answer {
                Ok(found) => return Some(found),
                Err(_) => failed = true,
            },
            _ = next.tick(), if !failed && tries.len() < TRIES => {
                // A resolver of its own: one puts the same question once at a time.
                let resolver = resolver(config.clone(), options.clone())?;
                tries.push(async move { resolver.lookup_ip(name).await });
            }
            else => return None,
        }
    }
}

fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Option<TokioResolver> {
    (options.timeout, options.attempts) = (ROUND, ROUNDS);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.with_options(options).build().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
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

    async fn ask(deaf_to: usize) -> Option<IpAddr> {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = server.local_addr().unwrap();
        tokio::spawn(answer(server, deaf_to));
        let mut udp = ConnectionConfig::udp();
        udp.port = at.port();
        let servers = vec![NameServerConfig::new(at.ip(), true, vec![udp])];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        only_address(&config, &ResolverOpts::default(), "camera.example.", PATIENCE).await
    }

    #[tokio::test]
    async fn whoever_is_not_answered_by_one_socket_asks_by_another() {
        assert_eq!(ask(4).await, Some(IpAddr::from([192, 0, 2, 7])));
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_stays() {
        assert_eq!(ask(usize::MAX).await, None);
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
