//! Where a source is, with its credentials kept out of every log and error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use crate::{ExposeSecret, SecretString};

/// A text that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No text at all.
    #[error("the camera's URL is empty")]
    Empty,
    /// Of a kind that is not taken.
    #[error("{0}:// is not supported (rtsp, http, https, file, or a path)")]
    Scheme(String),
    /// Not a URL.
    #[error("the camera's {scheme} URL cannot be read: {reason}")]
    Malformed {
        /// Its scheme.
        scheme: String,
        /// Why.
        reason: String,
    },
}

/// Where a source is. Prints without credentials.
#[derive(Clone)]
pub struct SourceUrl {
    kind: Kind,
    /// As given, credentials included.
    full: SecretString,
    redacted: String,
}

/// Which way a source is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file on disk.
    File(PathBuf),
    /// HTTP, with or without TLS.
    Http,
    /// RTSP, with or without TLS.
    Rtsp,
}

impl SourceUrl {
    /// Where it is, without user name, password and query, which may hold a token.
    pub fn redacted(&self) -> String {
        self.redacted.clone()
    }

    /// Whether this is a file on disk.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// Whether this is a camera by its protocol: it goes on whether we read it or not.
    pub fn is_camera(&self) -> bool {
        self.kind == Kind::Rtsp
    }

    /// Whether both are the same, credentials included.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }

    /// Whether it names somebody.
    pub fn has_credentials(&self) -> bool {
        Url::parse(self.expose()).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
    }

    /// The same place, as `user` with `password`: instead of those that it names, if it does.
    ///
    /// # Errors
    /// Where it is a file, which nobody logs in to.
    pub fn with_credentials(&self, user: &str, password: &str) -> Result<Self, InvalidUrl> {
        let bad = |reason: &str| InvalidUrl::Malformed { scheme: "file".to_owned(), reason: reason.to_owned() };
        let mut url = Url::parse(self.expose()).map_err(|_| bad("a file takes no user and password"))?;
        let set = url.set_username(user).and_then(|()| url.set_password(Some(password)));
        set.map_err(|()| bad("a file takes no user and password"))?;
        url.as_str().parse()
    }

    /// Which way it is read.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Where a file is; none where it is no file.
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File(path) => Some(path),
            Kind::Http | Kind::Rtsp => None,
        }
    }

    /// With credentials: for the connection itself and for nothing else.
    pub fn expose(&self) -> &str {
        self.full.expose_secret()
    }

    /// Takes this URL's secrets out of a text that a library wrote.
    pub fn scrub(&self, text: &str) -> String {
        let mut clean = text.replace(self.expose(), &self.redacted);
        if let Ok(url) = Url::parse(self.expose()) {
            for secret in [url.password(), url.query(), Some(url.username())].into_iter().flatten() {
                if !secret.is_empty() {
                    clean = clean.replace(secret, "***");
                }
            }
        }
        clean
    }
}

impl FromStr for SourceUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidUrl::Empty);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let kind = match scheme.as_deref() {
            Some("rtsp" | "rtsps") => Kind::Rtsp,
            Some("http" | "https") => Kind::Http,
            Some("file") | None => return Ok(Self::file(text)),
            Some(other) => return Err(InvalidUrl::Scheme(other.chars().take(32).collect())),
        };
        let bad = |reason: String| InvalidUrl::Malformed { scheme: scheme.clone().unwrap_or_default(), reason };
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host".to_owned()));
        }
        Ok(Self { kind, redacted: redact(url), full: text.to_owned().into() })
    }
}

impl SourceUrl {
    fn file(text: &str) -> Self {
        let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
        let kind = Kind::File(PathBuf::from(path));
        Self { kind, full: path.to_owned().into(), redacted: format!("file:{path}") }
    }
}

fn redact(mut url: Url) -> String {
    // Both fail only for URLs without a host, and those were refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.set_fragment(None);
    url.to_string()
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_form_is_known_by_its_scheme() {
        let kind = |text: &str| text.parse::<SourceUrl>().map(|url| url.kind);
        assert_eq!(kind("rtsp://cam/1"), Ok(Kind::Rtsp));
        assert_eq!(kind("HTTPS://cam/a.ts"), Ok(Kind::Http));
        for text in ["file:/v/a b.mp4", "file:///v/a b.mp4", "/v/a b.mp4"] {
            assert_eq!(kind(text), Ok(Kind::File("/v/a b.mp4".into())), "{text}");
        }
        assert_eq!(kind("a:b.mp4"), Ok(Kind::File("a:b.mp4".into())));
        assert_eq!(kind("rtmp://cam/1"), Err(InvalidUrl::Scheme("rtmp".to_owned())));
        assert_eq!(kind(" "), Err(InvalidUrl::Empty));
        assert!(matches!(kind("http://"), Err(InvalidUrl::Malformed { .. })));
    }

    #[test]
    fn credentials_show_nowhere() {
        let text = "rtsp://admin:s3cr%40t@10.0.0.7:554/live?token=abc123";
        let url: SourceUrl = text.parse().unwrap();
        let scrubbed = url.scrub(&format!("cannot open {text}: 401 for admin, s3cr%40t, token=abc123"));
        for shown in [url.to_string(), format!("{url:?}"), url.redacted(), scrubbed] {
            for secret in ["admin", "s3cr", "abc123"] {
                assert!(!shown.contains(secret), "{shown}");
            }
            assert!(shown.contains("10.0.0.7:554/live"), "{shown}");
        }
        assert_eq!(url.expose(), text);
        let bad = "rtsp://admin:s3cret@ho st/".parse::<SourceUrl>().unwrap_err();
        assert!(!format!("{bad} {bad:?}").contains("s3cret"));
    }
}
