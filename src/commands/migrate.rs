//! `detektor migrate`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use detektor_backends::postgres::Postgres;
use detektor_runtime::retry::{Policy, RetryError, retry};
use detektor_runtime::role::{Servers, Told, stop_on_signals};
use tokio_util::sync::CancellationToken;

use super::INTERRUPTED;
use super::data::checked;

/// What `migrate` takes.
#[derive(Args, Debug)]
pub struct MigrateArgs {
    /// Change nothing; wait until the tables are as this release needs them, however long the database is away.
    #[arg(long)]
    pub wait: bool,
    /// Wait no longer than so many seconds.
    #[arg(long, value_name = "N", default_value_t = 600, requires = "wait")]
    pub within_s: u64,
    /// Where Postgres is.
    #[command(flatten)]
    pub servers: Told<Servers>,
}

/// Brings the database's tables up to date, or waits until somebody has.
pub async fn migrate(args: MigrateArgs) -> anyhow::Result<ExitCode> {
    let servers = checked(args.servers, |servers, mistakes| servers.postgres.mistakes(mistakes))?;
    let options = servers.postgres.options();
    if !args.wait {
        Postgres::migrate(&options).await.context("bringing the tables up to date")?;
        println!("the tables are up to date");
        return Ok(ExitCode::SUCCESS);
    }
    // As the first process of a container nobody else would end it.
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone()).context("cannot listen for signals")?;
    let policy = Policy { give_up_after: Some(Duration::from_secs(args.within_s)), ..Policy::default() };
    match retry("looking for the tables", &policy, &shutdown, || Postgres::open(&options)).await {
        Ok(database) => {
            database.close().await;
            println!("the tables are as this release needs them (version {} or later)", Postgres::schema_version());
            Ok(ExitCode::SUCCESS)
        }
        Err(RetryError::Failed(error)) => Err(anyhow::Error::new(error).context(format!(
            "the tables are not as this release needs them (version {}); whoever installs it runs `detektor migrate` \
             (the Helm chart's setup Job does), and the database has to be reachable",
            Postgres::schema_version()
        ))),
        Err(RetryError::Cancelled) => Ok(INTERRUPTED.into()),
    }
}
