//! `detektor replay` and `detektor reindex`.

use std::io::Write;

use anyhow::Context;
use detektor_backends::embedded::{Embedded, Options};
use detektor_merge::Damaged;
use detektor_runtime::replay::{FailedSegment, Kept, Partitions, Quarantine, Which};

use crate::cli::{DataArgs, ReplayArgs};
use crate::run::{PARTITION, progress};

/// Queues what was quarantined again; the next `detektor run` works on it.
pub async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    if args.list {
        return list(args).await;
    }
    let data = open(&args.data.data_dir).await?;
    let quarantine = Quarantine::new(data.store(), data.bucket());
    let which = Which::of(args.camera);
    let done = quarantine.replay(&which, &*data.queues(), &Partitions::Only(PARTITION)).await;
    drop(quarantine);
    data.close().await;
    let done = done?;
    for (id, reason) in &done.failed {
        eprintln!("detektor: {id} cannot be replayed: {reason}");
    }
    for (key, reason) in &done.unreadable {
        eprintln!("detektor: {key} in the bucket cannot be read: {reason}");
    }
    println!("{} queued again; `detektor run` over the same data directory works on them", done.queued.len());
    let left = done.failed.len() + done.unreadable.len();
    anyhow::ensure!(left == 0, "{left} cannot be replayed");
    Ok(())
}

async fn list(args: ReplayArgs) -> anyhow::Result<()> {
    let data = Embedded::open_read_only(&args.data.data_dir).await?;
    let (quarantine, which) = (Quarantine::new(data.store(), data.bucket()), Which::of(args.camera));
    let mut out = std::io::stdout().lock();
    for FailedSegment { id, span, attempts, error, .. } in quarantine.segments(&which).await? {
        writeln!(out, "{id}  {} frames, tried {attempts} times: {error}", span.frames)?;
    }
    for (key, kept) in quarantine.messages(&which).await? {
        match kept {
            Kept::Readable(_, id, _) => writeln!(out, "{id}  could not be read when it came, and can now: {key}")?,
            Kept::Unreadable(reason) => writeln!(out, "{key}  cannot be read: {reason}")?,
        }
    }
    Ok(())
}

/// Makes the event store anew from the outcome log in the bucket.
pub async fn reindex(args: DataArgs) -> anyhow::Result<()> {
    let data = open(&args.data_dir).await?;
    let done = progress::reindex(&*data.store(), &*data.bucket()).await;
    data.close().await;
    let done = done?;
    for Damaged { key, lost, error } in &done.damaged {
        eprintln!(
            "detektor: {key}: {lost} in it cannot be read and {} left out: {error}",
            if *lost == 1 { "is" } else { "are" }
        );
    }
    println!("{} outcomes of {} cameras, from {} log objects", done.outcomes, done.cameras, done.objects);
    Ok(())
}

async fn open(dir: &std::path::Path) -> anyhow::Result<Embedded> {
    anyhow::ensure!(dir.is_dir(), "{} is no data directory", dir.display());
    Embedded::open(dir, Options::default()).await.with_context(|| format!("{} cannot be opened", dir.display()))
}
