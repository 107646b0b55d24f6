//! Runs the `detektor` command as its user would.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod deployment;
pub mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The bundled footage.
pub fn driveway() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/driveway.mov")
}

/// `seconds` of the bundled footage from `start` on, its packets as they are.
pub fn piece(dir: &Path, start: f64, seconds: f64) -> PathBuf {
    let path = dir.join(format!("piece-{start}-{seconds}.mp4"));
    let (start, seconds) = (start.to_string(), seconds.to_string());
    let footage = driveway();
    let cut = ["-ss", &start, "-t", &seconds, "-i", footage.to_str().unwrap(), "-c", "copy", "-an"];
    ffmpeg(&cut, &path);
    path
}

/// Frames that `ffprobe` counts, decoding them.
pub fn frames(path: &Path) -> u64 {
    let counted = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-count_frames", "-show_entries", "stream=nb_read_frames"])
        .args(["-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is needed: apt-get install ffmpeg");
    let counted = String::from_utf8(counted.stdout).unwrap();
    counted.lines().next().unwrap_or_default().trim_matches(',').parse().expect("a number of frames")
}

/// Runs ffmpeg, which the test needs.
pub fn ffmpeg(arguments: &[&str], output: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments)
        .arg(output)
        .status()
        .expect("ffmpeg is needed: apt-get install ffmpeg");
    assert!(status.success(), "ffmpeg {arguments:?} failed");
}

/// `detektor` with arguments, not started yet.
pub fn detektor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_detektor"));
    command.args(arguments).stdin(Stdio::null()).env_remove("DETEKTOR_LOG");
    command
}

/// `detektor run` over a data directory to the end, with cameras as `name=url`.
pub fn run(data: &Path, cameras: &[String], more: &[&str]) -> Output {
    let mut command = detektor(&["run", "--until-done", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data);
    for camera in cameras {
        command.args(["--camera", camera]);
    }
    command.args(more).output().unwrap()
}

/// The summary that a run printed.
pub fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}; exit {:?}; {}", output.status.code(), String::from_utf8_lossy(&output.stderr))
    })
}

/// What `detektor events|detections|ledger --json` prints.
pub fn read(kind: &str, data: &Path) -> String {
    let output = detektor(&[kind, "--json", "--data-dir"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of it.
pub fn lines(kind: &str, data: &Path) -> Vec<Value> {
    read(kind, data).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The camera's frames by the summary, checked to add up.
pub fn accounted(camera: &Value) -> u64 {
    let sum = |by: &Value| by.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    let captured = camera["captured"].as_u64().unwrap();
    let total = camera["detected"].as_u64().unwrap() + sum(&camera["skipped"]) + sum(&camera["failed"]);
    assert_eq!(captured, total, "the ledger does not close: {camera}");
    captured
}
