//! Streams with real encoders' habits, made once and kept in the target folder; and what ffmpeg sees in them.

pub mod desk;
pub mod http;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Standard output of a tool that must succeed.
pub fn tool(name: &str, args: &[&str]) -> String {
    let output = Command::new(name).args(args).stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{name} is needed by this test (Debian package ffmpeg): {error}"));
    assert!(output.status.success(), "{name} {args:?} said:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A file made by `make`, which is given the path to write to; made once.
pub fn made(name: &str, make: impl FnOnce(&str)) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dispatcher-fixtures-1");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    if !path.exists() {
        // Other test binaries may be making it as well.
        let half = folder.join(format!("{}-{name}", std::process::id()));
        make(half.to_str().unwrap());
        std::fs::rename(half, &path).unwrap();
    }
    path
}

/// A moving test picture of 160x120, encoded with `args`.
pub fn encoded(name: &str, seconds: u32, args: &str) -> PathBuf {
    let picture = format!("testsrc2=size=160x120:rate=25:duration={seconds}");
    made(name, |to| {
        let mut all = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-pix_fmt", "yuv420p", "-threads", "1"];
        all.extend(args.split_whitespace());
        all.push(to);
        tool("ffmpeg", &all);
    })
}

/// `from` through ffmpeg with `args`.
pub fn remuxed(name: &str, from: &Path, before: &str, args: &str) -> PathBuf {
    made(name, |to| {
        let mut all = vec!["-v", "error", "-y"];
        all.extend(before.split_whitespace());
        all.extend(["-i", from.to_str().unwrap(), "-map", "0:v"]);
        all.extend(args.split_whitespace());
        all.push(to);
        tool("ffmpeg", &all);
    })
}

/// The pictures of a file in the order that they are shown: times in ticks of its stream, and hashes.
pub fn pictures(file: &Path) -> Vec<(i64, String)> {
    // Without reorder limits a decoder would guess, and drop what contradicts its guess.
    let args = ["-v", "fatal", "-strict", "strict", "-threads", "1", "-copyts", "-i", file.to_str().unwrap()];
    let more = ["-map", "0:v:0", "-vsync", "passthrough", "-enc_time_base", "-1", "-f", "framemd5", "-"];
    let lines = tool("ffmpeg", &[&args[..], &more[..]].concat());
    let fields = lines.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(',').map(str::trim));
    fields
        .map(|fields| {
            let fields: Vec<&str> = fields.collect();
            (fields[2].parse().unwrap(), fields[5].to_owned())
        })
        .collect()
}

/// How many pictures `ffprobe -count_frames` finds.
pub fn count_frames(file: &Path) -> u64 {
    let args = ["-v", "fatal", "-select_streams", "v:0", "-count_frames", "-show_entries", "stream=nb_read_frames"];
    let count = tool("ffprobe", &[&args[..], &["-of", "csv=p=0", file.to_str().unwrap()]].concat());
    count.lines().next().unwrap().trim_matches(',').parse().unwrap()
}

/// The earliest presentation time of a file's packets, in ticks of its stream.
pub fn first_time(file: &Path) -> i64 {
    let args = ["-v", "fatal", "-select_streams", "v:0", "-show_entries", "packet=pts", "-of", "csv=p=0"];
    let times = tool("ffprobe", &[&args[..], &[file.to_str().unwrap()]].concat());
    times.lines().map(|line| line.trim_matches(',').parse::<i64>().unwrap()).min().unwrap()
}

/// Ticks a second of a file's stream, rounded.
pub fn time_scale(file: &Path) -> i64 {
    let args = ["-v", "fatal", "-select_streams", "v:0", "-show_entries", "stream=time_base", "-of", "csv=p=0"];
    let base = tool("ffprobe", &[&args[..], &[file.to_str().unwrap()]].concat());
    base.lines().next().unwrap().trim_matches(',').trim_start_matches("1/").parse().unwrap()
}
