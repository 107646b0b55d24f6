//! The chart without a cluster: it renders as is kept beside it, refuses what contradicts itself, fits Kubernetes' schemas, and its names
//! are those of the code. `just charts` writes the rendered files anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use detektor_backends::postgres::Postgres;
use detektor_contract::names::{Queue, Work};
use serde_json::{Map, Value};

mod functions;
mod names;
mod refused;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/detektor");
/// The chart without values, and with each file in its folder `profiles`.
const PROFILES: [&str; 5] = ["default", "gpu", "production", "scale-to-zero", "trial"];

/// Where what `just test` brings along is.
fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"), PathBuf::from);
    cache.join("detektor")
}

/// A program that `just test` brings along.
fn program(name: &str) -> PathBuf {
    let program = cache().join("services/bin").join(name);
    assert!(program.exists(), "{} is missing: run `scripts/setup/go-program {name}`", program.display());
    program
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}:\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn helm(verb: &[&str], profile: &str) -> Command {
    let mut command = Command::new(program("helm"));
    command.args(verb).arg(CHART).args(["--namespace", "detektor"]);
    if profile != "default" {
        command.arg("--values").arg(format!("{CHART}/profiles/{profile}.yaml"));
    }
    command
}

fn rendered(profile: &str) -> String {
    ran(&mut helm(&["template", "detektor"], profile))
}

/// The documents that come from templates below this folder of the chart.
fn from_templates(rendered: &str, folder: &str) -> String {
    let source = format!("# Source: detektor/templates/{folder}/");
    let documents = rendered.split("---\n").filter(|document| document.starts_with(&source));
    documents.map(|document| format!("---\n{document}")).collect()
}

/// Every setting and its default, by section, as the chart reads them: those of docs/settings.md, which another test holds to the code.
fn settings() -> String {
    let mut sections = Map::new();
    let page = std::fs::read_to_string(format!("{ROOT}/docs/settings.md")).unwrap();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut cells = row.split(" | ").map(|cell| cell.trim_matches('`'));
        let (section, name) = cells.next().unwrap().split_once('.').unwrap();
        let default = match cells.next().unwrap() {
            "none" => Value::Null,
            default => serde_json::from_str(default).unwrap_or_else(|_| default.into()),
        };
        let section = sections.entry(section).or_insert_with(|| Map::new().into());
        section.as_object_mut().unwrap().insert(name.to_owned(), default);
    }
    format!("{:#}\n", Value::Object(sections))
}

/// What is kept of a profile beside the chart, with where.
fn kept(profile: &str) -> [(PathBuf, String); 2] {
    let whole = rendered(profile);
    let scaling = from_templates(&whole, "keda");
    let root = Path::new(ROOT);
    [
        (root.join(format!("configs/k8s/rendered/{profile}.yaml")), whole),
        (root.join(format!("keda/{profile}.yaml")), scaling),
    ]
}

fn is_kept(path: &Path, now: &str) {
    if std::env::var_os("DETEKTOR_WRITE_CHARTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, now).unwrap();
    }
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let first = now.lines().zip(before.lines()).position(|(now, before)| now != before);
    let line = first.unwrap_or_else(|| now.lines().count().min(before.lines().count()));
    assert!(
        now == before,
        "{} differs from what it is made from, from line {} on: run `just charts` and look at the difference",
        path.display(),
        line + 1
    );
}

#[test]
fn the_chart_renders_as_it_is_kept() {
    // First, since the chart reads it.
    is_kept(&Path::new(CHART).join("files/settings.json"), &settings());
    for profile in PROFILES {
        for (path, now) in kept(profile) {
            is_kept(&path, &now);
        }
    }
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    for profile in PROFILES {
        ran(&mut helm(&["lint", "--strict"], profile));
    }
}

#[test]
fn another_release_has_other_names() {
    let mut command = Command::new(program("helm"));
    let text = ran(command.args(["template", "yard", CHART]));
    assert!(text.contains("name: yard-detektor-detection\n"));
    assert!(!text.contains("name: detektor-detection"), "a name does not follow the release's");
}

/// Holds these files to Kubernetes' schemas.
fn validate(files: &[PathBuf]) -> Command {
    let crds = ran(Command::new(format!("{ROOT}/scripts/setup/crds")).env("CI", "1"));
    let mut validate = Command::new(cache().join("tools/bin/python"));
    validate.arg(format!("{ROOT}/scripts/charts/validate.py")).args(["--crds", crds.trim()]).args(files);
    validate
}

#[test]
fn every_manifest_fits_its_schema() {
    let mut files: Vec<PathBuf> =
        PROFILES.map(|p| Path::new(ROOT).join(format!("configs/k8s/rendered/{p}.yaml"))).into();
    files.extend(manifests(&Path::new(ROOT).join("configs/k8s")));
    let told = ran(&mut validate(&files));
    println!("{told}");
    // The check itself is one that can fail.
    let folder = tempfile::tempdir().unwrap();
    let wrong =
        rendered("default").replace("minReplicaCount:", "minReplicas:").replace("maxUnavailable:", "maxUnavailabel:");
    let path = folder.path().join("wrong.yaml");
    std::fs::write(&path, wrong).unwrap();
    let output = validate(&[path]).output().unwrap();
    let told = said(&output);
    assert!(!output.status.success() && told.contains("minReplicas") && told.contains("maxUnavailabel"), "{told}");
}

/// The plain manifests, whatever folder they are in.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true if !entry.ends_with("rendered") => found.extend(manifests(&entry)),
            false if entry.extension().is_some_and(|extension| extension == "yaml") => found.push(entry),
            _ => {}
        }
    }
    found
}

#[test]
fn scaling_watches_the_queues_that_there_are_and_dead_letters_call_for_merge_alone() {
    let text = rendered("default");
    let watched: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("queueName: "))
        .map(|name| name.trim_matches('"'))
        .collect();
    let [detect, merge] = Work::ALL.map(|work| {
        let queue = Queue::Work(work, 7).to_string();
        format!("{}\\\\.[0-9]+", queue.strip_suffix(".07").unwrap())
    });
    let [dead_detect, dead_merge] = Work::ALL.map(|work| Queue::Dead(work).to_string());
    let both = format!("dead\\\\.({}|{})", dead_detect.replace("dead.", ""), dead_merge.replace("dead.", ""));
    // From its beginning to its end, so that dead.detect is none of detect's.
    assert_eq!(watched, [format!("^{detect}$"), format!("^({merge}|{both})$")]);
}

#[test]
fn the_setup_job_is_named_by_the_schema_of_the_code() {
    let name = format!("name: detektor-setup-{}-", Postgres::schema_version());
    assert!(
        rendered("default").contains(&name),
        "charts/detektor/Chart.yaml: detektor/schema must be {}",
        Postgres::schema_version()
    );
}

/// The configuration file in the ConfigMap.
fn configuration(rendered: &str) -> String {
    let from = rendered.split("  detektor.toml: |\n").nth(1).unwrap();
    from.lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim_start()))
        .collect()
}

#[test]
fn every_role_takes_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for profile in PROFILES {
        let path = folder.path().join("detektor.toml");
        std::fs::write(&path, configuration(&rendered(profile))).unwrap();
        for role in ["dispatcher", "detect", "merge", "events", "balancer"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_detektor"));
            command.args([role, "--listen", "nowhere", "--config"]).arg(&path);
            let told = said(&command.output().unwrap());
            // All mistakes are listed at once: the one that was made on purpose is the only one.
            assert!(
                told.contains("the configuration has 1 mistake:") && told.contains("listen"),
                "{profile} {role}: {told}"
            );
        }
    }
}

#[test]
fn pods_have_longer_to_go_than_their_drain_takes() {
    let mut command = helm(&["template", "detektor"], "default");
    let text = ran(command.args(["--set", "drainSeconds=100"]));
    assert!(text.contains("drain_ms = 100000") && text.contains("terminationGracePeriodSeconds: 110"), "{text}");
}

#[test]
fn alarms_ring_when_they_should_and_only_then() {
    let files = format!("{CHART}/files");
    ran(Command::new(program("promtool")).args(["check", "rules", "--lint-fatal", "alerts.yaml"]).current_dir(&files));
    ran(Command::new(program("promtool")).args(["test", "rules", "alerts_test.yaml"]).current_dir(&files));
}

/// All that follows `before` in a text, up to what no name has.
fn names_after<'t>(text: &'t str, before: &str) -> BTreeSet<&'t str> {
    let name = |rest: &'t str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
    text.split(before).skip(1).filter_map(name).collect()
}

/// The source of a folder, without its folders of tests.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("tests") => String::new(),
        true => sources(&path),
        false if path.extension().is_some_and(|extension| extension == "rs") => std::fs::read_to_string(path).unwrap(),
        false => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn alarms_and_dashboard_ask_for_metrics_that_there_are() {
    let code: String =
        ["crates", "functions", "dispatcher", "src"].map(|folder| sources(&Path::new(ROOT).join(folder))).concat();
    let named = |text: &str| code.contains(&format!("\"{text}\""));
    // `detektor_<part>_<name>`, with what a histogram adds.
    let is_there = |metric: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
        let parts = base.match_indices('_').any(|(at, _)| named(&base[..at]) && named(&base[at + 1..]));
        parts || named(&format!("detektor_{base}"))
    };
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(format!("{CHART}/files/{file}")).unwrap();
        let metrics = names_after(&text, "detektor_");
        assert!(metrics.len() > 10, "{file}: {metrics:?}");
        for metric in metrics {
            assert!(is_there(metric), "{file} asks for detektor_{metric}, which no part counts");
        }
    }
}

#[test]
fn every_alarm_has_its_section_in_the_runbook() {
    let alerts = std::fs::read_to_string(format!("{CHART}/files/alerts.yaml")).unwrap();
    let runbook = std::fs::read_to_string(format!("{ROOT}/docs/runbook.md")).unwrap();
    let sections = names_after(&runbook, "\n### ");
    let links = names_after(&alerts, "docs/runbook.md#");
    let anchors: BTreeSet<String> = sections.iter().map(|section| section.to_lowercase()).collect();
    assert_eq!(links.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), anchors);
    assert_eq!(names_after(&alerts, "- alert: "), sections);
}
