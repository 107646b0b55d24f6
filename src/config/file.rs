//! The configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use detektor_contract::{CameraId, DetectPolicy, EventRules, KeepVideo, Label, Sampling, Score};
use detektor_runtime::fields::{Fields, Form, Mistakes, boolean, exactly, fraction, list, parsed, text, whole, word};

use super::{Camera, CameraDefaults, Config};

/// Reads the file at `path` into `config` and `defaults`, noting every mistake.
pub fn apply_file(path: &Path, config: &mut Config, defaults: &mut CameraDefaults, mistakes: &mut Mistakes) {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(content) => apply(&name, &content, config, defaults, mistakes),
        Err(error) => mistakes.add(name, format!("cannot be read: {error}")),
    }
}

fn apply(name: &str, content: &str, config: &mut Config, defaults: &mut CameraDefaults, mistakes: &mut Mistakes) {
    let table = match content.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => return mistakes.add(name, error),
    };
    let mut file = Fields::root(table, mistakes);
    file.set(&mut config.data_dir, "data_dir", path());
    file.set(&mut config.model, "model", path().map(Some));
    file.set(&mut config.engine, "engine", parsed("an engine's name"));
    file.set(&mut config.workers, "workers", whole(1..=1024).map(Some));
    file.set(&mut config.listen, "listen", parsed("ADDRESS:PORT"));
    file.set(&mut config.allow_unauthenticated, "allow_unauthenticated", boolean());
    file.set(&mut config.token_file, "token_file", path().map(Some));
    file.set(&mut config.hole_wait, "hole_wait_ms", milliseconds(0));
    file.set(&mut config.drain, "drain_ms", milliseconds(100));
    policy(file.section("detect"), &mut defaults.policy);
    rules(file.section("events"), &mut defaults.rules);
    file.sections("camera", |fields| config.cameras.extend(camera(fields, defaults)));
    file.finish();
}

fn camera(mut fields: Fields<'_>, defaults: &CameraDefaults) -> Option<Camera> {
    let id = fields.need("name", parsed::<CameraId>("a camera's name"));
    let url = fields.need("url", text());
    let mut own = defaults.clone();
    policy(fields.section("detect"), &mut own.policy);
    rules(fields.section("events"), &mut own.rules);
    let real_time = fields.take("real_time", boolean()).unwrap_or(false);
    let passes = fields.take("loop", passes()).unwrap_or(Some(1));
    let rtsp_udp = fields.take("rtsp_udp", boolean()).unwrap_or(false);
    fields.finish();
    Some(Camera { real_time, passes, rtsp_udp, ..Camera::new(id?, url?, &own) })
}

fn policy(mut fields: Fields<'_>, policy: &mut DetectPolicy) {
    fields.set(&mut policy.sampling, "fps", sampling());
    fields.set(&mut policy.gate, "gate", boolean());
    fields.set(&mut policy.store_score, "store_score", score());
    fields.set(&mut policy.labels, "labels", list(text().map(|name| Label::from(name.as_str()))));
    fields.set(&mut policy.masks, "masks", list(mask()));
    let keep = [("events", KeepVideo::Events), ("all", KeepVideo::All), ("none", KeepVideo::None)];
    fields.set(&mut policy.keep_video, "keep_video", word(keep));
    fields.set(&mut policy.max_age_ms, "max_age_ms", whole(1_000..=86_400_000).map(Some));
    fields.finish();
}

fn rules(mut fields: Fields<'_>, rules: &mut EventRules) {
    fields.set(&mut rules.report_score, "report_score", score());
    fields.set(&mut rules.open_score, "open_score", score());
    fields.set(&mut rules.open_looks, "open_looks", whole(1..=16));
    fields.set(&mut rules.open_window, "open_window", whole(1..=16));
    fields.set(&mut rules.lost_after_ms, "lost_after_ms", whole(100..=600_000));
    fields.set(&mut rules.stationary_after_ms, "stationary_after_ms", whole(100..=3_600_000));
    fields.set(&mut rules.stationary_misses, "stationary_misses", whole(1..=10_000));
    fields.finish();
}

fn path() -> Form<PathBuf> {
    text().map(PathBuf::from)
}

/// At most an hour.
fn milliseconds(least: u64) -> Form<Duration> {
    whole(least..=3_600_000).map(Duration::from_millis)
}

/// A score, from 0 to 1.
pub fn score() -> Form<Score> {
    fraction().map(|score| Score::from_f32(score as f32))
}

/// `detect.fps`.
pub fn sampling() -> Form<Sampling> {
    word([("all", Sampling::All)]).or(whole(1..=240).map(Sampling::PerSecond))
}

/// `loop`: how often to play; none for ever.
fn passes() -> Form<Option<u64>> {
    word([("forever", None)]).or(whole(1..=u64::from(u32::MAX)).map(Some))
}

/// A rectangle in fractions of the picture.
fn mask() -> Form<[u16; 4]> {
    exactly("[x, y, width, height], each from 0 to 1", fraction())
        .map(|sides: [f64; 4]| sides.map(|side| (side * 10_000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(content: &str) -> (Config, Mistakes) {
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
        assert_eq!(mistakes, Mistakes::default());
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
        let fields: Vec<&str> = mistakes.0.iter().map(|m| m.field.as_str()).collect();
        let expected = [
            "engine",
            "listen",
            "detect.fps",
            "detect.store_score",
            "camera[0].name",
            "camera[0].url",
            "camera[1].mask",
            "detct",
        ];
        assert_eq!(fields, expected, "{mistakes:#?}");
    }

    /// docs/configuration.md, with what is commented out in it put in.
    #[test]
    fn the_documented_file_is_right_and_shows_the_defaults() {
        let page = include_str!("../../docs/configuration.md");
        let (_, block) = page.split_once("```toml\n").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let written = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n";
        let (config, mistakes) = read(&block.lines().map(written).collect::<String>());
        assert_eq!(mistakes, Mistakes::default());
        let (defaults, camera) = (Config::default(), &config.cameras[1]);
        let policy = DetectPolicy { max_age_ms: None, ..camera.policy.clone() };
        assert_eq!((policy, camera.rules), (DetectPolicy::default(), EventRules::default()));
        assert_eq!((camera.real_time, camera.passes, camera.rtsp_udp), (false, Some(1), false));
        assert_eq!(
            (config.data_dir, config.listen, config.engine),
            (defaults.data_dir, defaults.listen, defaults.engine)
        );
        assert_eq!((config.hole_wait, config.drain), (defaults.hole_wait, defaults.drain));
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        let (_, mistakes) = read("a = \n");
        assert_eq!(mistakes.0[0].field, "x.toml");
        assert!(mistakes.0[0].problem.contains("line 1"), "{}", mistakes.0[0].problem);
    }
}
