//! `detektor run`: the whole system in one process, on embedded backends.

mod app;
mod cameras;
pub mod progress;
mod summary;

use std::process::ExitCode;

use anyhow::Context;
use detektor_dispatcher::CameraReport;
use detektor_runtime::role::stop_on_signals;
use tokio_util::sync::CancellationToken;

use crate::cli::RunArgs;
use crate::config;
use app::App;

pub use app::PARTITION;

/// A source failed.
const EXIT_SOURCE: u8 = 2;

/// Runs until it is told to stop, or until its files are through.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let config = config::resolve(&args)?;
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone()).context("cannot listen for signals")?;
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
