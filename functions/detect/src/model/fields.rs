//! Reads a TOML table field by field and goes on after a mistake, so that all of them are told at once.

use toml::{Table, Value};

use super::{Mistake, Mistakes};

/// Collects mistakes.
#[derive(Default)]
pub(super) struct Log(Vec<Mistake>);

impl Log {
    pub(super) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Mistake { field: field.into(), problem: problem.into() });
    }

    pub(super) fn finish(self) -> Result<(), Mistakes> {
        if self.0.is_empty() { Ok(()) } else { Err(Mistakes(self.0)) }
    }
}

/// One table of a manifest. A field that is asked for counts as known; [`Section::finish`] reports the others.
pub(super) struct Section<'a> {
    name: &'static str,
    table: Option<&'a Table>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Table) -> Self {
        Self { name: "", table: Some(table), known: Vec::new() }
    }

    /// A table within this one; where it is missing, that is one mistake, and its fields are not missed one by one.
    pub(super) fn section(&mut self, name: &'static str, required: bool, log: &mut Log) -> Section<'a> {
        let table = match self.get(name) {
            Some(Value::Table(table)) => Some(table),
            Some(_) => {
                log.add(name, "expected a table");
                None
            }
            None if required => {
                log.add(name, "missing table");
                None
            }
            None => None,
        };
        Section { name, table, known: Vec::new() }
    }

    fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.table?.get(field)
    }

    /// A field's full name.
    pub(super) fn path(&self, field: &str) -> String {
        if self.name.is_empty() { field.to_owned() } else { format!("{}.{field}", self.name) }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(field))
    }

    /// A field as `read` understands it; `expected` says what that is.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        log: &mut Log,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(field)?;
        let read = read(value);
        if read.is_none() {
            log.add(self.path(field), format!("expected {expected}, found {}", brief(value)));
        }
        read
    }

    /// Like [`Section::optional`], but a mistake where the field is missing.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        log: &mut Log,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if self.table.is_some() && !self.has(field) {
            log.add(self.path(field), format!("missing: expected {expected}"));
        }
        self.optional(field, expected, log, read)
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, field: &'static str, log: &mut Log) -> Option<String> {
        self.required(field, "a text", log, text)
    }

    /// Reports the fields that nobody asked for.
    pub(super) fn finish(self, log: &mut Log) {
        for key in self.table.into_iter().flat_map(Table::keys) {
            if !self.known.contains(&key.as_str()) {
                log.add(self.path(key), "unknown field");
            }
        }
    }
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A finite number.
pub(super) fn number(value: &Value) -> Option<f32> {
    let number = value.as_float().or_else(|| value.as_integer().map(|i| i as f64))? as f32;
    number.is_finite().then_some(number)
}

/// A number within a range.
pub(super) fn number_in(range: std::ops::RangeInclusive<f32>) -> impl Fn(&Value) -> Option<f32> {
    move |value| number(value).filter(|n| range.contains(n))
}

/// A whole number within a range.
pub(super) fn whole_in(range: std::ops::RangeInclusive<u32>) -> impl Fn(&Value) -> Option<u32> {
    move |value| u32::try_from(value.as_integer()?).ok().filter(|n| range.contains(n))
}

/// A list of at least one, each as `read` understands it.
pub(super) fn list<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array().filter(|list| !list.is_empty())?.iter().map(read).collect()
}

/// A list of exactly N.
pub(super) fn exactly<const N: usize, T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<[T; N]> {
    list(value, read)?.try_into().ok()
}

/// One of some words.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Value) -> Option<T> {
    move |value| words.iter().find(|(word, _)| value.as_str() == Some(word)).map(|(_, meaning)| *meaning)
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
