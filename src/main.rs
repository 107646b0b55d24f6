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

/// What messages begin with.
const PROGRAM: &str = "detektor";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) if error.is::<config::ConfigError>() || error.is::<role::InvalidConfig>() => {
            eprintln!("{PROGRAM}: {error}");
            role::EXIT_USAGE.into()
        }
        Err(error) => {
            eprintln!("{PROGRAM}: {error:#}");
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
        Command::Dispatcher(told) => return Ok(role::run(PROGRAM, told).await),
        Command::Detect(told) => return Ok(role::run(PROGRAM, told).await),
        Command::Merge(told) => return Ok(role::run(PROGRAM, told).await),
        Command::Balancer(told) => return Ok(role::run(PROGRAM, told).await),
        Command::Events(args) => match args.print.wanted(args.serve.part()) {
            Some(print) => commands::read::events(print).await?,
            None => return Ok(role::run(PROGRAM, args.serve).await),
        },
        Command::Migrate(args) => return commands::migrate::migrate(args).await,
        Command::Check(args) => return commands::check::check(args).await,
        Command::State { json } => commands::state::state(json)?,
        Command::ExplainScale(args) => commands::explain::explain(args).await?,
        Command::Health(args) => role::health(args).await?,
        Command::Bucket(what) => commands::cluster::bucket(what).await?,
        Command::Broker(what) => commands::cluster::broker(what).await?,
        Command::Cameras(what) => commands::cluster::cameras(what).await?,
        Command::Placement(args) => commands::cluster::placement(args).await?,
        Command::Partitions(args) => commands::cluster::partitions(args).await?,
        Command::Detections(args) => commands::read::detections(args).await?,
        Command::Ledger(args) => commands::read::ledger(args).await?,
        Command::Replay(args) => commands::repair::replay(args).await?,
        Command::Prune(args) => commands::prune::prune(*args).await?,
        Command::Reindex(args) => commands::repair::reindex(args).await?,
        Command::Doctor(args) => return commands::doctor::doctor(args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "detektor", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}
