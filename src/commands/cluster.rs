//! Tools for a deployment on RabbitMQ, S3 and Postgres: `bucket`, `broker`, `cameras`, `placement`, `partitions`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueHint};
use detektor_backends::queue::{Queues, Standing};
use detektor_backends::rabbitmq::{self, Flow, RabbitMq};
use detektor_backends::s3::S3Bucket;
use detektor_backends::s3::setup::{Arn, Setup};
use detektor_contract::names::Queue;
use detektor_contract::{CameraId, ObjectKind};
use detektor_dispatcher::distributed::placement::PlacementReport;
use detektor_runtime::camera::CameraFile;
use detektor_runtime::role::{InvalidConfig, Servers, Told};

use super::data::{checked, coordination, database};

/// The most that a queue holds before it refuses, in bytes.
const QUEUE_BYTES: u64 = 4 << 30;

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
        /// The most that a queue holds before it refuses.
        #[arg(long, value_name = "BYTES", default_value_t = QUEUE_BYTES, value_parser = clap::value_parser!(u64).range(1 << 20..))]
        queue_bytes: u64,
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

/// What `partitions` takes.
#[derive(Args, Debug)]
pub struct PartitionsArgs {
    /// Have so many partitions of each kind of work. The balancer sees to it.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub number: Option<u16>,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where RabbitMQ and Postgres are.
    #[command(flatten)]
    pub servers: Told<Servers>,
}

fn parse_keep(text: &str) -> Result<(ObjectKind, NonZeroU16), String> {
    let kinds = || ObjectKind::ALL.map(ObjectKind::name).join(", ");
    let (kind, days) = text.split_once('=').ok_or("expected KIND=DAYS, such as video=30")?;
    let found = ObjectKind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = found.ok_or_else(|| format!("no kind {kind:?}: there are {}", kinds()))?;
    let days = days.parse().map_err(|_| format!("{days:?} days: expected a whole number from 1 to 65535"))?;
    Ok((kind, days))
}

/// Sets the bucket up.
pub async fn bucket(BucketCommand::Setup { keep, notify, servers }: BucketCommand) -> anyhow::Result<()> {
    let servers = checked(servers, |servers, mistakes| servers.s3.mistakes(mistakes))?;
    let setup = Setup { days: keep.into_iter().collect(), notify: notify.into_iter().collect() };
    let changes = S3Bucket::new(&servers.s3.options()).await?.set_up(&setup).await?;
    for change in &changes {
        println!("{change}");
    }
    if changes.is_empty() {
        println!("the bucket {} is as it is to be", servers.s3.bucket);
    }
    Ok(())
}

/// Sets the broker up.
pub async fn broker(BrokerCommand::Setup { queue_bytes, servers }: BrokerCommand) -> anyhow::Result<()> {
    let servers = checked(servers, |servers, mistakes| servers.rabbitmq.mistakes(mistakes))?;
    for policy in rabbitmq::set_policies(&servers.rabbitmq.options(), queue_bytes).await? {
        println!("policy {policy} is set");
    }
    Ok(())
}

/// Says which cameras are wanted, or shows them.
pub async fn cameras(what: CamerasCommand) -> anyhow::Result<()> {
    match what {
        CamerasCommand::Apply { file, prune, servers } => apply(&file, prune, servers).await,
        CamerasCommand::List { servers } => {
            let coordination = coordination(servers).await?;
            let mut out = std::io::stdout().lock();
            for camera in coordination.wanted().await? {
                writeln!(out, "{}", camera.spec)?;
            }
            Ok(())
        }
        CamerasCommand::Remove { names, servers } => {
            let coordination = coordination(servers).await?;
            let known: BTreeSet<CameraId> = coordination.wanted().await?.into_iter().map(|camera| camera.id).collect();
            if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
                anyhow::bail!("no camera {unknown}; `detektor cameras list` shows those that are wanted");
            }
            let changes: Vec<_> = names.into_iter().map(|name| (name, None)).collect();
            let changed = coordination.want(&changes).await?;
            println!("{} removed", listed(&changed));
            Ok(())
        }
    }
}

async fn apply(file: &Path, prune: bool, servers: Told<Servers>) -> anyhow::Result<()> {
    let text = match file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
            text
        }
        false => std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?,
    };
    let cameras = CameraFile::parse(&file.display().to_string(), &text).map_err(InvalidConfig)?.cameras;
    let coordination = coordination(servers).await?;
    let mut changes: Vec<(CameraId, Option<String>)> = Vec::new();
    if prune {
        let kept: BTreeSet<&CameraId> = cameras.iter().map(|(id, _)| id).collect();
        let wanted = coordination.wanted().await?;
        changes.extend(wanted.into_iter().filter(|camera| !kept.contains(&camera.id)).map(|camera| (camera.id, None)));
    }
    let removed = changes.len();
    changes.extend(cameras.into_iter().map(|(id, spec)| (id, Some(spec))));
    let changed = coordination.want(&changes).await?;
    println!(
        "{} cameras are wanted as the file says: {} changed, {removed} removed",
        changes.len() - removed,
        changed.len().saturating_sub(removed)
    );
    Ok(())
}

/// Shows where cameras are.
pub async fn placement(args: PlacementArgs) -> anyhow::Result<()> {
    let coordination = coordination(args.servers).await?;
    let wanted: Vec<CameraId> = coordination.wanted().await?.into_iter().map(|camera| camera.id).collect();
    let (members, placement) = (coordination.members().await?, coordination.placement().await?);
    let report = PlacementReport::new(&wanted, &members, &placement);
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut object = serde_json::to_value(&report)?;
        object["cameras"] = serde_json::to_value(&placement.cameras)?;
        writeln!(out, "{object}")?;
        return Ok(());
    }
    for node in &report.nodes {
        let leaving = if node.leaving { ", leaving" } else { "" };
        writeln!(out, "{:20} {:5} cameras, load {:.3}{leaving}", node.name, node.camera_count, node.load)?;
    }
    for camera in &placement.cameras {
        let dispatcher = camera.dispatcher.as_deref().unwrap_or("nobody");
        let (name, cost) = (camera.camera.as_str(), f64::from(camera.cost_millis) / 1000.0);
        writeln!(
            out,
            "{name:24} {dispatcher:20} partition {:2}  {cost:.3} cores  {}",
            camera.partition, camera.reason
        )?;
    }
    let (spread, needed) = (report.std_deviation, if report.rebalance_needed { "is" } else { "is not" });
    writeln!(out, "loads deviate by {spread:.3} of their mean; a move {needed} due")?;
    Ok(())
}

/// A partition's queue, for people.
#[derive(serde::Serialize)]
struct QueueShown {
    queue: String,
    state: &'static str,
    ready: u64,
    unacked: u64,
    /// None where the broker does not measure rates.
    in_per_s: Option<f64>,
    out_per_s: Option<f64>,
    /// How many cameras are placed there.
    cameras: usize,
}

/// Shows the partitions, or says how many there are to be.
pub async fn partitions(args: PartitionsArgs) -> anyhow::Result<()> {
    let servers = checked(args.servers, Servers::all_mistakes_but_the_bucket)?;
    let coordination = database(&servers).await?.coordination();
    if let Some(number) = args.number {
        coordination.set_partitions(number).await?;
        if !args.json {
            writeln!(
                std::io::stdout(),
                "{number} partitions of each kind are wanted: the balancer sees to it. So far there are"
            )?;
        }
    }
    let placement = coordination.placement().await?;
    let queues = RabbitMq::new(servers.rabbitmq.options())?;
    let flows = queues.flows().await.context("RabbitMQ")?;
    let work = queues.partitions().await.context("RabbitMQ")?.0.into_iter().map(|(queue, standing)| match standing {
        Standing::Open => (queue, "open"),
        Standing::Retired => (queue, "retired"),
    });
    let dead = flows.keys().filter(|queue| matches!(queue, Queue::Dead(_))).map(|queue| (*queue, "dead"));
    let shown = work.chain(dead).map(|(queue, state)| {
        let Flow { depth, in_per_s, out_per_s } = flows.get(&queue).copied().unwrap_or_default();
        let here = |partition| placement.cameras.iter().filter(|row| row.partition == partition).count();
        QueueShown {
            queue: queue.to_string(),
            state,
            ready: depth.ready,
            unacked: depth.unacked,
            in_per_s,
            out_per_s,
            cameras: if let Queue::Work(_, partition) = queue { here(partition) } else { 0 },
        }
    });
    let shown: Vec<QueueShown> = shown.collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        let object = serde_json::json!({ "wanted": placement.partitions, "queues": shown });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let rate = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.1}"));
    for QueueShown { queue, state, ready, unacked, in_per_s, out_per_s, cameras } in shown {
        let (coming, going) = (rate(in_per_s), rate(out_per_s));
        writeln!(
            out,
            "{queue:11} {state:8} {cameras:5} cameras {ready:7} ready {unacked:5} unacked {coming:>7} in/s {going:>7} out/s"
        )?;
    }
    match placement.partitions {
        // Said before.
        _ if args.number.is_some() => {}
        0 => writeln!(out, "the first balancer says how many partitions there are to be")?,
        wanted => writeln!(out, "{wanted} partitions of each kind are wanted")?,
    }
    Ok(())
}

fn listed(cameras: &[CameraId]) -> String {
    cameras.iter().map(CameraId::as_str).collect::<Vec<_>>().join(", ")
}
