//! The configuration of `detektor run`: a file, then the environment, then flags; the later one wins.

mod file;
mod merge;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use detektor_detect::engine::EngineKind;
use detektor_detect::loading::Looking;
use detektor_runtime::fields::Mistakes;

pub use detektor_runtime::camera::{CameraDefaults, CameraSpec as Camera, sampling, score};
pub use detektor_runtime::role::InvalidConfig as ConfigError;

pub use file::apply_file;
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
    /// A file that holds the token for what changes something.
    pub admin_token_file: Option<PathBuf>,
    /// How long merge waits for a missing outcome before it goes on without it.
    pub hole_wait: Duration,
    /// How long work in flight may take to finish after SIGTERM.
    pub drain: Duration,
    /// The cameras.
    pub cameras: Vec<Camera>,
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
            admin_token_file: None,
            hole_wait: Duration::from_secs(10),
            drain: Duration::from_secs(20),
            cameras: Vec::new(),
        }
    }
}

impl Config {
    /// What looks.
    pub fn looking(&self) -> Looking {
        Looking { model: self.model.clone(), engine: self.engine, workers: self.workers }
    }

    /// Everything wrong with it that is not already wrong in the file: ranges and contradictions.
    pub fn mistakes(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        if self.cameras.is_empty() {
            mistakes.add("camera", "none given; add --camera NAME=URL, or [[camera]] to the configuration file");
        }
        for (index, camera) in self.cameras.iter().enumerate() {
            if self.cameras[..index].iter().any(|other| other.id == camera.id) {
                mistakes.add(format!("camera {}", camera.id), "given twice");
            }
            camera.mistakes(&mut mistakes);
        }
        if self.workers == Some(0) {
            mistakes.add("workers", "0 does no work; leave it out for one a core");
        }
        let loopback = self.listen.ip().is_loopback();
        let asked = self.token_file.is_some() || self.admin_token_file.is_some();
        if !loopback && !asked && !self.allow_unauthenticated {
            let problem = format!(
                "{} can be reached from other machines: set a token_file, or allow_unauthenticated = true",
                self.listen
            );
            mistakes.add("listen", problem);
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use detektor_contract::CameraId;

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
