//! The configuration of `detektor run`: a file, then the environment, then flags; the later one wins.

mod file;
mod merge;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use detektor_contract::{CameraId, DetectPolicy, EventRules};
use detektor_detect::engine::EngineKind;
use detektor_runtime::fields::Mistakes;

pub use file::{apply_file, sampling, score};
pub use merge::resolve;

/// Everything `detektor run` can be told. [`Config::default`] is the only place where defaults stand.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database and the bucket live.
    pub data_dir: PathBuf,
    /// The model's manifest, or its `.onnx` file with the manifest beside it; none takes the bundled model.
    pub model: Option<PathBuf>,
    /// Which engine runs it.
    pub engine: EngineKind,
    /// Threads that decode and infer; none takes one a core.
    pub workers: Option<usize>,
    /// Where the events API and the page listen.
    pub listen: SocketAddr,
    /// Listen beyond loopback without a token.
    pub allow_unauthenticated: bool,
    /// A file that holds the token readers must show.
    pub token_file: Option<PathBuf>,
    /// How long merge waits for a missing outcome before it goes on without it.
    pub hole_wait: Duration,
    /// How long work in flight may take to finish after SIGTERM.
    pub drain: Duration,
    /// The cameras.
    pub cameras: Vec<Camera>,
}

/// One camera.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Its name.
    pub id: CameraId,
    /// Where it is: `rtsp://…`, `http://…`, `file:PATH` or a path.
    pub url: String,
    /// Play a file at its own speed instead of as fast as it can be taken.
    pub real_time: bool,
    /// How often to play a file; none goes on for ever.
    pub passes: Option<u64>,
    /// RTSP over UDP instead of TCP.
    pub rtsp_udp: bool,
    /// What to look at and keep.
    pub policy: DetectPolicy,
    /// When detections become events.
    pub rules: EventRules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("detektor-data"),
            model: None,
            engine: EngineKind::default(),
            workers: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            allow_unauthenticated: false,
            token_file: None,
            hole_wait: Duration::from_secs(10),
            drain: Duration::from_secs(20),
            cameras: Vec::new(),
        }
    }
}

/// Settings that every camera has unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub struct CameraDefaults {
    /// What to look at and keep.
    pub policy: DetectPolicy,
    /// When detections become events.
    pub rules: EventRules,
}

impl Camera {
    /// A camera with everything else at its default.
    pub fn new(id: CameraId, url: String, defaults: &CameraDefaults) -> Self {
        let CameraDefaults { policy, rules } = defaults.clone();
        Self { id, url, real_time: false, passes: Some(1), rtsp_udp: false, policy, rules }
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} mistake{}:{}", .0.0.len(), if .0.0.len() == 1 { "" } else { "s" }, listed(.0))]
pub struct ConfigError(pub Mistakes);

impl From<Mistakes> for ConfigError {
    fn from(mistakes: Mistakes) -> Self {
        Self(mistakes)
    }
}

fn listed(mistakes: &Mistakes) -> String {
    mistakes.0.iter().map(|mistake| format!("\n  {mistake}")).collect()
}

impl Config {
    /// Everything wrong with it that is not already wrong in the file: ranges and contradictions.
    pub fn mistakes(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        let mut say = |field: &str, problem: String| mistakes.add(field, problem);
        if self.cameras.is_empty() {
            say("camera", "none given; add --camera NAME=URL, or [[camera]] to the configuration file".to_owned());
        }
        for (index, camera) in self.cameras.iter().enumerate() {
            let field = format!("camera {}", camera.id);
            if self.cameras[..index].iter().any(|other| other.id == camera.id) {
                say(&field, "given twice".to_owned());
            }
            for problem in camera.policy.mistakes().iter().chain(&camera.rules.mistakes()) {
                say(&field, problem.to_string());
            }
            if camera.passes == Some(0) {
                say(&field, "loop: 0 plays nothing".to_owned());
            }
        }
        if self.workers == Some(0) {
            say("workers", "0 does no work; leave it out for one a core".to_owned());
        }
        let loopback = self.listen.ip().is_loopback();
        if !loopback && self.token_file.is_none() && !self.allow_unauthenticated {
            let problem = format!(
                "{} can be reached from other machines: set a token_file, or allow_unauthenticated = true",
                self.listen
            );
            say("listen", problem);
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn defaults_lack_only_a_camera() {
        let mut config = Config::default();
        assert_eq!(config.mistakes().0.len(), 1);
        config.cameras.push(Camera::new(CameraId::new("a").unwrap(), "x.mp4".to_owned(), &CameraDefaults::default()));
        assert_eq!(config.mistakes(), Mistakes::default());
    }

    #[test]
    fn listening_to_the_world_needs_a_word() {
        let mut config = Config { listen: "0.0.0.0:80".parse().unwrap(), ..Config::default() };
        assert!(config.mistakes().0.iter().any(|m| m.field == "listen"));
        config.allow_unauthenticated = true;
        assert!(!config.mistakes().0.iter().any(|m| m.field == "listen"));
    }
}
