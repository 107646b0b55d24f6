//! From configured cameras to the dispatcher's.

use detektor_dispatcher::source::{OpenOptions, RtspTransport};
use detektor_dispatcher::{CameraConfig, DispatcherConfig, Pace, SourceUrl};
use detektor_runtime::fields::Mistakes;

use super::app::PARTITION;
use crate::config::{Camera, Config, ConfigError};

/// How the dispatcher works in one process.
pub fn dispatching(config: &Config, until_done: bool) -> DispatcherConfig {
    DispatcherConfig { drain: config.drain, until_done, ..DispatcherConfig::default() }
}

/// The cameras, with every URL that cannot be read at once.
pub fn configured(cameras: &[Camera]) -> Result<Vec<CameraConfig>, ConfigError> {
    let mut mistakes = Mistakes::default();
    let mut configured = Vec::with_capacity(cameras.len());
    for camera in cameras {
        match camera.url.parse::<SourceUrl>() {
            Ok(url) => configured.push(one(camera, url)),
            Err(error) => mistakes.add(format!("camera {}", camera.id), error),
        }
    }
    mistakes.finish()?;
    Ok(configured)
}

fn one(camera: &Camera, url: SourceUrl) -> CameraConfig {
    let rtsp_transport = if camera.rtsp_udp { RtspTransport::Udp } else { RtspTransport::Tcp };
    CameraConfig {
        pace: if camera.real_time { Pace::RealTime } else { Pace::AsFast },
        passes: camera.passes,
        policy: camera.policy.clone(),
        rules: camera.rules,
        partition: PARTITION,
        open: OpenOptions { rtsp_transport, ..OpenOptions::default() },
        ..CameraConfig::new(camera.id.clone(), url)
    }
}
