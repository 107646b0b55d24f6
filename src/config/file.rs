//! The configuration file.

use std::path::Path;
use std::time::Duration;

use detektor_contract::{CameraId, DetectPolicy, EventRules, KeepVideo, Label, Sampling, Score};
use toml::Value;

use super::reader::{Mistake, Reader, boolean, fraction, list, parsed, text, whole};
use super::{Camera, CameraDefaults, Config};

/// Reads the file at `path` into `config` and `defaults`, noting every mistake.
pub fn apply_file(path: &Path, config: &mut Config, defaults: &mut CameraDefaults, mistakes: &mut Vec<Mistake>) {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(content) => apply(&name, &content, config, defaults, mistakes),
        Err(error) => mistakes.push(Mistake { field: name, problem: format!("cannot be read: {error}") }),
    }
}

fn apply(name: &str, content: &str, config: &mut Config, defaults: &mut CameraDefaults, mistakes: &mut Vec<Mistake>) {
    let table = match content.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => return mistakes.push(Mistake { field: name.to_owned(), problem: error.to_string() }),
    };
    let mut file = Reader::new("", table, mistakes);
    set(&mut config.data_dir, file.take("data_dir", |v| text(v).map(Into::into)));
    set_some(&mut config.model, file.take("model", |v| text(v).map(Into::into)));
    set(&mut config.engine, file.take("engine", parsed));
    set_some(&mut config.workers, file.take("workers", whole(1..=1024)).map(|n| n as usize));
    set(&mut config.listen, file.take("listen", parsed));
    set(&mut config.allow_unauthenticated, file.take("allow_unauthenticated", boolean));
    set_some(&mut config.token_file, file.take("token_file", |v| text(v).map(Into::into)));
    set(&mut config.hole_wait, file.take("hole_wait_ms", whole(0..=3_600_000)).map(milliseconds));
    set(&mut config.drain, file.take("drain_ms", whole(100..=3_600_000)).map(milliseconds));
    let mut detect = file.section("detect");
    policy(&mut detect, &mut defaults.policy);
    detect.finish();
    let mut events = file.section("events");
    rules(&mut events, &mut defaults.rules);
    events.finish();
    file.sections("camera", |reader| config.cameras.extend(camera(reader, defaults)));
    file.finish();
}

fn camera(mut reader: Reader<'_>, defaults: &CameraDefaults) -> Option<Camera> {
    let id = reader.take("name", parsed::<CameraId>);
    let url = reader.take("url", text);
    if id.is_none() || url.is_none() {
        reader.mistake("name, url", "both are needed");
    }
    let mut own = defaults.clone();
    let mut detect = reader.section("detect");
    policy(&mut detect, &mut own.policy);
    detect.finish();
    let mut events = reader.section("events");
    rules(&mut events, &mut own.rules);
    events.finish();
    let real_time = reader.take("real_time", boolean).unwrap_or(false);
    let passes = reader.take("loop", passes).unwrap_or(Some(1));
    let rtsp_udp = reader.take("rtsp_udp", boolean).unwrap_or(false);
    reader.finish();
    Some(Camera { real_time, passes, rtsp_udp, ..Camera::new(id?, url?, &own) })
}

fn policy(reader: &mut Reader<'_>, policy: &mut DetectPolicy) {
    set(&mut policy.sampling, reader.take("fps", sampling));
    set(&mut policy.gate, reader.take("gate", boolean));
    set(&mut policy.store_score, reader.take("store_score", score));
    set(&mut policy.labels, reader.take("labels", list(|v| text(v).map(|name| Label::from(name.as_str())))));
    set(&mut policy.masks, reader.take("masks", list(mask)));
    set(&mut policy.keep_video, reader.take("keep_video", keep_video));
    set_some(&mut policy.max_age_ms, reader.take("max_age_ms", whole(1_000..=86_400_000)).map(|n| n as u32));
}

fn rules(reader: &mut Reader<'_>, rules: &mut EventRules) {
    set(&mut rules.report_score, reader.take("report_score", score));
    set(&mut rules.open_score, reader.take("open_score", score));
    set(&mut rules.open_looks, reader.take("open_looks", whole(1..=16)).map(|n| n as u8));
    set(&mut rules.open_window, reader.take("open_window", whole(1..=16)).map(|n| n as u8));
    set(&mut rules.lost_after_ms, reader.take("lost_after_ms", whole(100..=600_000)).map(|n| n as u32));
    set(&mut rules.stationary_after_ms, reader.take("stationary_after_ms", whole(100..=3_600_000)).map(|n| n as u32));
    set(&mut rules.stationary_misses, reader.take("stationary_misses", whole(1..=10_000)).map(|n| n as u16));
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_some<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn milliseconds(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn score(value: Value) -> Result<Score, String> {
    fraction(value).map(|score| Score::from_f32(score as f32))
}

/// `detect.fps`: `"all"`, or 1 to 240.
fn sampling(value: Value) -> Result<Sampling, String> {
    match value {
        Value::String(text) => parse_sampling(&text),
        other => whole(1..=240)(other).map(|n| Sampling::PerSecond(n as u16)),
    }
}

/// `all`, or 1 to 240, as on the command line.
pub fn parse_sampling(text: &str) -> Result<Sampling, String> {
    match text.parse::<u16>() {
        _ if text == "all" => Ok(Sampling::All),
        Ok(n) if (1..=240).contains(&n) => Ok(Sampling::PerSecond(n)),
        _ => Err(format!("{text:?}: expected all, or a whole number from 1 to 240")),
    }
}

/// `loop`: `"forever"`, or how often to play.
fn passes(value: Value) -> Result<Option<u64>, String> {
    match value {
        Value::String(text) if text == "forever" => Ok(None),
        Value::Integer(n) if n >= 1 => Ok(Some(n.unsigned_abs())),
        other => Err(format!("expected \"forever\" or a whole number from 1, found {other}")),
    }
}

fn keep_video(value: Value) -> Result<KeepVideo, String> {
    match text(value)?.as_str() {
        "events" => Ok(KeepVideo::Events),
        "all" => Ok(KeepVideo::All),
        "none" => Ok(KeepVideo::None),
        other => Err(format!("{other:?}: expected \"events\", \"all\" or \"none\"")),
    }
}

/// A rectangle in fractions of the picture.
fn mask(value: Value) -> Result<[u16; 4], String> {
    let sides = list(fraction)(value)?;
    let sides: [f64; 4] =
        sides.try_into().map_err(|_| "expected [x, y, width, height], each from 0 to 1".to_owned())?;
    Ok(sides.map(|side| (side * 10_000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(content: &str) -> (Config, Vec<Mistake>) {
        let (mut config, mut defaults, mut mistakes) = Default::default();
        apply("x.toml", content, &mut config, &mut defaults, &mut mistakes);
        (config, mistakes)
    }

    #[test]
    fn a_camera_inherits_what_it_does_not_say() {
        let (config, mistakes) = read(
            "[detect]\nfps = 2\ngate = false\n[[camera]]\nname = 'gate'\nurl = 'x.mp4'\nloop = 'forever'\n\
             detect.fps = 'all'\ndetect.masks = [[0, 0, 0.5, 0.1]]\n",
        );
        assert_eq!(mistakes, []);
        let camera = &config.cameras[0];
        assert_eq!(camera.policy.sampling, Sampling::All);
        assert!(!camera.policy.gate);
        assert_eq!(camera.policy.masks, [[0, 0, 5000, 1000]]);
        assert_eq!(camera.passes, None);
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let (_, mistakes) = read(
            "listen = 'nowhere'\nengine = 'cuda'\ndetct = 1\n[detect]\nfps = 0\nstore_score = 2\n\
             [[camera]]\nname = 'a/b'\n[[camera]]\nname = 'b'\nurl = 'x'\nmask = 1\n",
        );
        let fields: Vec<&str> = mistakes.iter().map(|m| m.field.as_str()).collect();
        let expected = [
            "engine",
            "listen",
            "detect.fps",
            "detect.store_score",
            "camera[0].name",
            "camera[0].name, url",
            "camera[1].mask",
            "detct",
        ];
        assert_eq!(fields, expected, "{mistakes:#?}");
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        let (_, mistakes) = read("a = \n");
        assert_eq!(mistakes[0].field, "x.toml");
        assert!(mistakes[0].problem.contains("line 1"), "{}", mistakes[0].problem);
    }
}
