//! Streams that real encoders made, brought here the way the slicer does it.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::nal::{AnnexB, to_length_prefixed, units};
use detektor_media::segment::{Sample, SegmentIndex, Written, write};
use detektor_media::{AccessUnitInfo, Border, Framing, ParameterSets, classify};

/// An access unit in decode order.
pub struct Unit {
    pub data: Bytes,
    pub pts: i64,
    pub info: AccessUnitInfo,
}

/// A stream, its access units in decode order.
pub struct Stream {
    pub sets: ParameterSets,
    pub time_scale: u32,
    pub units: Vec<Unit>,
    /// Hashes of its pictures in the order of presentation, as ffmpeg decodes the source.
    pub pictures: Vec<String>,
}

/// One segment as the slicer cuts it.
pub struct Cut {
    pub written: Written,
    pub index: SegmentIndex,
    pub start_us: i64,
    pub pre_roll: u32,
    pub post_roll: Option<u32>,
    pub hidden: Vec<u32>,
}

/// Standard output of a tool that must succeed and say nothing on standard error.
pub fn tool(name: &str, args: &[&str]) -> String {
    let output = Command::new(name).args(args).stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{name} is needed by this test (Debian package ffmpeg): {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{name} {args:?} said:\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The hashes of a file's pictures in the order that they are shown.
pub fn picture_hashes(file: &Path) -> Vec<String> {
    let file = file.to_str().unwrap();
    let args = ["-v", "error", "-i", file, "-map", "0:v", "-vsync", "passthrough", "-f", "framemd5", "-"];
    let lines = tool("ffmpeg", &args);
    let hashes = lines.lines().filter(|line| !line.starts_with('#'));
    hashes.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// Presentation times in seconds that ffprobe finds, in the order that pictures are shown.
pub fn shown_times(file: &Path) -> Vec<f64> {
    let file = file.to_str().unwrap();
    let args = ["-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0", file];
    let lines = tool("ffprobe", &args);
    // Frames with side data get an empty line as well.
    lines
        .lines()
        .map(|line| line.trim_end_matches(','))
        .filter(|line| !line.is_empty())
        .map(|line| line.parse().unwrap())
        .collect()
}

/// Encodes `seconds` of a moving test picture, 25 a second, 320x180 unless `size` says otherwise.
pub fn encode(dir: &Path, codec: Codec, params: &str, seconds: u32, size: &str) -> Stream {
    let source = dir.join("source.mp4");
    let (encoder, option) = match codec {
        Codec::H264 => ("libx264", "-x264-params"),
        Codec::H265 => ("libx265", "-x265-params"),
    };
    let params = if codec == Codec::H265 { format!("log-level=none:{params}") } else { params.to_owned() };
    let picture = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let source_path = source.to_str().unwrap();
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-c:v", encoder, "-preset", "veryfast"];
    args.extend(["-pix_fmt", "yuv420p", "-threads", "1", option, &params, source_path]);
    tool("ffmpeg", &args);
    stream(&source, codec)
}

/// A file's video as it lies there, also what an edit list hides.
pub fn stream(source: &Path, codec: Codec) -> Stream {
    let (format, filter) = match codec {
        Codec::H264 => ("h264", "h264_mp4toannexb"),
        Codec::H265 => ("hevc", "hevc_mp4toannexb"),
    };
    let raw = source.with_extension("raw");
    let (source_path, raw_path) = (source.to_str().unwrap(), raw.to_str().unwrap());
    let input = ["-v", "error", "-y", "-ignore_editlist", "1", "-i", source_path];
    tool("ffmpeg", &[&input[..], &["-c", "copy", "-bsf:v", filter, "-f", format, raw_path]].concat());
    let probe = |entry: &str| tool("ffprobe", &["-v", "error", "-show_entries", entry, "-of", "csv=p=0", source_path]);
    let times = probe("packet=pts");
    let times: Vec<i64> = times.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect();
    let time_scale = probe("stream=time_base").trim().trim_start_matches("1/").parse().unwrap();

    let mut sets = ParameterSets::new(codec);
    let access_units = access_units(codec, &std::fs::read(&raw).unwrap());
    assert_eq!(access_units.len(), times.len(), "one access unit a packet");
    let mut units = Vec::new();
    for (data, pts) in access_units.into_iter().zip(times) {
        sets.update(&data).unwrap();
        let info = classify(&sets, &data);
        units.push(Unit { data, pts, info });
    }
    Stream { sets, time_scale, units, pictures: picture_hashes(source) }
}

/// Cuts a raw stream before each NAL unit that can only begin an access unit (H.264, 7.4.1.2.3; H.265, 7.4.2.4.4).
fn access_units(codec: Codec, raw: &[u8]) -> Vec<Bytes> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut has_picture = true;
    for unit in AnnexB::new(raw) {
        let (slice, first, leads) = match codec {
            Codec::H264 => (matches!(unit[0] & 31, 1 | 5), unit[1] & 0x80 != 0, matches!(unit[0] & 31, 6..=9)),
            Codec::H265 => {
                let kind = unit[0] >> 1;
                (kind < 32, unit[2] & 0x80 != 0, matches!(kind, 32..=35 | 39))
            }
        };
        if has_picture && (leads || slice && first) {
            found.push(Vec::new());
            has_picture = false;
        }
        has_picture |= slice;
        let access_unit = found.last_mut().unwrap();
        access_unit.extend_from_slice(&[0, 0, 0, 1]);
        access_unit.extend_from_slice(unit);
    }
    found.into_iter().map(|unit| to_length_prefixed(&unit.into(), Framing::AnnexB).unwrap()).collect()
}

impl Stream {
    /// Writes access units `own`, after `pre` and with the access unit `closing` put in before those shown before it.
    pub fn segment(&self, pre: &[usize], own: &[usize], closing: Option<usize>) -> Cut {
        let mut order: Vec<usize> = pre.iter().chain(own).copied().collect();
        let post_roll = closing.map(|key| {
            let at = order.iter().position(|i| *i > key).unwrap_or(order.len());
            order.insert(at, key);
            at as u32
        });
        let sample = |i: &usize| {
            let unit = &self.units[*i];
            Sample { data: unit.data.clone(), pts: unit.pts, key: unit.info.border.is_some() }
        };
        let samples: Vec<Sample> = order.iter().map(sample).collect();
        let duration = self.time_scale / 25;
        let written = write(&self.sets, self.time_scale, 7, &samples, duration).unwrap();
        let index = SegmentIndex::read(&written.video).unwrap();
        let first = own.iter().map(|i| self.units[*i].pts).min().unwrap();
        let start_us = first * 1_000_000 / i64::from(self.time_scale);
        Cut { written, index, start_us, pre_roll: pre.len() as u32, post_roll, hidden: Vec::new() }
    }

    /// Cuts at every border; leading pictures go to the segment that the border closes.
    pub fn cut_at_borders(&self) -> Vec<Cut> {
        let borders: Vec<usize> = (0..self.units.len()).filter(|i| self.units[*i].info.border.is_some()).collect();
        let leads = |i: usize, key: usize| i > key && self.units[i].pts < self.units[key].pts;
        let mut cuts = Vec::new();
        for (n, &key) in borders.iter().enumerate() {
            let next = borders.get(n + 1).copied();
            let mut own: Vec<usize> = (key..next.unwrap_or(self.units.len())).filter(|i| !leads(*i, key)).collect();
            let mut closing = None;
            if let Some(next) = next {
                let end = borders.get(n + 2).copied().unwrap_or(self.units.len());
                let leading: Vec<usize> = (next..end).filter(|i| leads(*i, next)).collect();
                closing = (!leading.is_empty()).then_some(next);
                own.extend(leading);
            }
            cuts.push(self.segment(&[], &own, closing));
        }
        cuts
    }

    /// How many access units are borders of this kind.
    pub fn count(&self, border: Border) -> usize {
        self.units.iter().filter(|unit| unit.info.border == Some(border)).count()
    }

    /// How many NAL units of this H.265 or H.264 type there are.
    pub fn count_units(&self, is_wanted: impl Fn(&[u8]) -> bool) -> usize {
        self.units.iter().flat_map(|unit| units(&unit.data)).filter(|unit| is_wanted(unit)).count()
    }
}
