//! The configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use detektor_runtime::camera::{CameraDefaults, CameraSpec, read_policy, read_rules};
use detektor_runtime::fields::{Fields, Form, Mistakes, boolean, parsed, text, whole};

use super::Config;

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
    file.set(&mut config.admin_token_file, "admin_token_file", path().map(Some));
    file.set(&mut config.hole_wait, "hole_wait_ms", milliseconds(0));
    file.set(&mut config.drain, "drain_ms", milliseconds(100));
    read_policy(file.section("detect"), &mut defaults.policy);
    read_rules(file.section("events"), &mut defaults.rules);
    file.sections("camera", |fields| config.cameras.extend(CameraSpec::read(fields, defaults)));
    file.finish();
}

fn path() -> Form<PathBuf> {
    text().map(PathBuf::from)
}

/// At most an hour.
fn milliseconds(least: u64) -> Form<Duration> {
    whole(least..=3_600_000).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use detektor_contract::{DetectPolicy, EventRules, Sampling};

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
