//! The web page: files that are part of the program. They load nothing from elsewhere and need no build.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use detektor_contract::Digest;

use crate::api::Api;
use crate::auth::{self, Access};
use crate::etag;

struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

macro_rules! file {
    ($path:literal, $kind:literal, $name:literal) => {
        File { path: $path, kind: $kind, content: include_bytes!(concat!("../page/", $name)) }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const INDEX: &str = include_str!("../page/index.html");
const LOGOUT_HIDDEN: &str = "id=\"logout\" hidden";
const ACCESS: &str = "data-access=\"read\"";
const LOGOUT: &str = "id=\"logout\"";

/// Everything but the page itself holds nothing that is worth a token.
const PUBLIC: &[File] = &[
    file!("/page/api.js", "text/javascript; charset=utf-8", "api.js"),
    file!("/page/app.js", "text/javascript; charset=utf-8", "app.js"),
    file!("/page/cameras.js", "text/javascript; charset=utf-8", "cameras.js"),
    file!("/page/cards.js", "text/javascript; charset=utf-8", "cards.js"),
    file!("/page/detail.js", "text/javascript; charset=utf-8", "detail.js"),
    file!("/page/dom.js", "text/javascript; charset=utf-8", "dom.js"),
    file!("/page/format.js", "text/javascript; charset=utf-8", "format.js"),
    file!("/page/live.js", "text/javascript; charset=utf-8", "live.js"),
    file!("/page/quarantine.js", "text/javascript; charset=utf-8", "quarantine.js"),
    file!("/page/timeline.js", "text/javascript; charset=utf-8", "timeline.js"),
    file!("/page/app.css", "text/css; charset=utf-8", "app.css"),
    file!("/page/icon.svg", "image/svg+xml", "icon.svg"),
];
const LOGIN: &str = include_str!("../page/login.html");
const WRONG: &str = "<p class=\"error\" role=\"alert\">This token is not known here.</p>";

/// Paths that are served without a token.
pub(crate) fn is_public(path: &str) -> bool {
    path == "/login" || PUBLIC.iter().any(|file| file.path == path)
}

/// Where the page's files are.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    PUBLIC.iter().map(|file| file.path).chain(["/"])
}

/// The page's files.
pub(crate) fn router() -> Router<Api> {
    PUBLIC.iter().fold(Router::new().route("/", get(index)), |router, file| {
        router.route(file.path, get(move |headers: HeaderMap| async move { serve(&headers, file.kind, file.content) }))
    })
}

/// The page itself; whoever had to log in can log out, and who may change something is offered it.
async fn index(State(api): State<Api>, Extension(access): Extension<Access>, headers: HeaderMap) -> Response {
    let mut html = INDEX.replace(ACCESS, if access == Access::Admin { "data-access=\"admin\"" } else { ACCESS });
    if !api.tokens().is_empty() {
        html = html.replace(LOGOUT_HIDDEN, LOGOUT);
    }
    serve(&headers, HTML, html)
}

fn serve(headers: &HeaderMap, kind: &'static str, content: impl AsRef<[u8]> + Into<Body>) -> Response {
    let tag = etag::of(Digest::of(content.as_ref()));
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if etag::matches(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, kind)], content.into()).into_response()
}

/// The form that asks for a token; `wrong` says that the last one was not right.
pub(crate) fn login(wrong: bool) -> Response {
    let html = LOGIN.replace("<!-- wrong -->", if wrong { WRONG } else { "" });
    let headers = [
        (header::CONTENT_TYPE, HTML.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::SET_COOKIE, auth::forgotten()),
    ];
    (StatusCode::UNAUTHORIZED, headers, html).into_response()
}
