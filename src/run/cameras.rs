//! From configured cameras to the dispatcher's.

use detektor_dispatcher::spec::config;
use detektor_dispatcher::{CameraConfig, DispatcherConfig};
use detektor_runtime::chain;
use detektor_runtime::fields::Mistakes;

use super::app::PARTITION;
use crate::config::{Camera, Config, ConfigError};

/// How the dispatcher works in one process.
pub fn dispatching(told: &Config, until_done: bool) -> DispatcherConfig {
    DispatcherConfig { drain: told.drain, until_done, ..DispatcherConfig::default() }
}

/// The cameras, with every password that cannot be had at once.
pub fn configured(cameras: &[Camera]) -> Result<Vec<CameraConfig>, ConfigError> {
    let mut mistakes = Mistakes::default();
    let mut configured = Vec::with_capacity(cameras.len());
    for camera in cameras {
        match config(camera, PARTITION) {
            Ok(config) => configured.push(config),
            Err(error) => mistakes.add(format!("camera {}", camera.id), chain(&error)),
        }
    }
    mistakes.finish().map_err(ConfigError)?;
    Ok(configured)
}
