//! `detektor doctor`: is everything there that `detektor run` with the same arguments needs?

use std::io::IsTerminal;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use detektor_backends::embedded::Embedded;
use detektor_backends::store::StoreError;
use detektor_detect::loading::try_engine;
use detektor_dispatcher::source::{self, Item, OpenOptions, SourceUrl};
use detektor_runtime::chain;

use crate::cli::RunArgs;
use crate::config::{self, Camera, Config};

/// Less than this is soon full.
const DISK_BYTES: u64 = 1 << 30;
/// How long a camera may take to show its first picture.
const CAMERA_PATIENCE: Duration = Duration::from_secs(10);

/// What a check found: what is so, or what is wrong and what to do.
type Finding = Result<String, String>;

/// Checks everything and says what to do; exit 1 if anything is wrong.
pub async fn doctor(args: RunArgs) -> anyhow::Result<ExitCode> {
    let config = match config::resolve(&args) {
        Ok(config) => config,
        Err(error) => {
            let mut well = true;
            for mistake in &error.0.0 {
                well &= say("configuration", &Err(mistake.to_string()));
            }
            return Ok(exit(well));
        }
    };
    let mut well = say("configuration", &Ok(format!("{} cameras", config.cameras.len())));
    well &= say("data directory", &data_dir(&config.data_dir).await);
    well &= say("disk", &disk(&config.data_dir));
    well &= say("model", &model(&config).await);
    well &= say("port", &port(&config));
    for camera in &config.cameras {
        well &= say(&format!("camera {}", camera.id), &look_at(camera).await);
    }
    Ok(exit(well))
}

fn exit(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(what: &str, finding: &Finding) -> bool {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (word, colour, text) = match finding {
        Ok(text) => ("ok  ", "32", text),
        Err(text) => ("FAIL", "31", text),
    };
    if colours {
        println!("\x1b[{colour}m{word}\x1b[0m  {what}: {text}")
    } else {
        println!("{word}  {what}: {text}")
    }
    finding.is_ok()
}

async fn data_dir(dir: &Path) -> Finding {
    match Embedded::probe(dir).await {
        Ok(()) => Ok(format!("{} can be used", dir.display())),
        Err(error @ StoreError::InUse(_)) => {
            Err(format!("{}; stop that process, or choose another --data-dir", chain(&error)))
        }
        Err(error) => Err(format!("{}; choose another --data-dir", chain(&error))),
    }
}

fn disk(dir: &Path) -> Finding {
    let existing = dir.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let space = rustix::fs::statvfs(existing).map_err(|error| format!("{}: {error}", existing.display()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let text = format!("{:.1} GiB free", free as f64 / f64::from(1 << 30));
    if free >= DISK_BYTES { Ok(text) } else { Err(format!("{text}: make room, or choose another --data-dir")) }
}

async fn model(config: &Config) -> Finding {
    let model = config.looking().load().map_err(|error| format!("{}; see docs/models.md", chain(&error)))?;
    let engine = config.engine;
    let started = Instant::now();
    let detector = tokio::task::spawn_blocking(move || try_engine(&model, engine)).await;
    let id = detector.map_err(|error| error.to_string())?.map_err(|error| chain(&error))?;
    Ok(format!("{} on {}, ready in {:.1} s", id.model, id.engine, started.elapsed().as_secs_f64()))
}

fn port(config: &Config) -> Finding {
    match TcpListener::bind(config.listen) {
        Ok(_) => Ok(format!("{} is free", config.listen)),
        Err(error) => Err(format!("{}: {error}; choose another with --listen", config.listen)),
    }
}

async fn look_at(camera: &Camera) -> Finding {
    let url: SourceUrl = camera.url.parse().map_err(|error| format!("{error}"))?;
    let options = OpenOptions { timeout: CAMERA_PATIENCE, ..OpenOptions::default() };
    let mut opened = source::open(&url, options).await.map_err(|error| chain(&error))?;
    let mut form = None;
    loop {
        match opened.source.next().await.map_err(|error| chain(&error))? {
            Some(Item::Stream(stream)) => form = Some(stream),
            Some(Item::Unit(_)) => break,
            Some(Item::Lost { .. }) => {}
            None => return Err(format!("{}: no picture in it", url.redacted())),
        }
    }
    match form.and_then(|form| form.sets.size().map(|(w, h)| (form.sets.codec(), w, h))) {
        Some((codec, width, height)) => Ok(format!("{codec:?} {width}x{height} from {}", url.redacted())),
        None => Ok(format!("pictures come from {}", url.redacted())),
    }
}
