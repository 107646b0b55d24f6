//! `detektor run`: the whole system in one process, on embedded backends.

mod app;
mod cameras;
mod model;
pub mod progress;
mod summary;

use std::process::ExitCode;

use anyhow::Context;
use detektor_dispatcher::CameraReport;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::RunArgs;
use crate::config;
use app::App;

pub use app::PARTITION;
pub use model::{load_model, try_engine};

/// A source failed.
const EXIT_SOURCE: u8 = 2;

/// Runs until it is told to stop, or until its files are through.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let config = config::resolve(&args)?;
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let app = App::build(config, args.until_done, shutdown).await?;
    eprintln!("detektor: the page is at http://{}/", app.address());
    let (summary, reports) = app.run(args.json).await?;
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    }
    say_failures(&reports);
    Ok(if reports.iter().any(|report| report.error.is_some()) { EXIT_SOURCE.into() } else { ExitCode::SUCCESS })
}

fn say_failures(reports: &[CameraReport]) {
    for report in reports {
        if let Some(error) = &report.error {
            eprintln!("detektor: camera {}: {error}", report.camera);
        }
    }
}

/// The first SIGTERM or SIGINT begins the drain; a second one ends the process as it is.
fn stop_on_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // Lives as long as the process, which it may have to end.
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!("stopping: finishing what is in flight; again to stop at once");
                shutdown.cancel();
            }
        }
        std::process::exit(130);
    });
    Ok(())
}
