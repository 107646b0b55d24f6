//! Who may read: tokens, as a bearer header or as the cookie that the login form sets.

use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Form};
use detektor_runtime::http::Peer;
use serde::Deserialize;

use crate::api::Api;
use crate::page;
use crate::problem::ApiError;

const COOKIE: &str = "detektor";
const COOKIE_CONTEXT: &str = "detektor events API 2026-01 cookie";

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read everything.
    Read,
    /// Read, and change what can be changed.
    Admin,
}

/// The tokens that are asked for. Without any, whoever reaches the server may do everything; then it answers on loopback only.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Access, Token)>);

/// Only hashes are kept. Comparing hashes takes the same time wherever they differ.
#[derive(Clone)]
struct Token {
    bearer: blake3::Hash,
    cookie: blake3::Hash,
}

impl Token {
    fn new(secret: &str) -> Self {
        let cookie = blake3::Hash::from_bytes(blake3::derive_key(COOKIE_CONTEXT, secret.as_bytes()));
        Self { bearer: blake3::hash(secret.as_bytes()), cookie }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// The read-only and the admin token; an empty one counts as none.
    pub fn new(read: Option<&str>, admin: Option<&str>) -> Self {
        let given = [(Access::Read, read), (Access::Admin, admin)];
        let token = |(access, secret): (Access, Option<&str>)| {
            secret.filter(|secret| !secret.is_empty()).map(|secret| (access, Token::new(secret)))
        };
        Self(given.into_iter().filter_map(token).collect())
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the bearer of `secret` may do.
    fn bearer(&self, secret: &str) -> Option<Access> {
        let hash = blake3::hash(secret.as_bytes());
        self.best(|token| token.bearer == hash)
    }

    fn cookie(&self, value: &str) -> Option<Access> {
        let hash = blake3::Hash::from_hex(value).ok()?;
        self.best(|token| token.cookie == hash)
    }

    /// Looks at every token, whichever fits.
    fn best(&self, fits: impl Fn(&Token) -> bool) -> Option<Access> {
        self.0.iter().filter(|(_, token)| fits(token)).map(|(access, _)| *access).max()
    }

    /// Whether a request shows a token at all, right or wrong.
    pub(crate) fn are_shown(headers: &HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION) || cookies(headers).next().is_some()
    }

    /// What a request may do; none if it may do nothing.
    pub(crate) fn access(&self, headers: &HeaderMap) -> Option<Access> {
        if self.is_empty() {
            return Some(Access::Admin);
        }
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(text) = authorization {
            let (scheme, secret) = text.split_once(' ')?;
            return if scheme.eq_ignore_ascii_case("bearer") { self.bearer(secret.trim()) } else { None };
        }
        cookies(headers).filter_map(|value| self.cookie(value)).max()
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
}

/// `POST /login`: trades a token for a cookie that holds a value derived from it.
pub(crate) async fn login(
    State(api): State<Api>,
    Extension(client): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<Login>, FormRejection>,
) -> Result<Response, ApiError> {
    let Form(Login { token }) = form.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
        _ => ApiError::Body("expected a form with the field 'token'".to_owned()),
    })?;
    let secret = token.trim();
    api.gate().may_show_token(client)?;
    if api.tokens().bearer(secret).is_none() {
        api.gate().wrong_token(client);
        return Ok(page::login(true));
    }
    Ok(back_to_page(&headers, &Token::new(secret).cookie.to_hex(), 30 * 86_400))
}

/// `POST /logout`: forgets the cookie.
pub(crate) async fn logout(headers: HeaderMap) -> Response {
    back_to_page(&headers, "", 0)
}

/// Tells the browser to forget a cookie, so that it does not show one that is wrong again and again.
pub(crate) fn forgotten() -> String {
    format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
}

fn back_to_page(headers: &HeaderMap, value: &str, max_age_s: u32) -> Response {
    let https = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if https { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_opens_as_header_and_as_cookie() {
        let tokens = Tokens::new(Some("look"), Some("rule"));
        let bearer = |text: &str| tokens.access(&with(header::AUTHORIZATION, text));
        assert_eq!(bearer("Bearer look"), Some(Access::Read));
        assert_eq!(bearer("bearer rule"), Some(Access::Admin));
        for wrong in ["Bearer look2", "Bearer ", "Basic look", "look", "Bearer"] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
        let cookie = Token::new("look").cookie.to_hex();
        assert_eq!(tokens.access(&with(header::COOKIE, &format!("a=b; detektor={cookie}"))), Some(Access::Read));
        assert_eq!(tokens.access(&with(header::COOKIE, "detektor=look")), None);
        assert_eq!(tokens.access(&HeaderMap::new()), None);
        assert_eq!(Tokens::new(Some(""), None).access(&HeaderMap::new()), Some(Access::Admin));
        assert!(!format!("{tokens:?}").contains("look"));
    }
}
