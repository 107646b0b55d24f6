//! The `detektor` command.

mod cli;
mod commands;
mod config;
mod run;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use detektor_runtime::telemetry;

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
        Command::Events(args) => commands::read::events(args).await?,
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
