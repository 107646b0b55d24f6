//! The driveway's real footage: its packets as segments, its frames as pictures, and where its car is.

use std::path::PathBuf;
use std::process::Command;

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::segment::{Sample, write};
use detektor_media::{Framing, ParameterSets, nal};

/// Ticks a second.
const SCALE: u32 = 90_000;

/// Where the car is: seconds, and left, top, right, bottom in pixels of 640x480. Read off the footage by eye.
const CAR: [(f64, [f64; 4]); 11] = [
    (6.8, [0.0, 320.0, 50.0, 480.0]),
    (9.0, [0.0, 286.0, 142.0, 480.0]),
    (11.0, [0.0, 270.0, 311.0, 480.0]),
    (13.0, [96.0, 247.0, 530.0, 480.0]),
    (15.0, [265.0, 247.0, 640.0, 473.0]),
    (17.0, [345.0, 235.0, 640.0, 473.0]),
    (19.0, [306.0, 235.0, 640.0, 469.0]),
    (21.0, [320.0, 185.0, 496.0, 352.0]),
    (23.0, [361.0, 146.0, 439.0, 242.0]),
    (25.0, [379.0, 132.0, 427.0, 185.0]),
    (27.4, [360.0, 108.0, 392.0, 146.0]),
];

/// The car's place `s` seconds into the footage, `[x, y, w, h]` in pixels; none while it is away.
pub fn car(s: f64) -> Option<[f32; 4]> {
    let next = CAR.iter().position(|(at, _)| *at > s)?;
    let ((t0, a), (t1, b)) = (CAR[next.checked_sub(1)?], CAR[next]);
    let [left, top, right, bottom] = std::array::from_fn(|i| a[i] + (b[i] - a[i]) * (s - t0) / (t1 - t0));
    Some([left, top, right - left, bottom - top].map(|v| v as f32))
}

/// How sure a detector would be of it.
pub fn sure(s: f64) -> f32 {
    let area = car(s).map_or(0.0, |[_, _, w, h]| w * h);
    (0.45 + (area / 90_000.0).sqrt() * 0.5).min(0.94)
}

pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples/driveway.mov")
}

/// Runs a tool that the tests need.
pub fn tool(name: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(name).args(args).output().unwrap_or_else(|error| panic!("{name} cannot be run: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The footage's segments, one per key frame, as they are stored; each with its first packet's time in microseconds.
pub fn segments() -> Vec<(i64, Bytes)> {
    let path = path();
    let name = path.to_str().unwrap();
    let file = Bytes::from(std::fs::read(&path).unwrap());
    let fields = "packet=pts,size,pos,flags";
    let list =
        tool("ffprobe", &["-v", "error", "-select_streams", "v", "-show_entries", fields, "-of", "csv=p=0", name]);
    let packets: Vec<(Sample, i64)> =
        String::from_utf8(list).unwrap().lines().map(|line| packet(line, &file)).collect();
    let sets = parameter_sets(name);
    let starts: Vec<usize> = (0..packets.len()).filter(|i| packets[*i].0.key).chain([packets.len()]).collect();
    let cut = |range: &[usize]| {
        let samples: Vec<Sample> = packets[range[0]..range[1]].iter().map(|(sample, _)| sample.clone()).collect();
        let end = packets.get(range[1]).map_or(samples[samples.len() - 1].pts + 3_000, |(sample, _)| sample.pts);
        let last = (end - samples[samples.len() - 1].pts) as u32;
        (packets[range[0]].1, write(&sets, SCALE, 1, &samples, last).unwrap().video)
    };
    starts.windows(2).map(cut).collect()
}

fn packet(line: &str, file: &Bytes) -> (Sample, i64) {
    let fields: Vec<&str> = line.split(',').collect();
    let [pts, size, pos] = [0, 1, 2].map(|i| fields[i].parse::<i64>().unwrap());
    let data = file.slice(pos as usize..(pos + size) as usize);
    let data = nal::to_length_prefixed(&data, Framing::LengthPrefixed(4)).unwrap();
    (Sample { data, pts, key: fields[3].starts_with('K') }, pts * 100 / 9)
}

fn parameter_sets(name: &str) -> ParameterSets {
    let filters = ["-c", "copy", "-bsf:v", "h264_mp4toannexb", "-frames:v", "1", "-f", "h264", "-"];
    let begin = [&["-v", "error", "-i", name][..], &filters].concat();
    let access_unit = nal::to_length_prefixed(&tool("ffmpeg", &begin).into(), Framing::AnnexB).unwrap();
    let mut sets = ParameterSets::new(Codec::H264);
    sets.update(&access_unit).unwrap();
    sets
}

/// The picture `s` seconds into the footage as JPEG; `mirror` flips it left to right.
pub fn picture(s: f64, mirror: bool) -> Bytes {
    let (path, at) = (path(), s.to_string());
    let filter = if mirror { "hflip" } else { "null" };
    let output = ["-frames:v", "1", "-vf", filter, "-q:v", "4", "-f", "mjpeg", "-"];
    tool("ffmpeg", &[&["-v", "error", "-ss", &at, "-i", path.to_str().unwrap()][..], &output].concat()).into()
}
