//! Where the tools find the data: in a data directory, or on the three servers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use detektor_backends::below::Below;
use detektor_backends::bucket::Bucket;
use detektor_backends::coordination::Coordination;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::postgres::Postgres;
use detektor_backends::queue::Queues;
use detektor_backends::rabbitmq::RabbitMq;
use detektor_backends::s3::S3Bucket;
use detektor_backends::store::EventStore;
use detektor_runtime::fields::Mistakes;
use detektor_runtime::replay::Partitions;
use detektor_runtime::role::{BucketSettings, InvalidConfig, Origin, Servers, Told};

use crate::cli::{CopyFrom, DataArgs};
use crate::run::PARTITION;

/// Where the data is, unless somebody says otherwise.
const DEFAULT_DIR: &str = "detektor-data";
/// Says otherwise.
const VARIABLE: &str = "DETEKTOR_DATA_DIR";

/// Where the data is.
pub enum Place {
    /// In this data directory.
    Folder(PathBuf),
    /// On these servers.
    Servers(Told<Servers>),
}

impl Place {
    /// Flags count for more than the environment, and a data directory for more than servers.
    pub fn new(args: DataArgs) -> Self {
        let from_env = std::env::var_os(VARIABLE).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Self::told(args, from_env)
    }

    fn told(DataArgs { data_dir, servers }: DataArgs, from_env: Option<PathBuf>) -> Self {
        match (data_dir, servers.origin(), from_env) {
            (Some(dir), _, _) => Self::Folder(dir),
            (None, Some(Origin::CommandLine), _) => Self::Servers(servers),
            (None, _, Some(dir)) => Self::Folder(dir),
            (None, Some(Origin::Environment), None) => Self::Servers(servers),
            (None, None, None) => Self::Folder(DEFAULT_DIR.into()),
        }
    }

    /// The event store, for reading.
    pub async fn store(self) -> anyhow::Result<Arc<dyn EventStore>> {
        match self {
            Self::Folder(dir) => Ok(to_read(&dir).await?.0),
            Self::Servers(told) => {
                let servers = checked(told, |servers, mistakes| servers.postgres.mistakes(mistakes))?;
                Ok(database(&servers).await?.store())
            }
        }
    }

    /// Event store and bucket, for reading.
    pub async fn store_and_bucket(self) -> anyhow::Result<(Arc<dyn EventStore>, Arc<dyn Bucket>)> {
        match self {
            Self::Folder(dir) => to_read(&dir).await,
            Self::Servers(_) => {
                let data = Data::open(self, stored).await?;
                Ok((data.store, data.bucket))
            }
        }
    }
}

/// Event store and bucket, for writing.
pub struct Data {
    /// The event store.
    pub store: Arc<dyn EventStore>,
    /// The bucket. Nobody is told of what is written to it.
    pub bucket: Arc<dyn Bucket>,
    kind: Kind,
}

enum Kind {
    Folder(Embedded),
    Servers { database: Postgres, servers: Box<Servers> },
}

impl Data {
    /// Opens it; a data directory has to be there. `check`: what is wrong with the servers that are used.
    pub async fn open(place: Place, check: impl Fn(&Servers, &mut Mistakes)) -> anyhow::Result<Self> {
        match place {
            Place::Folder(dir) => {
                is_there(&dir)?;
                Self::open_or_make(Place::Folder(dir), check).await
            }
            Place::Servers(_) => Self::open_or_make(place, check).await,
        }
    }

    /// Opens it, and makes a data directory where there is none.
    pub async fn open_or_make(place: Place, check: impl Fn(&Servers, &mut Mistakes)) -> anyhow::Result<Self> {
        match place {
            Place::Folder(dir) => {
                let embedded = folder(&dir).await?;
                Ok(Self { store: embedded.store(), bucket: embedded.bucket(), kind: Kind::Folder(embedded) })
            }
            Place::Servers(told) => {
                let servers = checked(told, check)?;
                let database = database(&servers).await?;
                let bucket = Arc::new(reached(&servers.s3).await?);
                Ok(Self { store: database.store(), bucket, kind: Kind::Servers { database, servers: servers.into() } })
            }
        }
    }

    /// The queues, and which a camera's work goes to.
    pub async fn queues(&self) -> anyhow::Result<(Arc<dyn Queues>, Partitions)> {
        match &self.kind {
            Kind::Folder(embedded) => Ok((embedded.queues(), Partitions::Only(PARTITION))),
            Kind::Servers { database, servers } => {
                let partitions = Partitions::placed(&*database.coordination()).await?;
                let queues = RabbitMq::connect(servers.rabbitmq.options()).await.context("RabbitMQ")?;
                Ok((Arc::new(queues), partitions))
            }
        }
    }

    /// Who works on what is queued.
    pub fn workers(&self) -> &'static str {
        match self.kind {
            Kind::Folder(_) => "`detektor run` over the same data directory works on them",
            Kind::Servers { .. } => "`detektor detect` and `merge` work on them",
        }
    }

    /// Closes it.
    pub async fn close(self) {
        match self.kind {
            Kind::Folder(embedded) => embedded.close().await,
            Kind::Servers { database, .. } => database.close().await,
        }
    }
}

/// What is wrong with those that hold the data: all but the queues.
pub fn stored(servers: &Servers, mistakes: &mut Mistakes) {
    servers.s3.mistakes(mistakes);
    servers.postgres.mistakes(mistakes);
}

/// A bucket to copy from. One on S3 is in the store that the settings name, with their credentials.
pub async fn source(from: CopyFrom, told: &Told<Servers>) -> anyhow::Result<Arc<dyn Bucket>> {
    match from {
        CopyFrom::Folder(dir) => {
            Embedded::open_bucket(&dir).await.with_context(|| format!("{} cannot be read", dir.display()))
        }
        CopyFrom::S3 { bucket, prefix } => {
            let servers = checked(told.clone(), |servers, mistakes| servers.s3.mistakes(mistakes))?;
            let whole = Arc::new(reached(&BucketSettings { bucket, ..servers.s3 }).await?);
            Ok(match prefix {
                Some(prefix) => Arc::new(Below::new(whole, &prefix)),
                None => whole,
            })
        }
    }
}

/// That a data directory is there.
pub fn is_there(dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(dir.is_dir(), "{} is no data directory", dir.display());
    Ok(())
}

/// A data directory, for writing.
pub async fn folder(dir: &Path) -> anyhow::Result<Embedded> {
    let opened = Embedded::open(dir, Options::default()).await;
    opened.with_context(|| format!("{} cannot be opened", dir.display()))
}

async fn to_read(dir: &Path) -> anyhow::Result<(Arc<dyn EventStore>, Arc<dyn Bucket>)> {
    let data = Embedded::open_read_only(dir).await.with_context(|| format!("{} cannot be read", dir.display()))?;
    Ok((data.store(), data.bucket()))
}

/// The database that the servers' settings name.
pub async fn database(servers: &Servers) -> anyhow::Result<Postgres> {
    Postgres::open(&servers.postgres.options()).await.context("the database")
}

async fn reached(settings: &BucketSettings) -> anyhow::Result<S3Bucket> {
    let bucket = S3Bucket::new(&settings.options()).await.context("the bucket")?;
    bucket.ping().await.context("the bucket")?;
    Ok(bucket)
}

/// Who runs what, on the servers.
pub async fn coordination(told: Told<Servers>) -> anyhow::Result<Arc<dyn Coordination>> {
    let servers = checked(told, |servers, mistakes| servers.postgres.mistakes(mistakes))?;
    Ok(database(&servers).await?.coordination())
}

/// The servers as they were told, those that are used checked.
pub fn checked(told: Told<Servers>, check: impl Fn(&Servers, &mut Mistakes)) -> anyhow::Result<Servers> {
    let servers = told.resolve()?;
    let mut mistakes = Mistakes::default();
    check(&servers, &mut mistakes);
    mistakes.finish().map_err(InvalidConfig)?;
    Ok(servers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn place(arguments: &[&str], variable: Option<&str>) -> String {
        // The environment of whoever runs the tests is none of their business.
        let command = DataArgs::augment_args(Command::new("tool").no_binary_name(true)).mut_args(|arg| arg.env(None));
        let matches = command.try_get_matches_from(arguments).unwrap();
        match Place::told(DataArgs::from_arg_matches(&matches).unwrap(), variable.map(PathBuf::from)) {
            Place::Folder(dir) => dir.display().to_string(),
            Place::Servers(_) => "servers".to_owned(),
        }
    }

    #[test]
    fn flags_come_before_variables_and_folders_before_servers() {
        assert_eq!(place(&[], None), DEFAULT_DIR);
        assert_eq!(place(&[], Some("v")), "v");
        assert_eq!(place(&["--config", "c"], Some("v")), "servers");
        assert_eq!(place(&["--s3-bucket", "b"], None), "servers");
        assert_eq!(place(&["--data-dir", "d", "--config", "c"], Some("v")), "d");
    }
}
