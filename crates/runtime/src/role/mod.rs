//! A role: a part of Detektor as a process of its own, joined to the others by a broker, a bucket and a database only.
//!
//! A [`Role`] says what it can be told and what it runs; everything that all roles have in common is here: reading the
//! configuration, logs, signals, the HTTP server with `/livez`, `/readyz` and `/metrics`, and the drain.

mod args;
mod calls;
mod health;
mod made;
mod process;
mod servers;
mod state;

use std::future::Future;
use std::process::ExitCode;

use clap::{Args, FromArgMatches};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::fields::Mistakes;
use crate::fields::settings::Settings;
use crate::task::BoxError;
use crate::telemetry::{self, LogFormat, chain};

pub use args::{Origin, Told};
pub use health::{HealthArgs, health};
pub use made::until_made;
pub use process::{Process, ProcessSettings};
pub use servers::{Broker, BucketSettings, Connected, Database, OpenQueues, Servers};
pub use state::{COMMON, Held, HeldKind, Truth};

/// The sections of a configuration file. One file may serve all roles: each leaves alone what is not its own.
const SECTIONS: [&str; 8] = ["rabbitmq", "s3", "postgres", "dispatcher", "detect", "merge", "events", "balancer"];
/// How a process ends whose command line or configuration is wrong.
pub const EXIT_USAGE: u8 = 2;

/// What is configured by a file, the environment and flags.
pub trait Configured: Settings + Default + Send + Sync + 'static {
    /// The section of a file that is its own, beside those of the servers it uses: the role's name, or empty.
    const SECTION: &'static str;

    /// What is wrong with its settings taken together.
    fn mistakes(&self, mistakes: &mut Mistakes);
}

/// A part that can run as a process of its own; its section has its name.
pub trait Role: Configured {
    /// A line for its help.
    const ABOUT: &'static str;
    /// What it holds in memory beside its code, and beside what every role holds ([`COMMON`]).
    const STATE: &'static [Held];

    /// What every role can be told.
    fn process(&self) -> ProcessSettings;

    /// Adds what it runs to the process. Waits for its servers, however long they are away.
    fn start(self, process: &mut Process) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} mistake{}:{}", .0.0.len(), if .0.0.len() == 1 { "" } else { "s" }, listed(.0))]
pub struct InvalidConfig(pub Mistakes);

fn listed(mistakes: &Mistakes) -> String {
    mistakes.0.iter().map(|mistake| format!("\n  {mistake}")).collect()
}

/// Runs a role as the program `name` until it is told to stop, and drains it. Says on standard error what went wrong.
pub async fn run<R: Role>(name: &str, told: Told<R>) -> ExitCode {
    exit_code(name, run_to_end(told).await)
}

async fn run_to_end<R: Role>(told: Told<R>) -> Result<(), BoxError> {
    let role = told.resolve()?;
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let mut process = Process::begin(R::SECTION, &role.process(), shutdown).await?;
    let started = role.start(&mut process).await;
    process.run(started).await
}

/// The `main` of a binary that is one role and nothing else.
pub fn main<R: Role>() -> ExitCode {
    let name = format!("detektor-{}", R::SECTION);
    let formats = clap::builder::PossibleValuesParser::new(["text", "json"]);
    let log_format = clap::Arg::new("log_format").long("log-format").env("DETEKTOR_LOG_FORMAT").default_value("text");
    let command = clap::Command::new(name.clone())
        .about(R::ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true)
        .subcommand(HealthArgs::augment_args(clap::Command::new("health")).about(health::ABOUT))
        .arg(log_format.value_parser(formats).help("How to write logs (to standard error)"));
    let matches = Told::<R>::augment_args(command).get_matches();
    let format = match matches.get_one::<String>("log_format").map(String::as_str) {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let begin = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if let Some(("health", asked)) = matches.subcommand() {
        let asking = || -> Result<(), BoxError> {
            let args = HealthArgs::from_arg_matches(asked)?;
            Ok(begin()?.block_on(health(args))?)
        };
        return exit_code(&name, asking());
    }
    let ended = || -> Result<(), BoxError> {
        let args = Told::<R>::from_arg_matches(&matches)?;
        telemetry::init(format, &telemetry::filter_from_env())?;
        begin()?.block_on(run_to_end(args))
    };
    exit_code(&name, ended())
}

/// How a process ends, after saying why on standard error.
fn exit_code(name: &str, ended: Result<(), BoxError>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", chain(&*error));
            if error.is::<InvalidConfig>() { EXIT_USAGE.into() } else { ExitCode::FAILURE }
        }
    }
}

/// The first SIGTERM or SIGINT begins the drain; a second one ends the process as it is.
///
/// # Errors
/// Where the operating system refuses to tell of signals.
pub fn stop_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
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
