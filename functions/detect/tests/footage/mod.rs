//! Segments as a dispatcher would cut them, out of files that ffmpeg makes or that somebody names.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use detektor_contract::{
    CameraId, Clock, Codec, DetectPolicy, Digest, Epoch, EventRules, MediaInfo, Payload, SegmentId, SegmentJob, Span,
    TimeUs,
};
use detektor_media::segment::{Sample, write};
use detektor_media::{AccessUnitInfo, ParameterSets, classify, nal};

/// GOPs longer than this are cut inside, in seconds.
const LONGEST_GOP: i64 = 4;

/// Makes a file of moving test pictures with ffmpeg: `source` is a lavfi source, `encoder` are its options.
pub fn encode(source: &str, encoder: &[&str]) -> tempfile::TempPath {
    let file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap().into_temp_path();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y", "-threads", "1", "-f", "lavfi", "-i", source]).args(encoder).arg(&*file);
    let output = ffmpeg.output().expect("ffmpeg is installed");
    assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    file
}

/// One access unit of a file.
struct Unit {
    data: Bytes,
    pts: i64,
    info: AccessUnitInfo,
}

/// One segment's units, by index into the file's.
#[derive(Default)]
struct Cut {
    pre_roll: Vec<usize>,
    own: Vec<usize>,
    post_roll: Option<usize>,
    leading: Vec<usize>,
}

/// A file's video as segment jobs with the video inside, in order.
pub fn jobs(path: &Path, camera: &str, policy: &DetectPolicy) -> Vec<SegmentJob> {
    let (sets, units, time_scale, duration) = demux(path);
    let mut cuts = cut(&units, time_scale);
    cuts.retain(|cut| !cut.own.is_empty());
    let to_us = |ticks: i64| TimeUs((i128::from(ticks) * 1_000_000).div_euclid(i128::from(time_scale)) as i64);
    let start = |cut: &Cut| cut.own.iter().chain(&cut.leading).map(|i| units[*i].pts).min().unwrap();
    let file_end = units.iter().map(|unit| unit.pts).max().unwrap() + duration;
    let mut first_frame = 0;
    let mut jobs = Vec::new();
    for (sequence, cut) in (0..).zip(&cuts) {
        let order = cut.pre_roll.iter().chain(&cut.own).chain(&cut.post_roll).chain(&cut.leading);
        let sample = |i: &usize| Sample {
            data: units[*i].data.clone(),
            pts: units[*i].pts,
            key: units[*i].info.border.is_some(),
        };
        let samples: Vec<Sample> = order.map(sample).collect();
        let written = write(&sets, time_scale, sequence as u32, &samples, duration as u32).unwrap();
        let end = cuts.get(sequence as usize + 1).map_or(file_end, start);
        let frames = (cut.own.len() + cut.leading.len()) as u32;
        let (width, height) = sets.size().unwrap();
        jobs.push(SegmentJob {
            id: SegmentId { camera: CameraId::new(camera).unwrap(), epoch: Epoch(1), sequence },
            generation: 0,
            span: Span {
                first_frame,
                frames,
                start: to_us(start(cut)),
                end: to_us(end),
                clock: Clock::Media,
                key_frame: None,
            },
            seam: None,
            media: MediaInfo {
                codec: sets.codec(),
                width,
                height,
                time_scale,
                init: Digest::of(&written.video[..written.init_bytes as usize]),
                samples: samples.len() as u32,
                pre_roll: cut.pre_roll.len() as u32,
                post_roll: cut.post_roll.map(|_| (cut.pre_roll.len() + cut.own.len()) as u32),
                hidden: Vec::new(),
            },
            payload: Payload::Inline { init_bytes: written.init_bytes, video: written.video },
            policy: policy.clone(),
            rules: EventRules::default(),
        });
        first_frame += u64::from(frames);
    }
    jobs
}

/// A job's video.
pub fn video(job: &SegmentJob) -> Bytes {
    match &job.payload {
        Payload::Inline { video, .. } => video.clone(),
        Payload::Object { .. } => panic!("not inline"),
    }
}

fn demux(path: &Path) -> (ParameterSets, Vec<Unit>, u32, i64) {
    let mut input = ffmpeg::format::input(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let stream = input.streams().best(ffmpeg::media::Type::Video).unwrap();
    let (index, base) = (stream.index(), stream.time_base());
    let parameters = stream.parameters();
    let codec = match parameters.id() {
        ffmpeg::codec::Id::H264 => Codec::H264,
        ffmpeg::codec::Id::HEVC => Codec::H265,
        other => panic!("{other:?}"),
    };
    // SAFETY: the parameters live as long as the stream, and their extradata has this length.
    let extradata = unsafe {
        let raw = &*ffmpeg::AsPtr::<ffmpeg::ffi::AVCodecParameters>::as_ptr(&parameters);
        std::slice::from_raw_parts(raw.extradata, raw.extradata_size as usize).to_vec()
    };
    let (sets, framing) = ParameterSets::from_extradata(codec, &extradata).unwrap();
    let mut current = sets.clone();
    let (mut units, mut duration) = (Vec::new(), 1);
    for result in input.packets() {
        let (stream, packet) = result.unwrap();
        if stream.index() != index {
            continue;
        }
        let data = nal::to_length_prefixed(&Bytes::copy_from_slice(packet.data().unwrap()), framing).unwrap();
        let _ = current.update(&data);
        duration = packet.duration().max(1);
        units.push(Unit {
            info: classify(&current, &data),
            data,
            pts: packet.pts().unwrap() * i64::from(base.numerator()),
        });
    }
    let first = units.iter().map(|unit| unit.pts).min().unwrap();
    units.iter_mut().for_each(|unit| unit.pts -= first);
    (sets, units, base.denominator() as u32, duration)
}

fn cut(units: &[Unit], time_scale: u32) -> Vec<Cut> {
    let borders: Vec<usize> = (0..units.len()).filter(|i| units[*i].info.border.is_some()).collect();
    let mut cuts: Vec<Cut> = Vec::new();
    for (n, border) in borders.iter().enumerate() {
        let end = borders.get(n + 1).copied().unwrap_or(units.len());
        let (leading, own): (Vec<usize>, Vec<usize>) = (*border..end).partition(|i| units[*i].pts < units[*border].pts);
        if let (Some(before), false) = (cuts.last_mut(), leading.is_empty()) {
            before.post_roll = Some(*border);
            before.leading = leading;
        }
        cuts.extend(parts(units, &own, time_scale));
    }
    cuts
}

/// A GOP in one piece, or, where it is too long, in parts that are as long as a GOP may be, or a quarter of what they repeat.
fn parts(units: &[Unit], own: &[usize], time_scale: u32) -> Vec<Cut> {
    let since = |from: usize, to: usize| units[own[to]].pts - units[own[from]].pts;
    let mut parts = Vec::new();
    let mut from = 0;
    for at in 1..own.len() {
        let longest = (LONGEST_GOP * i64::from(time_scale)).max(since(0, from) / 4);
        let (before, after) = own.split_at(at);
        let clean = before.iter().map(|i| units[*i].pts).max() < after.iter().map(|i| units[*i].pts).min();
        if clean && since(from, at) >= longest {
            parts.push(Cut { pre_roll: own[..from].to_vec(), own: own[from..at].to_vec(), ..Cut::default() });
            from = at;
        }
    }
    parts.push(Cut { pre_roll: own[..from].to_vec(), own: own[from..].to_vec(), ..Cut::default() });
    parts
}
