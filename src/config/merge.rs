//! Flags over file over defaults.

use detektor_runtime::fields::Mistakes;

use super::{Camera, CameraDefaults, Config, ConfigError, apply_file};
use crate::cli::RunArgs;

/// The configuration that the arguments and the file they name come to, checked as a whole.
pub fn resolve(args: &RunArgs) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let mut defaults = CameraDefaults::default();
    let mut mistakes = Mistakes::default();
    if let Some(path) = &args.config {
        apply_file(path, &mut config, &mut defaults, &mut mistakes);
    }
    for (id, url) in &args.cameras {
        config.cameras.push(Camera::new(id.clone(), url.clone(), &defaults));
    }
    if let Some(dir) = &args.data_dir {
        config.data_dir.clone_from(dir);
    }
    if args.model.is_some() {
        config.model.clone_from(&args.model);
    }
    config.engine = args.engine.unwrap_or(config.engine);
    config.listen = args.listen.unwrap_or(config.listen);
    config.workers = args.workers.or(config.workers);
    for camera in &mut config.cameras {
        apply_flags(args, camera);
    }
    // A camera that the file got wrong is not also missing.
    let wrong_in_file = !mistakes.0.is_empty();
    let others = config.mistakes().0.into_iter().filter(|mistake| !(wrong_in_file && mistake.field == "camera"));
    mistakes.0.extend(others);
    mistakes.finish().map_err(ConfigError)?;
    Ok(config)
}

fn apply_flags(args: &RunArgs, camera: &mut Camera) {
    camera.policy.sampling = args.detect_fps.unwrap_or(camera.policy.sampling);
    camera.policy.gate &= !args.no_gate;
    if let Some(score) = args.min_score {
        camera.policy.store_score = score;
        camera.rules.report_score = camera.rules.report_score.max(score);
        camera.rules.open_score = camera.rules.open_score.max(score);
    }
}
