//! `detektor replay` and `detektor reindex`.

use std::io::Write;

use anyhow::Context;
use detektor_backends::embedded::{Embedded, Options};
use detektor_contract::OutcomeBody;
use detektor_merge::replay as replay_store;

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
    println!("{} queued again; `detektor run` over the same data directory works on them", done.queued.len());
    anyhow::ensure!(done.failed.is_empty(), "{} cannot be replayed", done.failed.len());
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
    Ok(())
}

/// Makes the event store anew from the outcome log in the bucket.
pub async fn reindex(args: DataArgs) -> anyhow::Result<()> {
    let data = open(&args.data_dir).await?;
    let done = progress::reindex(&*data.store(), &*data.bucket()).await;
    data.close().await;
    let done = done?;
    println!("{} outcomes of {} cameras, from {} log objects", done.outcomes, done.cameras, done.objects);
    Ok(())
}

async fn open(dir: &std::path::Path) -> anyhow::Result<Embedded> {
    anyhow::ensure!(dir.is_dir(), "{} is no data directory", dir.display());
    Embedded::open(dir, Options::default()).await.with_context(|| format!("{} cannot be opened", dir.display()))
}
