//! Logs, and the trace that follows a segment through the queue.

mod trace;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::task::panic_message;

pub use trace::{InvalidTraceparent, Trace};

/// The environment variable that holds the log filter, in `tracing`'s syntax: `info`, `detektor_detect=debug,warn`.
pub const FILTER_ENV: &str = "DETEKTOR_LOG";

/// A library that logs a message with its body, where the broker gives it back; we say ourselves what comes of that.
const QUIET: &str = "lapin::returned_messages=error";

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;
    fn from_str(s: &str) -> Result<Self, TelemetryError> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(TelemetryError::Format(other.to_owned())),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// No such format.
    #[error("log format {0:?}: expected text or json")]
    Format(String),
    /// The filter cannot be read.
    #[error("log filter {filter:?} cannot be read")]
    Filter {
        /// What it says.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before, in this process.
    #[error("logging is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// The filter that [`FILTER_ENV`] holds; `info` where it holds none.
pub fn filter_from_env() -> String {
    std::env::var(FILTER_ENV).ok().filter(|filter| !filter.is_empty()).unwrap_or_else(|| "info".to_owned())
}

/// Sets up logging to standard error, through a filter as [`filter_from_env`] gives.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    init_with(format, filter, colours, std::io::stderr)
}

/// Sets up logging to `writer`: for one that shares the terminal with progress bars.
pub fn init_with<W>(format: LogFormat, filter: &str, colours: bool, writer: W) -> Result<(), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber(format, filter, colours, writer)?.try_init().map_err(TelemetryError::Twice)?;
    // A handler's panic is caught and goes on as a failure: it belongs into the log, in the log's format.
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic_message(panic.payload());
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    // Empty unless RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!(at, thread, %backtrace, "panic: {message}"),
        _ => tracing::error!(at, thread, "panic: {message}"),
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(format!("{filter},{QUIET}"))
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).finish()),
    })
}

/// An error and its sources in one line, for a log or a dead letter. A source that says no more than its parent is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut last = line.clone();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if text != last {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {text}");
            last = text;
        }
        next = source.source();
    }
    line
}

#[cfg(test)]
mod tests;
