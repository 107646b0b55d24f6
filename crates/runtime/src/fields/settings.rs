//! Settings that are named once and read from a file, the environment and flags.
//!
//! A part lists its settings in [`Settings::visit`]. From that one list come the file's fields (`rabbitmq.url`), the
//! environment's variables (`DETEKTOR_RABBITMQ_URL`), the flags (`--rabbitmq-url`), the defaults and the reference.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Fields, Form, Mistakes};

/// What every environment variable begins with.
const VARIABLES: &str = "DETEKTOR";

/// A group of settings, its fields at their defaults until they are read.
pub trait Settings {
    /// Names each setting, in the order of the reference.
    fn visit(&mut self, visitor: &mut Visitor<'_>);
}

/// Goes over settings, to read or to describe them.
pub struct Visitor<'a> {
    path: String,
    task: Task<'a>,
}

enum Task<'a> {
    Describe(&'a mut Vec<Described>),
    File(Fields<'a>),
    Texts { texts: &'a BTreeMap<String, String>, mistakes: &'a mut Mistakes },
}

/// A setting as the reference and the command line show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name in a file: `rabbitmq.url`.
    pub path: String,
    /// What it may be.
    pub expected: String,
    /// Its default; none where there is none.
    pub default: Option<String>,
    /// What it is for.
    pub help: &'static str,
}

impl Described {
    /// Its flag, without the dashes: `rabbitmq-url`.
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// Its environment variable: `DETEKTOR_RABBITMQ_URL`.
    pub fn variable(&self) -> String {
        format!("{VARIABLES}_{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// How a default is shown.
pub trait Shown {
    /// The text in a reference; none where there is nothing to show.
    fn shown(&self) -> Option<String>;
}

macro_rules! shown_as_displayed {
    ($($kind:ty),*) => {$(
        impl Shown for $kind {
            fn shown(&self) -> Option<String> {
                Some(self.to_string()).filter(|text| !text.is_empty())
            }
        }
    )*};
}
shown_as_displayed!(String, bool, u16, u32, u64, usize, SocketAddr);

impl Shown for PathBuf {
    fn shown(&self) -> Option<String> {
        Some(self.display().to_string()).filter(|text| !text.is_empty())
    }
}

/// In milliseconds, as settings are.
impl Shown for Duration {
    fn shown(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(Shown::shown)
    }
}

impl Visitor<'_> {
    /// A setting: where it goes, what it may be, what it is for.
    pub fn field<T: Shown + 'static>(&mut self, name: &'static str, target: &mut T, form: Form<T>, help: &'static str) {
        let path = join(&self.path, name);
        match &mut self.task {
            Task::Describe(described) => {
                described.push(Described { path, expected: form.expected().to_owned(), default: target.shown(), help });
            }
            Task::File(fields) => fields.set(target, name, form),
            Task::Texts { texts, mistakes } => {
                if let Some(text) = texts.get(&path) {
                    match form.parse(text) {
                        Ok(value) => *target = value,
                        Err(problem) => mistakes.add(path, problem),
                    }
                }
            }
        }
    }

    /// Settings under a name of their own.
    pub fn section(&mut self, name: &'static str, settings: &mut dyn Settings) {
        let path = join(&self.path, name);
        match &mut self.task {
            Task::Describe(described) => settings.visit(&mut Visitor { path, task: Task::Describe(described) }),
            Task::File(fields) => visit_table(settings, path, fields.section(name)),
            Task::Texts { texts, mistakes } => {
                settings.visit(&mut Visitor { path, task: Task::Texts { texts, mistakes } });
            }
        }
    }
}

fn visit_table(settings: &mut dyn Settings, path: String, fields: Fields<'_>) {
    let mut visitor = Visitor { path, task: Task::File(fields) };
    settings.visit(&mut visitor);
    if let Task::File(fields) = visitor.task {
        fields.finish();
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Every setting there is, with its default.
pub fn describe(settings: &mut dyn Settings) -> Vec<Described> {
    let mut described = Vec::new();
    settings.visit(&mut Visitor { path: String::new(), task: Task::Describe(&mut described) });
    described
}

/// Reads a file's text. `name` is the file's, for mistakes; `others` are sections that are none of our business.
pub fn read_file(settings: &mut dyn Settings, name: &str, text: &str, others: &[&str], mistakes: &mut Mistakes) {
    match text.parse::<toml::Table>() {
        Ok(mut table) => {
            table.retain(|section, _| !others.contains(&section));
            visit_table(settings, String::new(), Fields::root(table, mistakes));
        }
        Err(error) => mistakes.add(name, error),
    }
}

/// Reads texts by their settings' paths, as flags and variables give them.
pub fn read_texts(settings: &mut dyn Settings, texts: &BTreeMap<String, String>, mistakes: &mut Mistakes) {
    settings.visit(&mut Visitor { path: String::new(), task: Task::Texts { texts, mistakes } });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{text, whole};
    use super::*;

    struct Broker {
        url: Option<String>,
        prefetch: u32,
    }

    struct Part {
        workers: u16,
        broker: Broker,
    }

    impl Settings for Broker {
        fn visit(&mut self, visitor: &mut Visitor<'_>) {
            visitor.field("url", &mut self.url, text().map(Some), "Where it is.");
            visitor.field("prefetch_max", &mut self.prefetch, whole(1..=9), "How many.");
        }
    }

    impl Settings for Part {
        fn visit(&mut self, visitor: &mut Visitor<'_>) {
            visitor.field("workers", &mut self.workers, whole(1..=4), "Threads.");
            visitor.section("broker", &mut self.broker);
        }
    }

    fn part() -> Part {
        Part { workers: 2, broker: Broker { url: None, prefetch: 3 } }
    }

    #[test]
    fn one_list_serves_file_texts_and_description() {
        let (mut part, mut mistakes) = (part(), Mistakes::default());
        read_file(
            &mut part,
            "x.toml",
            "workers = 3\n[broker]\nurl = 'a'\nprefetch_max = 4\n[other]\nx = 1",
            &["other"],
            &mut mistakes,
        );
        let texts = BTreeMap::from([("broker.url".to_owned(), "b".to_owned()), ("workers".to_owned(), "4".to_owned())]);
        read_texts(&mut part, &texts, &mut mistakes);
        assert_eq!(mistakes, Mistakes::default());
        assert_eq!((part.workers, part.broker.url.as_deref(), part.broker.prefetch), (4, Some("b"), 4));
        let expected = describe(&mut part).pop().unwrap();
        assert_eq!(
            (expected.default.as_deref(), expected.expected.as_str()),
            (Some("4"), "a whole number from 1 to 9")
        );
    }

    #[test]
    fn every_mistake_is_named_wherever_it_stands() {
        let (mut part, mut mistakes) = (part(), Mistakes::default());
        read_file(&mut part, "x.toml", "workrs = 3\n[broker]\nprefetch_max = 0", &[], &mut mistakes);
        read_texts(&mut part, &BTreeMap::from([("workers".to_owned(), "many".to_owned())]), &mut mistakes);
        let fields: Vec<&str> = mistakes.0.iter().map(|mistake| mistake.field.as_str()).collect();
        assert_eq!(fields, ["broker.prefetch_max", "workrs", "workers"]);
    }

    #[test]
    fn names_follow_from_the_path() {
        let described = describe(&mut part());
        let names: Vec<_> = described.iter().map(|setting| (setting.flag(), setting.variable())).collect();
        assert_eq!(names[2], ("broker-prefetch-max".to_owned(), "DETEKTOR_BROKER_PREFETCH_MAX".to_owned()));
        assert_eq!(described[1].default, None);
    }
}
