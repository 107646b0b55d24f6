//! The `detektor` command.

mod cli;
mod commands;
mod config;
mod roles;
mod run;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use detektor_runtime::{role, telemetry};

use cli::{Cli, Command, LogFormat};

/// The command line, the configuration or a source is wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) if error.is::<config::ConfigError>() => {
            eprintln!("detektor: {error}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => {
            eprintln!("detektor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let format = match cli.log_format {
        LogFormat::Auto => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init(format, &telemetry::filter_from_env())?;
    match cli.command {
        Command::Run(args) => return run::run(args).await,
        Command::Dispatcher(told) => role::run(told).await.map_err(anyhow::Error::from_boxed)?,
        Command::Detect(told) => role::run(told).await.map_err(anyhow::Error::from_boxed)?,
        Command::Merge(told) => role::run(told).await.map_err(anyhow::Error::from_boxed)?,
        Command::Balancer(told) => role::run(told).await.map_err(anyhow::Error::from_boxed)?,
        Command::Events(args) => match args.print.wanted() {
            Some(print) => commands::read::events(print).await?,
            None => role::run(args.serve).await.map_err(anyhow::Error::from_boxed)?,
        },
        Command::Migrate(told) => commands::cluster::migrate(told).await?,
        Command::Bucket(what) => commands::cluster::bucket(what).await?,
        Command::Broker(what) => commands::cluster::broker(what).await?,
        Command::Cameras(what) => commands::cluster::cameras(what).await?,
        Command::Placement(args) => commands::cluster::placement(args).await?,
        Command::Detections(args) => commands::read::detections(args).await?,
        Command::Ledger(args) => commands::read::ledger(args).await?,
        Command::Replay(args) => commands::repair::replay(args).await?,
        Command::Reindex(args) => commands::repair::reindex(args).await?,
        Command::Doctor(args) => return commands::doctor::doctor(args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "detektor", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}
