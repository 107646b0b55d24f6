//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use detektor_backends::s3::setup::Arn;
use detektor_contract::{CameraId, ObjectKind, Sampling, Score};
use detektor_detect::engine::EngineKind;
use detektor_detect::role::DetectRole;
use detektor_events::role::EventsRole;
use detektor_merge::role::MergeRole;
use detektor_runtime::role::{Servers, Told};

use crate::config;
use crate::roles::{BalancerRole, DispatcherRole};

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
    Events(EventsArgs),
    /// Print what was seen in each frame that was looked at, in a fixed order.
    Detections(ReadArgs),
    /// Print what became of each camera's frames.
    Ledger(ReadArgs),
    /// Try segments again that failed for good and were kept.
    Replay(ReplayArgs),
    /// Make the event store anew from the bucket.
    Reindex(DataArgs),
    /// Make the database's tables, or bring them up to date.
    Migrate(Told<Servers>),
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
    /// Print the events of this data directory instead of serving [default: detektor-data]
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
    pub fn wanted(self) -> Option<ReadArgs> {
        let Self { data_dir, camera, json } = self;
        let wanted = data_dir.is_some() || camera.is_some() || json;
        let from_env = || std::env::var_os("DETEKTOR_DATA_DIR").map(PathBuf::from);
        let data_dir = data_dir.or_else(from_env).unwrap_or_else(|| "detektor-data".into());
        wanted.then_some(ReadArgs { data: DataArgs { data_dir }, camera, json })
    }
}

/// What to do about the bucket.
#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    /// Make it if it is not there; set how long what is in it is kept, and who hears of what comes into it.
    Setup {
        /// Keep a kind of objects for so many days: video, snapshots, log, events, quarantine, jobs or spool. May be given many
        /// times; a kind that is not named is kept for ever.
        #[arg(long = "keep", value_name = "KIND=DAYS", value_parser = parse_keep)]
        keep: Vec<(ObjectKind, NonZeroU16)>,
        /// Tell this queue, topic or function of events, snapshots and quarantined segments: arn:aws:sqs:…, arn:minio:sqs:….
        #[arg(long, value_name = "ARN")]
        notify: Vec<Arn>,
        /// Where the bucket is.
        #[command(flatten)]
        servers: Told<Servers>,
    },
}

/// What to do about RabbitMQ.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Set the policies: how long a queue may grow, how often a message is delivered. The user needs the tag "policymaker".
    Setup {
        /// Where RabbitMQ is.
        #[command(flatten)]
        servers: Told<Servers>,
    },
}

/// What to do about the cameras that are wanted.
#[derive(Debug, Subcommand)]
pub enum CamerasCommand {
    /// Want the cameras in a YAML or TOML file, as they are there. Others stay, unless --prune.
    Apply {
        /// The file; `-` reads standard input.
        #[arg(short, long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Want no camera that is not in the file.
        #[arg(long)]
        prune: bool,
        /// Where Postgres is.
        #[command(flatten)]
        servers: Told<Servers>,
    },
    /// Print the cameras that are wanted.
    List {
        /// Where Postgres is.
        #[command(flatten)]
        servers: Told<Servers>,
    },
    /// Want these cameras no longer.
    Remove {
        /// Their names.
        #[arg(required = true)]
        names: Vec<CameraId>,
        /// Where Postgres is.
        #[command(flatten)]
        servers: Told<Servers>,
    },
}

/// What `placement` takes.
#[derive(Args, Debug)]
pub struct PlacementArgs {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where Postgres is.
    #[command(flatten)]
    pub servers: Told<Servers>,
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
    /// Where the data is.
    #[arg(long, value_name = "DIR", env = "DETEKTOR_DATA_DIR", default_value = "detektor-data", value_hint = ValueHint::DirPath)]
    pub data_dir: PathBuf,
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

fn parse_keep(text: &str) -> Result<(ObjectKind, NonZeroU16), String> {
    let kinds = || ObjectKind::ALL.map(ObjectKind::name).join(", ");
    let (kind, days) = text.split_once('=').ok_or("expected KIND=DAYS, such as video=30")?;
    let found = ObjectKind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = found.ok_or_else(|| format!("no kind {kind:?}: there are {}", kinds()))?;
    let days = days.parse().map_err(|_| format!("{days:?} days: expected a whole number from 1 to 65535"))?;
    Ok((kind, days))
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
    fn cameras_may_have_an_equals_sign_in_their_url() {
        let (id, url) = parse_camera("gate=http://x/?a=b").unwrap();
        assert_eq!((id.as_str(), url.as_str()), ("gate", "http://x/?a=b"));
        assert!(parse_camera("gate").is_err());
        assert!(parse_camera("a/b=c").is_err());
    }
}
