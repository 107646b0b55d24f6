//! What a field may be.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::{Table, Value};

/// Longer values are cut in messages.
const SHOWN: usize = 60;

/// Why a value was not read, beyond that it is not what was expected; may be empty.
type Detail = String;

type Read<T> = Box<dyn Fn(&Value) -> Result<T, Detail>>;

/// What a value may be, in words and as the function that reads it.
pub struct Form<T> {
    expected: String,
    read: Read<T>,
}

impl<T: 'static> Form<T> {
    /// What `read` understands; `expected` says what that is.
    pub fn new(expected: impl Into<String>, read: impl Fn(&Value) -> Option<T> + 'static) -> Self {
        Self { expected: expected.into(), read: Box::new(move |value| read(value).ok_or_else(Detail::new)) }
    }

    /// What it expects, in words.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Reads a value.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn read(&self, value: &Value) -> Result<T, String> {
        (self.read)(value).map_err(|detail| self.problem(value, &detail))
    }

    /// Reads a flag's or an environment variable's text: as it stands, or as the TOML value that it spells.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn parse(&self, text: &str) -> Result<T, String> {
        let quoted = Value::String(text.to_owned());
        (self.read)(&quoted).or_else(|detail| {
            let spelt = text.parse::<Value>().ok().and_then(|value| (self.read)(&value).ok());
            spelt.ok_or_else(|| self.problem(&quoted, &detail))
        })
    }

    fn problem(&self, value: &Value, detail: &str) -> String {
        let because = if detail.is_empty() { "" } else { ": " };
        format!("expected {}, found {}{because}{detail}", self.expected, brief(value))
    }

    /// What `with` makes of it.
    pub fn map<U: 'static>(self, with: impl Fn(T) -> U + 'static) -> Form<U> {
        Form { expected: self.expected, read: Box::new(move |value| (self.read)(value).map(&with)) }
    }

    /// Only those that are `good`; `expected` says which.
    pub fn filter(self, expected: impl Into<String>, good: impl Fn(&T) -> bool + 'static) -> Self {
        let read = move |value: &Value| {
            let read = (self.read)(value)?;
            if good(&read) { Ok(read) } else { Err(Detail::new()) }
        };
        Self { expected: expected.into(), read: Box::new(read) }
    }

    /// Either this or the other.
    pub fn or(self, other: Self) -> Self {
        let expected = format!("{}, or {}", self.expected, other.expected);
        Self::new(expected, move |value| (self.read)(value).or_else(|_| (other.read)(value)).ok())
    }
}

/// A text that is not empty.
pub fn text() -> Form<String> {
    Form::new("a text in quotes", |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}

/// A text that its type's `FromStr` understands.
pub fn parsed<T: FromStr<Err: Display> + 'static>(expected: &str) -> Form<T> {
    let read = |value: &Value| {
        let text = value.as_str().ok_or_else(Detail::new)?;
        text.parse().map_err(|error: T::Err| error.to_string())
    };
    Form { expected: expected.to_owned(), read: Box::new(read) }
}

/// One of some words, each with its meaning.
pub fn word<T: Clone + 'static, const N: usize>(words: [(&'static str, T); N]) -> Form<T> {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let expected = match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    };
    let meaning = move |value: &Value| {
        let found = words.iter().find(|(word, _)| value.as_str() == Some(*word));
        found.map(|(_, meaning)| meaning.clone())
    };
    Form::new(expected, meaning)
}

/// True or false.
pub fn boolean() -> Form<bool> {
    Form::new("true or false", Value::as_bool)
}

/// A whole number within a range.
pub fn whole<N>(range: RangeInclusive<N>) -> Form<N>
where
    N: TryFrom<i64> + PartialOrd + Display + 'static,
{
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let read = move |value: &Value| N::try_from(value.as_integer()?).ok().filter(|number| range.contains(number));
    Form::new(expected, read)
}

/// A finite number.
pub fn number() -> Form<f64> {
    let read = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
    Form::new("a number", move |value| read(value).filter(|number| number.is_finite()))
}

/// A number from 0 to 1.
pub fn fraction() -> Form<f64> {
    number().filter("a number from 0 to 1", |number| (0.0..=1.0).contains(number))
}

/// A list, perhaps empty, of items of one form.
pub fn list<T: 'static>(item: Form<T>) -> Form<Vec<T>> {
    let expected = format!("a list in brackets, each {}", item.expected);
    let read = move |value: &Value| {
        let items = value.as_array().ok_or_else(Detail::new)?;
        let each = items.iter().enumerate();
        each.map(|(index, value)| item.read(value).map_err(|problem| format!("item {}: {problem}", index + 1)))
            .collect()
    };
    Form { expected, read: Box::new(read) }
}

/// A list of exactly N items of one form.
pub fn exactly<const N: usize, T: 'static>(expected: &str, item: Form<T>) -> Form<[T; N]> {
    let items = list(item);
    Form::new(expected, move |value| (items.read)(value).ok()?.try_into().ok())
}

/// A table.
pub(super) fn table() -> Form<Table> {
    Form::new("a table", |value| value.as_table().cloned())
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
