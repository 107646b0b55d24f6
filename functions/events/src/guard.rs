//! What happens to every request before and after its handler: counting, access, limits, headers.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use crate::api::Api;
use crate::page;
use crate::problem::ApiError;

/// Until the answer's headers; bodies that stream take as long as they take.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// What the page may load: itself. Nothing inline, nothing from elsewhere, nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// Counts requests and sets the security headers, also on errors and after a panic.
pub(crate) async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let begin = Instant::now();
    let answer = AssertUnwindSafe(answer(&api, request, next)).catch_unwind().await;
    let mut response =
        answer.unwrap_or_else(|_| ApiError::Internal(format!("a handler of {route} panicked")).into_response());
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    api.metrics().request(&route, response.status(), begin.elapsed());
    response
}

async fn answer(api: &Api, request: Request, next: Next) -> Response {
    if api.tokens().is_empty() && !api.is_open() && !is_loopback(request.headers(), request.uri()) {
        return ApiError::Misdirected.into_response();
    }
    let path = request.uri().path();
    if !page::is_public(path) && api.tokens().access(request.headers()).is_none() {
        let wants_page = path == "/" && matches!(*request.method(), Method::GET | Method::HEAD);
        return if wants_page { page::login(false) } else { ApiError::Unauthorized.into_response() };
    }
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout { seconds: TIME_LIMIT.as_secs() }.into_response(),
    }
}

/// Whether the request names this machine itself. A page elsewhere whose name was made to resolve to 127.0.0.1 (DNS
/// rebinding) names its own host, and must not read an API that asks for no token.
fn is_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = match headers.get(header::HOST) {
        Some(value) => value.to_str().unwrap_or("?"),
        // Programs may leave it out; browsers do not.
        None => uri.authority().map_or("localhost", |authority| authority.as_str()),
    };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_loopback_names_are_loopback() {
        let is = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
            is_loopback(&headers, &Uri::from_static("/"))
        };
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", "127.9.9.9"] {
            assert!(is(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org", "10.0.0.1:80", "", "[::2]", "127.0.0.1.example.org"] {
            assert!(!is(host), "{host}");
        }
        assert!(is_loopback(&HeaderMap::new(), &Uri::from_static("/v1/events")));
    }
}
