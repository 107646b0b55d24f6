//! Whatever a process keeps in memory for all of its parts is declared: `detektor state` shows it, and where its truth is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::detektor;

/// Parts of the sources that ship.
const SOURCES: [&str; 4] = ["src", "crates", "functions", "dispatcher"];
/// What only tests build, beside what is named like it.
const OF_TESTS: [&str; 1] = ["crates/backends/src/servers"];

/// A global that was found.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Global {
    file: String,
    line: usize,
    name: String,
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            found.push(entry);
        }
    }
}

fn is_of_tests(file: &str) -> bool {
    let named = |part: &str| matches!(part, "tests" | "tests.rs" | "benches" | "examples" | "build.rs");
    file.split('/').any(named) || OF_TESTS.iter().any(|folder| file.starts_with(folder))
}

/// The name of what a line makes: `static NAME: …`, in or outside of a function or of `thread_local!`. What can never change is
/// no state.
fn global(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) => {
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest).trim_start()
        }
        None => line,
    };
    let rest = line.strip_prefix("static ")?;
    let (changes, rest) = match rest.strip_prefix("mut ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix("ref ").unwrap_or(rest);
    let (name, kind) = rest.split_once(':')?;
    let kind = kind.split('=').next().unwrap_or_default().trim();
    let constant =
        matches!(kind, "&[u8]" | "&str" | "&'static str") || kind.starts_with("[&str;") || kind.starts_with("&[&str");
    (changes || !constant).then_some(name.trim())
}

fn globals(file: &str, text: &str) -> Vec<Global> {
    // Tests stand at the end of a file.
    let shipped = text.lines().take_while(|line| *line != "mod tests {").enumerate();
    let named = shipped.filter_map(|(index, line)| Some((index + 1, global(line)?.to_owned())));
    named.map(|(line, name)| Global { file: file.to_owned(), line, name }).collect()
}

/// What `detektor state --json` prints.
fn declared() -> Vec<Value> {
    let output = detektor(&["state", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap().as_array().unwrap().clone()
}

#[test]
fn every_global_is_declared_by_a_role() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for part in SOURCES {
        sources(&root.join(part), &mut files);
    }
    let mut found = Vec::new();
    for path in files {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if !is_of_tests(&file) {
            found.extend(globals(&file, &std::fs::read_to_string(&path).unwrap()));
        }
    }
    let roles = declared();
    let all = roles.iter().flat_map(|role| role["state"].as_array().unwrap());
    let named = all.flat_map(|held| held["globals"].as_array().unwrap());
    let named: BTreeSet<String> = named.map(|global| global.as_str().unwrap().to_owned()).collect();
    let there: BTreeSet<String> = found.iter().map(|global| format!("{}:{}", global.file, global.name)).collect();
    let undeclared: Vec<String> = found
        .iter()
        .filter(|global| !named.contains(&format!("{}:{}", global.file, global.name)))
        .map(|Global { file, line, name }| {
            format!(
                "{file}:{line}: the global {name} is state that no role declares. Do without it: hand it on as an argument. Where that \
                 cannot be, add a `Held` with \"{file}:{name}\" among its globals to the `STATE` of the role that has it, and say \
                 where its truth is."
            )
        })
        .collect();
    assert!(undeclared.is_empty(), "{}", undeclared.join("\n"));
    let gone: Vec<&String> = named.difference(&there).collect();
    assert!(gone.is_empty(), "declared, and not there: {gone:?}");
}

#[test]
fn no_role_is_the_only_one_to_know_something() {
    let roles = declared();
    let names: Vec<&str> = roles.iter().map(|role| role["role"].as_str().unwrap()).collect();
    assert_eq!(names, ["dispatcher", "detect", "merge", "events", "balancer"]);
    for role in &roles {
        assert_eq!(role["uses_external_state"], true, "{role}");
        for held in role["state"].as_array().unwrap() {
            assert!(["name", "kind", "holds", "truth"].iter().all(|field| held[field].is_string()), "{held}");
        }
    }
}

#[test]
fn globals_are_found_wherever_they_hide() {
    let text = "\
//! static IN_A_COMMENT: Mutex<u8> = Mutex::new(0);
static A: Mutex<u8> = Mutex::new(0);
pub(crate) static B: OnceLock<u8> = OnceLock::new();
pub static mut C: &str = \"\";
static WORDS: &str = \"static D: u8 = 1;\";
static BYTES: &[u8] = include_bytes!(\"x\");
thread_local! {
    static E: Cell<u8> = const { Cell::new(0) };
}
lazy_static! { }
    static ref F: Regex = regex();
fn f(x: &'static str) -> Box<dyn Fn() + 'static> {
    static G: AtomicU64 = AtomicU64::new(0);
}
mod tests {
    static H: AtomicU64 = AtomicU64::new(0);
}
";
    let found: Vec<(usize, String)> =
        globals("x.rs", text).into_iter().map(|global| (global.line, global.name)).collect();
    let expected = [(2, "A"), (3, "B"), (4, "C"), (8, "E"), (11, "F"), (13, "G")];
    assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
}
