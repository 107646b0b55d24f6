//! Range requests of one range (RFC 9110, 14).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What of a representation is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it. Also where several ranges are asked for, or the range cannot be understood: both may be ignored.
    Whole,
    /// These bytes; not empty.
    Part(Range<u64>),
    /// Only bytes that are not there.
    Nothing,
}

/// What is asked of `total` bytes that `tag` names.
pub(crate) fn asked(headers: &HeaderMap, total: u64, tag: &str) -> Asked {
    // A range of what the client had before is worth nothing if it is another file now.
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != tag.as_bytes()) {
        return Asked::Whole;
    }
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Asked::Whole };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let number =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    let range = match (first, last) {
        ("", suffix) => match number(suffix) {
            Some(bytes) => total.saturating_sub(bytes)..total,
            None => return Asked::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => first..total,
            None => return Asked::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(total),
            _ => return Asked::Whole,
        },
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Nothing }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ask(range: &str) -> Asked {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
        asked(&headers, 100, "\"a\"")
    }

    #[test]
    fn ranges_are_read_as_the_protocol_says() {
        assert_eq!(ask("bytes=0-0"), Asked::Part(0..1));
        assert_eq!(ask("bytes=0-"), Asked::Part(0..100));
        assert_eq!(ask("bytes=90-1000"), Asked::Part(90..100));
        assert_eq!(ask("bytes=-10"), Asked::Part(90..100));
        assert_eq!(ask("bytes=-1000"), Asked::Part(0..100));
        for behind in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=18446744073709551615-"] {
            assert_eq!(ask(behind), Asked::Nothing, "{behind}");
        }
        for ignored in ["bytes=5-4", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=+1-2", "bytes=--1"] {
            assert_eq!(ask(ignored), Asked::Whole, "{ignored}");
        }
        assert_eq!(asked(&HeaderMap::new(), 100, "\"a\""), Asked::Whole);
    }

    #[test]
    fn a_range_of_another_version_is_the_whole_of_this_one() {
        let mut headers = HeaderMap::from_iter([(header::RANGE, "bytes=0-9".parse().unwrap())]);
        headers.insert(header::IF_RANGE, "\"b\"".parse().unwrap());
        assert_eq!(asked(&headers, 100, "\"a\""), Asked::Whole);
        headers.insert(header::IF_RANGE, "\"a\"".parse().unwrap());
        assert_eq!(asked(&headers, 100, "\"a\""), Asked::Part(0..10));
    }
}
