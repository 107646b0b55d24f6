//! From a camera as people write it to one that runs: its password is fetched here, and nowhere else.

use detektor_backends::secret::SecretFile;
use detektor_contract::CameraId;
use detektor_runtime::camera::{CameraSpec, InvalidUrl, Password, SourceUrl};

use crate::camera::CameraConfig;
use crate::pace::Pace;
use crate::source::{OpenOptions, RtspTransport};

/// Why a camera's credentials are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Its password's file.
    #[error("the password of camera {camera}")]
    File {
        /// Which camera.
        camera: CameraId,
        /// Why.
        source: std::io::Error,
    },
    /// Its password's variable.
    #[error("the password of camera {camera}: the environment variable {variable} is not set")]
    Variable {
        /// Which camera.
        camera: CameraId,
        /// Which variable.
        variable: String,
    },
    /// Its URL.
    #[error("camera {camera}")]
    Url {
        /// Which camera.
        camera: CameraId,
        /// Why.
        source: InvalidUrl,
    },
}

/// The camera as the dispatcher takes it, with its password fetched.
///
/// # Errors
/// Where its URL is none, or its password cannot be had.
pub fn config(spec: &CameraSpec, partition: u16) -> Result<CameraConfig, CredentialError> {
    let camera = || spec.id.clone();
    let at_url = |source| CredentialError::Url { camera: camera(), source };
    let mut url: SourceUrl = spec.url.parse().map_err(at_url)?;
    if let (Some(user), Some(password)) = (&spec.user, &spec.password) {
        let secret = match password {
            Password::File(path) => {
                SecretFile::new(path).read().map_err(|source| CredentialError::File { camera: camera(), source })?
            }
            Password::Variable(variable) => std::env::var(variable)
                .map_err(|_| CredentialError::Variable { camera: camera(), variable: variable.clone() })?
                .into(),
        };
        url = url.with_credentials(user, &secret).map_err(at_url)?;
    }
    let rtsp_transport = if spec.rtsp_udp { RtspTransport::Udp } else { RtspTransport::Tcp };
    Ok(CameraConfig {
        pace: if spec.real_time { Pace::RealTime } else { Pace::AsFast },
        passes: spec.passes,
        policy: spec.policy.clone(),
        rules: spec.rules,
        partition,
        open: OpenOptions { rtsp_transport, ..OpenOptions::default() },
        ..CameraConfig::new(spec.id.clone(), url)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use detektor_runtime::camera::{CameraFile, parse_spec};

    use super::*;

    #[test]
    fn a_password_is_fetched_and_shown_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate");
        std::fs::write(&path, "sesame\n").unwrap();
        let yaml =
            format!("cameras: [{{name: gate, url: 'rtsp://192.0.2.7/s', user: v, password_file: {}}}]", path.display());
        let file = CameraFile::parse("-", &yaml).unwrap();
        assert!(!file.cameras[0].1.contains("sesame"));
        let config = config(&parse_spec(&file.cameras[0].1).unwrap(), 3).unwrap();
        assert_eq!(config.partition, 3);
        assert_eq!(config.url.expose(), "rtsp://v:sesame@192.0.2.7/s");
        assert!(!format!("{config:?}").contains("sesame"));
    }

    #[test]
    fn a_password_that_cannot_be_had_is_named() {
        let json =
            r#"{"name":"gate","url":"rtsp://h/","user":"v","password_variable":"DETEKTOR_TEST_NO_SUCH_VARIABLE"}"#;
        let error = detektor_runtime::chain(&config(&parse_spec(json).unwrap(), 0).unwrap_err());
        assert!(error.contains("DETEKTOR_TEST_NO_SUCH_VARIABLE is not set"), "{error}");
    }
}
