//! Reads TOML tables field by field and goes on after a mistake, so that all of them are told at once.
//!
//! A [`Form`] says what a field may be. It reads the field in a file, and the same setting as text, from a flag or an
//! environment variable: both understand, and refuse, the same.

mod form;
pub mod settings;

use std::fmt::{self, Display};

use toml::{Table, Value};

pub use form::{Form, boolean, exactly, fraction, list, number, parsed, text, whole, word};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The field's full name, such as `detect.fps` or `camera[2].url`.
    pub field: String,
    /// What is wrong with it and what it may be.
    pub problem: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Notes one.
    pub fn add(&mut self, field: impl Into<String>, problem: impl Display) {
        self.0.push(Mistake { field: field.into(), problem: problem.to_string() });
    }

    /// `Ok` where there are none.
    ///
    /// # Errors
    /// Itself, where there are any.
    pub fn finish(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            let comma = if i > 0 { "; " } else { "" };
            write!(f, "{comma}{mistake}")?;
        }
        Ok(())
    }
}

/// A table whose fields are taken out one by one; what is left in the end is unknown.
pub struct Fields<'a> {
    path: String,
    /// None where the table itself is missing: then its fields are not missed one by one.
    table: Option<Table>,
    known: Vec<&'static str>,
    mistakes: &'a mut Mistakes,
}

impl<'a> Fields<'a> {
    /// The fields of a whole file.
    pub fn root(table: Table, mistakes: &'a mut Mistakes) -> Self {
        Self::of(String::new(), Some(table), mistakes)
    }

    fn of(path: String, table: Option<Table>, mistakes: &'a mut Mistakes) -> Self {
        Self { path, table, known: Vec::new(), mistakes }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Notes a mistake in `field`.
    pub fn mistake(&mut self, field: &str, problem: impl Display) {
        self.mistakes.add(self.name(field), problem);
    }

    /// Whether `field` is there and not yet taken.
    pub fn has(&self, field: &str) -> bool {
        self.table.as_ref().is_some_and(|table| table.contains_key(field))
    }

    fn remove(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.table.as_mut()?.remove(field)
    }

    /// Takes `field`; none where it is not there, or wrong.
    pub fn take<T: 'static>(&mut self, field: &'static str, form: Form<T>) -> Option<T> {
        let value = self.remove(field)?;
        form.read(&value).map_err(|problem| self.mistake(field, problem)).ok()
    }

    /// Takes `field` into `target`, which stays as it is where the field is not there, or wrong.
    pub fn set<T: 'static>(&mut self, target: &mut T, field: &'static str, form: Form<T>) {
        if let Some(value) = self.take(field, form) {
            *target = value;
        }
    }

    /// Takes `field`, which must be there.
    pub fn need<T: 'static>(&mut self, field: &'static str, form: Form<T>) -> Option<T> {
        self.miss(field, form.expected());
        self.take(field, form)
    }

    fn miss(&mut self, field: &str, expected: &str) {
        if self.table.is_some() && !self.has(field) {
            self.mistake(field, format!("missing: expected {expected}"));
        }
    }

    /// Takes a table within this one.
    pub fn section(&mut self, field: &'static str) -> Fields<'_> {
        let table = self.take(field, form::table());
        Fields::of(self.name(field), table, self.mistakes)
    }

    /// Takes a table within this one, which must be there.
    pub fn need_section(&mut self, field: &'static str) -> Fields<'_> {
        self.miss(field, "a table");
        self.section(field)
    }

    /// Takes an array of tables, each with its number in its name.
    pub fn sections(&mut self, field: &'static str, mut each: impl FnMut(Fields<'_>)) {
        let tables = Form::new(format!("[[{field}]] tables"), |value| value.as_array().cloned());
        for (index, item) in self.take(field, tables).unwrap_or_default().into_iter().enumerate() {
            let path = format!("{field}[{index}]");
            match form::table().read(&item) {
                Ok(table) => each(Fields::of(self.name(&path), Some(table), self.mistakes)),
                Err(problem) => self.mistake(&path, problem),
            }
        }
    }

    /// Notes every field that nobody took.
    pub fn finish(mut self) {
        for field in self.table.take().unwrap_or_default().keys() {
            let nearest = self.known.iter().map(|known| (distance(known, field), known)).min();
            let problem = match nearest {
                Some((0..=2, known)) => format!("unknown; did you mean `{known}`?"),
                _ => format!("unknown; known here: {}", self.known.join(", ")),
            };
            self.mistake(field, problem);
        }
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
mod tests;
