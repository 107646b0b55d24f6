//! `health`: whether a role that runs here is ready.

use std::time::Duration;

use crate::http::{ProbeError, probe};

/// A line for its help.
pub(super) const ABOUT: &str =
    "Ask a role that runs here whether it is ready: exit code 0 if it is, 1 and the reason if not";
/// Health checks have deadlines of their own; the reason is to come before them.
const DEADLINE: Duration = Duration::from_secs(3);

/// What `health` takes.
#[derive(clap::Args, Debug)]
pub struct HealthArgs {
    /// Where the role listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub address: String,
}

/// Asks a role whether it is ready.
///
/// # Errors
/// Why it is not.
pub async fn health(args: HealthArgs) -> Result<(), ProbeError> {
    probe(&args.address, DEADLINE).await
}
