//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use detektor_contract::{CameraId, ObjectKey, Sampling, Score};
use detektor_detect::engine::EngineKind;
use detektor_detect::role::DetectRole;
use detektor_events::role::EventsRole;
use detektor_merge::role::MergeRole;
use detektor_runtime::role::{HealthArgs, Servers, Told};

use crate::commands::check::CheckArgs;
use crate::commands::cluster::{BrokerCommand, BucketCommand, CamerasCommand, PartitionsArgs, PlacementArgs};
use crate::commands::explain::ExplainArgs;
use crate::commands::migrate::MigrateArgs;
use crate::commands::prune::PruneArgs;
use crate::config;
use crate::roles::{BalancerRole, DispatcherRole};

/// How the tools are told where the data is.
const PLACES: &str = "\
Where the data is: in a data directory of `detektor run`, or on the servers of the roles (--config, or any of their settings).
Flags count for more than variables, and a data directory (--data-dir, DETEKTOR_DATA_DIR) for more than servers. Where neither is
told, it is in ./detektor-data.";
const REINDEXING: &str = "\
What is made anew is the data directory, or the database of the servers (--config, or any of their settings). Flags count for
more than variables, and a data directory (--data-dir, DETEKTOR_DATA_DIR) for more than servers. Where neither is told, it is
./detektor-data. Nothing else may merge meanwhile.

From one machine to many:
  detektor reindex --from detektor-data --config detektor.toml
And back:
  detektor reindex --from s3://detektor --data-dir detektor-data --config detektor.toml";
const CHECKING: &str = "\
The film is a camera for as long as the check lasts: check-… in the placement, the ledger and the logs. Afterwards, however it
ended, it is wanted no longer. Once it is through, what the database held of it is pruned; its line in the ledger stays, as of every
camera that was.";
const SERVES_OR_PRINTS: &str = "\
Without --data-dir, --camera and --json it serves. With one of them it prints: the events in --data-dir, or in the database that
is configured (--config, DETEKTOR_CONFIG or any setting of the servers), or else in DETEKTOR_DATA_DIR or ./detektor-data; where
both are told, flags count for more than variables, and a data directory for more than servers.";

/// Camera streams in; ordered, de-duplicated detection events out.
#[derive(Debug, Parser)]
#[command(name = "detektor", version, about, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
Try it on a file:
  detektor run --camera gate=gate.mp4 --until-done
  detektor events --data-dir detektor-data --json

Exit codes: 0 done; 1 failed; 2 a source failed, or the command line or configuration is wrong; 130 interrupted.")]
pub struct Cli {
    /// How to write logs (to standard error).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto, env = "DETEKTOR_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to write logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on terminals.
    Auto,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: cameras, detection, merging, the events API and its page.
    Run(RunArgs),
    /// Slice cameras into segment jobs: a role that runs as many times as there are cameras for.
    Dispatcher(Told<DispatcherRole>),
    /// Look at segments: jobs in, outcomes out. A role that runs as many times as there is work for.
    Detect(Told<DetectRole>),
    /// Merge outcomes into events and the frame ledger. A role that runs as many times as one likes.
    Merge(Told<MergeRole>),
    /// Place cameras, and run what must be run when every other part is at zero. A role; two of them, one at work.
    Balancer(Told<BalancerRole>),
    /// Serve the events API and its page; or print events, with --data-dir, --camera or --json.
    #[command(after_help = SERVES_OR_PRINTS)]
    Events(EventsArgs),
    /// Print what was seen in each frame that was looked at, in a fixed order.
    #[command(after_help = PLACES)]
    Detections(ReadArgs),
    /// Print what became of each camera's frames.
    #[command(after_help = PLACES)]
    Ledger(ReadArgs),
    /// Try segments again that failed for good and were kept.
    #[command(after_help = PLACES)]
    Replay(ReplayArgs),
    /// Make the event store anew from the outcome log in the bucket: the same events and ledger, and nobody is told of any.
    #[command(after_help = REINDEXING)]
    Reindex(ReindexArgs),
    /// Remove old history from the database: what was over before a time, in small steps, while everything runs.
    ///
    /// Outcomes with their detections, events that are over, gaps and old entries of the feed go; the ledger keeps their sums.
    /// The bucket is left alone: `detektor bucket setup --keep` says how long what is in it is kept. What still comes for the
    /// time that was pruned is ignored, so replay what is in quarantine first.
    #[command(after_help = PLACES)]
    Prune(Box<PruneArgs>),
    /// Make the database's tables, or bring them up to date; with --wait, only wait until they are.
    Migrate(MigrateArgs),
    /// Set the bucket up.
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// Set the broker up.
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Say which cameras are wanted.
    #[command(subcommand)]
    Cameras(CamerasCommand),
    /// Show which dispatcher has which camera, with what moved last and why.
    Placement(PlacementArgs),
    /// Show the partitions and what their queues hold; with a number, have so many from now on, while everything runs.
    Partitions(PartitionsArgs),
    /// Send a short film the whole way, from a dispatcher to the ledger, and say how it went or where it is stuck.
    #[command(after_help = CHECKING)]
    Check(CheckArgs),
    /// Show what each role holds in memory beside its code, and where the truth of it is.
    State {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Say in words why a function has as many pods as it has, on Kubernetes with KEDA. Asks the cluster by kubectl.
    ExplainScale(ExplainArgs),
    /// Ask a role that runs here whether it is ready: exit code 0 if it is, 1 and the reason if not.
    Health(HealthArgs),
    /// Check model, libraries, cameras, port and disk, and say what to do.
    Doctor(RunArgs),
    /// Print a shell's completions.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// What `run` takes.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Read the configuration from this TOML file.
    #[arg(long, value_name = "FILE", env = "DETEKTOR_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Add a camera: rtsp://…, http://…, file:PATH or a path. May be given many times.
    #[arg(long = "camera", value_name = "NAME=URL", value_parser = parse_camera)]
    pub cameras: Vec<(CameraId, String)>,
    /// Keep the database and the bucket here [default: detektor-data]
    #[arg(long, value_name = "DIR", env = "DETEKTOR_DATA_DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// A model's manifest (.toml), or its .onnx file with the manifest beside it [default: the bundled EfficientDet-Lite0]
    #[arg(long, value_name = "FILE", env = "DETEKTOR_MODEL", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// What runs the model: tract (pure Rust) or ort (ONNX Runtime, faster) [default: tract]
    #[arg(long, env = "DETEKTOR_ENGINE")]
    pub engine: Option<EngineKind>,
    /// Look at so many frames a second where something moves, or at all [default: 5]
    #[arg(long, value_name = "N|all", value_parser = |text: &str| config::sampling().parse(text))]
    pub detect_fps: Option<Sampling>,
    /// Forget detections below this score, 0 to 1 [default: 0.1]
    #[arg(long, value_name = "SCORE", value_parser = |text: &str| config::score().parse(text))]
    pub min_score: Option<Score>,
    /// Look at quiet footage as well.
    #[arg(long)]
    pub no_gate: bool,
    /// Serve the events API and its page here [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR", env = "DETEKTOR_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Threads that decode and infer [default: one a core]
    #[arg(long, value_name = "N", env = "DETEKTOR_WORKERS")]
    pub workers: Option<usize>,
    /// End once all files are through and merged; exit 2 if a source failed.
    #[arg(long)]
    pub until_done: bool,
    /// Print one JSON object on standard output at the end.
    #[arg(long)]
    pub json: bool,
}

/// Serve, or print.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// What to print.
    #[command(flatten)]
    pub print: PrintArgs,
    /// How to serve.
    #[command(flatten)]
    pub serve: Told<EventsRole>,
}

/// What `events` prints, if it is to print.
#[derive(Args, Debug)]
pub struct PrintArgs {
    /// Print the events of this data directory instead of serving.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Print only this camera's.
    #[arg(long, value_name = "NAME")]
    pub camera: Option<CameraId>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

impl PrintArgs {
    /// What to print; none if it is to serve.
    pub fn wanted(self, servers: Told<Servers>) -> Option<ReadArgs> {
        let Self { data_dir, camera, json } = self;
        let wanted = data_dir.is_some() || camera.is_some() || json;
        wanted.then_some(ReadArgs { data: DataArgs { data_dir, servers }, camera, json })
    }
}

/// What the reading commands take.
#[derive(Args, Debug)]
pub struct ReadArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Only this camera's.
    #[arg(long, value_name = "NAME")]
    pub camera: Option<CameraId>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Where the data is.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// In this data directory; DETEKTOR_DATA_DIR says the same.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// On these servers.
    #[command(flatten)]
    pub servers: Told<Servers>,
}

/// What `reindex` takes.
#[derive(Args, Debug)]
pub struct ReindexArgs {
    /// First copy what the bucket lacks from there: a data directory, or a bucket in the store that s3.endpoint names.
    #[arg(long, value_name = "DIR|s3://BUCKET[/PREFIX]", value_parser = parse_from)]
    pub from: Option<CopyFrom>,
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
}

/// A bucket to copy from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFrom {
    /// That of a data directory, or a folder that is one.
    Folder(PathBuf),
    /// One in the S3 store that is configured, or what is below a prefix in it.
    S3 {
        /// Its name.
        bucket: String,
        /// The prefix, without the last `/`.
        prefix: Option<ObjectKey>,
    },
}

impl fmt::Display for CopyFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(dir) => write!(f, "{}", dir.display()),
            Self::S3 { bucket, prefix: None } => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix: Some(prefix) } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// What `replay` takes.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Only this camera's.
    #[arg(long, value_name = "NAME")]
    pub camera: Option<CameraId>,
    /// Only list what is kept.
    #[arg(long)]
    pub list: bool,
}

fn parse_from(text: &str) -> Result<CopyFrom, String> {
    let Some(place) = text.strip_prefix("s3://") else {
        return if text.is_empty() {
            Err("expected a folder or s3://BUCKET".to_owned())
        } else {
            Ok(CopyFrom::Folder(text.into()))
        };
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // Credentials come from where all credentials come from.
    if bucket.is_empty() || !bucket.chars().all(allowed) {
        return Err(
            "expected s3://BUCKET or s3://BUCKET/PREFIX; endpoint and credentials are settings (s3.endpoint, …)"
                .to_owned(),
        );
    }
    let prefix = Some(prefix.trim_end_matches('/')).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map(ObjectKey::parse).transpose().map_err(|error| error.to_string())?;
    Ok(CopyFrom::S3 { bucket: bucket.to_owned(), prefix })
}

fn parse_camera(text: &str) -> Result<(CameraId, String), String> {
    let (name, url) = text.split_once('=').ok_or("expected NAME=URL, such as gate=rtsp://192.0.2.7/stream")?;
    if url.is_empty() {
        return Err("the URL is empty".to_owned());
    }
    Ok((CameraId::new(name).map_err(|error| error.to_string())?, url.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_to_copy_from_is_a_folder_or_a_bucket_without_credentials() {
        let s3 = |bucket: &str, prefix: Option<&str>| {
            Ok(CopyFrom::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.map(|prefix| ObjectKey::parse(prefix).unwrap()),
            })
        };
        assert_eq!(parse_from("s3://kept"), s3("kept", None));
        assert_eq!(parse_from("s3://kept/"), s3("kept", None));
        assert_eq!(parse_from("s3://kept/a/b/"), s3("kept", Some("a/b")));
        assert_eq!(parse_from("data/s3"), Ok(CopyFrom::Folder("data/s3".into())));
        for bad in ["", "s3://", "s3:///a", "s3://key:secret@kept", "s3://kept/a//b", "s3://kept/../x"] {
            assert!(parse_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cameras_may_have_an_equals_sign_in_their_url() {
        let (id, url) = parse_camera("gate=http://x/?a=b").unwrap();
        assert_eq!((id.as_str(), url.as_str()), ("gate", "http://x/?a=b"));
        assert!(parse_camera("gate").is_err());
        assert!(parse_camera("a/b=c").is_err());
    }
}
