//! `detektor replay` and `detektor reindex`.

use std::io::Write;

use anyhow::Context;
use detektor_backends::embedded::{Embedded, Options};
use detektor_contract::OutcomeBody;
use detektor_merge::{Damaged, Kept, replay as replay_store, unreadable};

use crate::cli::{DataArgs, ReplayArgs};
use crate::run::{PARTITION, progress};

/// Queues what was quarantined again; the next `detektor run` works on it.
pub async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    if args.list {
        return list(args).await;
    }
    let data = open(&args.data.data_dir).await?;
    let done = replay_store(&*data.store(), &*data.bucket(), &data.queues(), args.camera.as_ref(), |_| PARTITION).await;
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
    let mut out = std::io::stdout().lock();
    for outcome in data.store().tombstones().await? {
        let OutcomeBody::Tombstone(tombstone) = &outcome.body else { continue };
        if args.camera.as_ref().is_none_or(|only| *only == outcome.id.camera) {
            let (frames, tries) = (tombstone.span.frames, tombstone.attempts);
            writeln!(out, "{}  {frames} frames, tried {tries} times: {}", outcome.id, tombstone.error)?;
        }
    }
    for (key, kept) in unreadable(&*data.bucket()).await? {
        match kept {
            Kept::Readable(_, id, _) if args.camera.as_ref().is_none_or(|only| *only == id.camera) => {
                writeln!(out, "{id}  could not be read when it came, and can now: {key}")?;
            }
            Kept::Unreadable(reason) if args.camera.is_none() => writeln!(out, "{key}  cannot be read: {reason}")?,
            Kept::Readable(..) | Kept::Unreadable(_) => {}
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
