//! What happens to every request before and after its handler: counting, access, limits, headers.

use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use detektor_runtime::http::Peer;
use futures::FutureExt;

use crate::api::Api;
use crate::auth::{Access, Tokens};
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
    // Not `no-referrer`: with that a browser hides from us, too, that a form is ours.
    (header::REFERRER_POLICY, "same-origin"),
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

async fn answer(api: &Api, mut request: Request, next: Next) -> Response {
    let client = client(api, request.headers(), request.extensions());
    if let Err(error) = api.gate().request(client) {
        return refused(api, error);
    }
    if api.tokens().is_empty() && !api.is_open() && !is_loopback(request.headers(), request.uri()) {
        return ApiError::Misdirected.into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && is_foreign(request.headers()) {
        return ApiError::Forbidden("a page of another site may not change anything here").into_response();
    }
    let path = request.uri().path();
    if !page::is_public(path) {
        let access = match access(api, request.headers(), client) {
            Ok(Some(access)) => access,
            Ok(None) if path == "/" && reads => return page::login(false),
            Ok(None) => return ApiError::Unauthorized.into_response(),
            Err(error) => return refused(api, error),
        };
        let admin = request.extensions().get::<MatchedPath>().is_some_and(|route| needs_admin(route.as_str(), reads));
        if admin && access < Access::Admin {
            return ApiError::Forbidden("this needs the admin token").into_response();
        }
        request.extensions_mut().insert(access);
    }
    request.extensions_mut().insert(client);
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout { seconds: TIME_LIMIT.as_secs() }.into_response(),
    }
}

fn refused(api: &Api, error: ApiError) -> Response {
    if let ApiError::TooMany { what, .. } = &error {
        api.metrics().refused(*what);
    }
    error.into_response()
}

/// What only the admin token opens: all that changes something, and what lies below `/v1/admin`.
fn needs_admin(route: &str, reads: bool) -> bool {
    route.starts_with("/v1/") && !reads || route.starts_with("/v1/admin/")
}

/// What a request may do. A wrong token counts against the client.
fn access(api: &Api, headers: &HeaderMap, client: Peer) -> Result<Option<Access>, ApiError> {
    let tokens = api.tokens();
    if tokens.is_empty() {
        // Where everybody is let in without a token, nobody is known to be more than a reader.
        return Ok(Some(if api.is_open() { Access::Read } else { Access::Admin }));
    }
    if !Tokens::are_shown(headers) {
        return Ok(None);
    }
    api.gate().may_show_token(client)?;
    let access = tokens.access(headers);
    if access.is_none() {
        api.gate().wrong_token(client);
    }
    Ok(access)
}

/// Whether a request for what is served beside the API, such as numbers, shows a token where one is asked for.
pub(crate) fn admits(api: &Api, parts: &Parts) -> bool {
    let client = client(api, &parts.headers, &parts.extensions);
    api.tokens().is_empty() || matches!(access(api, &parts.headers, client), Ok(Some(_)))
}

/// Who asks: the other end of the connection, or whom the proxy there names.
fn client(api: &Api, headers: &HeaderMap, extensions: &Extensions) -> Peer {
    let peer = extensions.get::<Peer>().copied().unwrap_or(Peer(Ipv4Addr::UNSPECIFIED.into()));
    if !api.gate().limits().trust_forwarded_for {
        return peer;
    }
    // What stands before the last address was not written by our proxy, but by whoever it heard it from.
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let address = last.and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
    address.map_or(peer, Peer::at)
}

/// Whether a browser says that another site's page sent this. Programs say nothing of the kind.
fn is_foreign(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN).map(HeaderValue::as_bytes) else { return false };
    let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let named = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    named.is_none_or(|named| !named.eq_ignore_ascii_case(host))
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
    fn another_sites_page_is_told_from_ours() {
        let is = |given: &[(&'static str, &str)]| {
            let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
            is_foreign(&given.iter().map(pair).collect())
        };
        for ours in [
            &[][..],
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://10.0.0.1:8080"), ("host", "10.0.0.1:8080")],
            &[("origin", "https://Cameras.example"), ("host", "cameras.example")],
        ] {
            assert!(!is(ours), "{ours:?}");
        }
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "http://a"), ("host", "a")],
            &[("origin", "http://evil.example"), ("host", "localhost:8080")],
            &[("origin", "http://localhost:9090"), ("host", "localhost:8080")],
            &[("origin", "null"), ("host", "localhost:8080")],
            &[("origin", "http://localhost:8080")],
        ] {
            assert!(is(foreign), "{foreign:?}");
        }
    }

    #[test]
    fn whatever_changes_something_needs_the_admin_token() {
        assert!(needs_admin("/v1/admin/cameras", true) && needs_admin("/v1/anything/new", false));
        assert!(!needs_admin("/v1/events", true) && !needs_admin("/login", false));
    }

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
