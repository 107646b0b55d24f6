//! Query and path parameters, read so that every mistake is named at once.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use detektor_contract::{CameraId, InvalidId, Label, Score, TimeUs};

use crate::problem::{ApiError, Mistake};

/// Classes that one query may name.
const LABELS: usize = 64;
const DAY_US: i64 = 86_400_000_000;

/// A query that is being read. Whatever was not asked for by the end is a mistake too.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    mistakes: Vec<Mistake>,
}

impl Params {
    pub(crate) fn new(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        Self { pairs, mistakes: Vec::new() }
    }

    pub(crate) fn mistake(&mut self, parameter: &str, detail: impl Into<String>) {
        self.mistakes.push(Mistake { parameter: parameter.to_owned(), detail: detail.into() });
    }

    /// Every value of a parameter that may be repeated. An empty value counts as none.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (found, rest) = std::mem::take(&mut self.pairs).into_iter().partition(|(key, _)| key == name);
        self.pairs = rest;
        found.into_iter().map(|(_, value): (String, String)| value).filter(|value| !value.is_empty()).collect()
    }

    /// A parameter that `read` understands; otherwise the mistake says what was expected.
    pub(crate) fn one<T>(&mut self, name: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let values = self.all(name);
        if values.len() > 1 {
            self.mistake(name, format!("given {} times, expected once", values.len()));
            return None;
        }
        let value = values.first()?;
        let parsed = read(value);
        if parsed.is_none() {
            let shown: String = value.chars().take(80).collect();
            self.mistake(name, format!("{shown:?}: expected {expected}"));
        }
        parsed
    }

    /// A camera's name.
    pub(crate) fn camera(&mut self) -> Option<CameraId> {
        let expected = "1 to 64 letters, digits, '-' or '_', beginning with a letter or digit";
        self.one("camera", expected, |name| CameraId::new(name).ok())
    }

    /// A time in seconds.
    pub(crate) fn time(&mut self, name: &str) -> Option<TimeUs> {
        self.one(name, "a time in seconds, such as 12.5 or 1764000000", |text| {
            let seconds: f64 = text.parse().ok()?;
            (seconds.abs() <= 1e11).then(|| TimeUs((seconds * 1e6).round() as i64))
        })
    }

    /// Classes, each given by a `label`.
    pub(crate) fn labels(&mut self) -> Vec<Label> {
        let labels = self.all("label");
        if labels.len() > LABELS {
            self.mistake("label", format!("given {} times, expected at most {LABELS}", labels.len()));
        }
        labels.iter().take(LABELS).map(|label| Label::from(label.as_str())).collect()
    }

    /// `from` and `until`, where given in this order, and at most so many days apart.
    pub(crate) fn span(&mut self, most_days: u32) -> (Option<TimeUs>, Option<TimeUs>) {
        let (from, until) = (self.time("from"), self.time("until"));
        if let (Some(from), Some(until)) = (from, until)
            && from > until
        {
            self.mistake("until", "lies before 'from'");
        }
        if let (Some(from), Some(until)) = (from, until)
            && until.0.saturating_sub(from.0) > i64::from(most_days) * DAY_US
        {
            self.mistake("until", format!("lies more than {most_days} days behind 'from'"));
        }
        (from, until)
    }

    /// A score from 0 to 1.
    pub(crate) fn score(&mut self, name: &str) -> Option<Score> {
        self.one(name, "a number from 0 to 1", |text| {
            let score: f32 = text.parse().ok()?;
            (0.0..=1.0).contains(&score).then(|| Score::from_f32(score))
        })
    }

    /// How many at most: 1 to `most`.
    pub(crate) fn limit(&mut self, default: u32, most: u32) -> u32 {
        let (expected, default) = (format!("a whole number from 1 to {most}"), default.min(most));
        let read = |text: &str| text.parse().ok().filter(|n| (1..=most).contains(n));
        self.one("limit", &expected, read).unwrap_or(default)
    }

    /// Every mistake, or none.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        let mut unknown: Vec<String> = std::mem::take(&mut self.pairs).into_iter().map(|(key, _)| key).collect();
        unknown.dedup();
        for key in unknown.iter().take(16) {
            self.mistake(&key.chars().take(80).collect::<String>(), "no such parameter");
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(ApiError::Parameters(self.mistakes)) }
    }
}

/// The `{id}` in a path.
pub(crate) struct Id<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: std::str::FromStr<Err = InvalidId>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::parameter("id", "no readable text"))?;
        text.parse().map(Self).map_err(|error: InvalidId| ApiError::parameter("id", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut params = Params::new(Some("from=9&until=x&limit=0&camera=a%2Fb&min_score=NaN&what=1&camera="));
        params.span(366);
        params.camera();
        params.score("min_score");
        params.limit(50, 500);
        let Err(ApiError::Parameters(mistakes)) = params.finish() else { panic!("expected mistakes") };
        let named: Vec<&str> = mistakes.iter().map(|m| m.parameter.as_str()).collect();
        assert_eq!(named, ["until", "camera", "min_score", "limit", "what"]);
    }

    #[test]
    fn times_are_rounded_to_microseconds_and_bounded() {
        let time = |text: &str| Params::new(Some(&format!("from={text}"))).time("from");
        assert_eq!(time("1.0000005"), Some(TimeUs(1_000_001)));
        assert_eq!(time("1764000000.123456"), Some(TimeUs(1_764_000_000_123_456)));
        for bad in ["inf", "NaN", "1e12", "soon"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_span_must_not_run_backwards_and_nothing_may_be_given_twice() {
        let mut params = Params::new(Some("from=2&until=1&limit=1&limit=2"));
        params.span(366);
        params.limit(1, 9);
        let Err(ApiError::Parameters(mistakes)) = params.finish() else { panic!("expected mistakes") };
        assert_eq!(mistakes.len(), 2);
    }

    #[test]
    fn what_is_asked_for_is_bounded() {
        let labels = "&label=x".repeat(65);
        let mut params = Params::new(Some(&format!("from=0&until=86401{labels}")));
        params.span(1);
        assert_eq!(params.labels().len(), 64);
        let Err(ApiError::Parameters(mistakes)) = params.finish() else { panic!("expected mistakes") };
        let named: Vec<&str> = mistakes.iter().map(|m| m.parameter.as_str()).collect();
        assert_eq!(named, ["until", "label"]);
        let mut params = Params::new(Some("from=0&until=86400&from=&label=x"));
        params.span(1);
        params.labels();
        params.finish().unwrap();
        assert_eq!(Params::new(None).limit(50, 20), 20);
    }
}
