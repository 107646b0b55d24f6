//! Entity tags (RFC 9110, 8.8.3).

use axum::http::{HeaderMap, header};
use detektor_contract::Digest;

/// A strong tag.
pub(crate) fn of(content: Digest) -> String {
    format!("\"{content}\"")
}

/// Whether `If-None-Match` names `tag`, or everything. Weak comparison, as for GET and HEAD.
pub(crate) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut named = lines.flat_map(|line| line.split(',')).map(str::trim);
    named.any(|name| name == "*" || name.strip_prefix("W/").unwrap_or(name) == tag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list() {
        let tag = of(Digest::of(b"x"));
        let ask = |text: &str| HeaderMap::from_iter([(header::IF_NONE_MATCH, text.parse().unwrap())]);
        assert!(matches(&ask(&format!("\"a\", W/{tag}")), &tag));
        assert!(matches(&ask("*"), &tag));
        assert!(!matches(&ask("\"a\""), &tag));
        assert!(!matches(&HeaderMap::new(), &tag));
    }
}
