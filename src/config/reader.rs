//! Reads TOML tables field by field and collects every mistake, instead of stopping at the first.

use std::fmt::Display;

use toml::{Table, Value};

/// One thing that is wrong with the configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The field's full name, such as `detect.fps` or `camera[2].url`.
    pub field: String,
    /// What is wrong with it and what it may be.
    pub problem: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// A table whose fields are taken out one by one; what is left in the end is unknown.
pub struct Reader<'a> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Reader<'a> {
    /// Reads `table`, whose fields' names begin with `path`.
    pub fn new(path: impl Into<String>, table: Table, mistakes: &'a mut Vec<Mistake>) -> Self {
        Self { path: path.into(), table, known: Vec::new(), mistakes }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Notes a mistake in `field`.
    pub fn mistake(&mut self, field: &str, problem: impl Display) {
        let field = self.name(field);
        self.mistakes.push(Mistake { field, problem: problem.to_string() });
    }

    /// Takes `field`, if it is there, through `parse`, whose error is noted.
    pub fn take<T>(&mut self, field: &'static str, parse: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        self.known.push(field);
        match parse(self.table.remove(field)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistake(field, problem);
                None
            }
        }
    }

    /// Takes a table of its own.
    pub fn section(&mut self, field: &'static str) -> Reader<'_> {
        let table = self.take(field, |value| match value {
            Value::Table(table) => Ok(table),
            other => Err(format!("expected a table, found {}", other.type_str())),
        });
        Reader { path: self.name(field), table: table.unwrap_or_default(), known: Vec::new(), mistakes: self.mistakes }
    }

    /// Takes an array of tables, each with its number.
    pub fn sections(&mut self, field: &'static str, mut each: impl FnMut(Reader<'_>)) {
        let tables = self.take(field, |value| match value {
            Value::Array(items) => Ok(items),
            other => Err(format!("expected [[{field}]] tables, found {}", other.type_str())),
        });
        for (index, item) in tables.unwrap_or_default().into_iter().enumerate() {
            let path = self.name(&format!("{field}[{index}]"));
            match item {
                Value::Table(table) => each(Reader::new(path, table, self.mistakes)),
                other => self
                    .mistakes
                    .push(Mistake { field: path, problem: format!("expected a table, found {}", other.type_str()) }),
            }
        }
    }

    /// Notes every field that nobody took.
    pub fn finish(self) {
        for field in self.table.keys() {
            let nearest = self.known.iter().min_by_key(|known| distance(known, field));
            let hint = match nearest {
                Some(known) if distance(known, field) <= 2 => format!("unknown; did you mean `{known}`?"),
                _ => format!("unknown; known here: {}", self.known.join(", ")),
            };
            let name = if self.path.is_empty() { field.clone() } else { format!("{}.{field}", self.path) };
            self.mistakes.push(Mistake { field: name, problem: hint });
        }
    }
}

/// Parses a text.
pub fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("expected a text in quotes, found {}", other.type_str())),
    }
}

/// Parses a text by its `FromStr`.
pub fn parsed<T: std::str::FromStr<Err: Display>>(value: Value) -> Result<T, String> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

/// Parses true or false.
pub fn boolean(value: Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", value.type_str()))
}

/// Parses a whole number within a range.
pub fn whole(range: std::ops::RangeInclusive<i64>) -> impl FnOnce(Value) -> Result<i64, String> {
    move |value| match value.as_integer() {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {} to {}, found {value}", range.start(), range.end())),
    }
}

/// Parses a number from 0 to 1.
pub fn fraction(value: Value) -> Result<f64, String> {
    let number = value.as_float().or(value.as_integer().map(|n| n as f64));
    match number {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from 0 to 1, found {value}")),
    }
}

/// Parses a list, each item by `item`.
pub fn list<T>(item: impl Fn(Value) -> Result<T, String>) -> impl FnOnce(Value) -> Result<Vec<T>, String> {
    move |value| match value {
        Value::Array(items) => items.into_iter().map(item).collect(),
        other => Err(format!("expected a list in brackets, found {}", other.type_str())),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_mistake_is_listed() {
        let table: Table = "a = 1\nfsp = 2\n[s]\nx = 'y'\n".parse().unwrap();
        let mut mistakes = Vec::new();
        let mut reader = Reader::new("", table, &mut mistakes);
        assert_eq!(reader.take("a", boolean), None);
        assert_eq!(reader.take("fps", whole(1..=3)), None);
        let section = reader.section("s");
        section.finish();
        reader.finish();
        let fields: Vec<&str> = mistakes.iter().map(|m| m.field.as_str()).collect();
        assert_eq!(fields, ["a", "s.x", "fsp"]);
        assert!(mistakes[2].problem.contains("did you mean `fps`"), "{:?}", mistakes[2]);
    }

    #[test]
    fn distances_are_edits() {
        assert_eq!(distance("fps", "fps"), 0);
        assert_eq!(distance("fps", "fsp"), 2);
        assert_eq!(distance("", "ab"), 2);
    }
}
