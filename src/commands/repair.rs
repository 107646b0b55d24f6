//! `detektor replay` and `detektor reindex`.

use std::io::Write;

use anyhow::Context;
use detektor_backends::bucket::Bucket;
use detektor_contract::ObjectKey;
use detektor_merge::Damaged;
use detektor_runtime::replay::{FailedSegment, Kept, Quarantine, Which};
use detektor_runtime::role::Servers;
use futures::TryStreamExt;

use super::data::{self, Data, Place, stored};
use crate::cli::{ReindexArgs, ReplayArgs};
use crate::run::progress;

/// Queues what was quarantined again.
pub async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let which = Which::of(args.camera);
    let place = Place::new(args.data);
    if args.list {
        return list(place, &which).await;
    }
    let data = Data::open(place, Servers::all_mistakes).await?;
    let (queues, partitions) = data.queues().await?;
    let quarantine = Quarantine::new(data.store.clone(), data.bucket.clone());
    let done = quarantine.replay(&which, &*queues, &partitions).await;
    let workers = data.workers();
    data.close().await;
    let done = done?;
    for (id, reason) in &done.failed {
        eprintln!("detektor: {id} cannot be replayed: {reason}");
    }
    for (key, reason) in &done.unreadable {
        eprintln!("detektor: {key} in the bucket cannot be read: {reason}");
    }
    println!("{} queued again; {workers}", done.queued.len());
    let left = done.failed.len() + done.unreadable.len();
    anyhow::ensure!(left == 0, "{left} cannot be replayed");
    Ok(())
}

async fn list(place: Place, which: &Which) -> anyhow::Result<()> {
    let (store, bucket) = place.store_and_bucket().await?;
    let quarantine = Quarantine::new(store, bucket);
    let (segments, messages) = (quarantine.segments(which).await?, quarantine.messages(which).await?);
    if segments.is_empty() && messages.is_empty() {
        eprintln!("detektor: nothing has failed for good");
    }
    let mut out = std::io::stdout().lock();
    for FailedSegment { id, span, attempts, error, .. } in segments {
        writeln!(out, "{id}  {} frames, tried {attempts} times: {error}", span.frames)?;
    }
    for (key, kept) in messages {
        match kept {
            Kept::Readable(_, id, _) => writeln!(out, "{id}  could not be read when it came, and can now: {key}")?,
            Kept::Unreadable(reason) => writeln!(out, "{key}  cannot be read: {reason}")?,
        }
    }
    Ok(())
}

/// Makes the event store anew from the outcome log in the bucket, which may first be copied from elsewhere.
pub async fn reindex(args: ReindexArgs) -> anyhow::Result<()> {
    let from = match args.from {
        None => None,
        Some(from) => {
            let named = from.to_string();
            let bucket = data::source(from, &args.data.servers).await?;
            // What was meant is elsewhere, and the event store is about to be emptied.
            let log = bucket.list(ObjectKey::LOG).try_next().await.context("looking for an outcome log")?;
            anyhow::ensure!(log.is_some(), "{named} has no outcome log: there is nothing below {}", ObjectKey::LOG);
            Some((named, bucket))
        }
    };
    let place = Place::new(args.data);
    let data = match &from {
        Some(_) => Data::open_or_make(place, stored).await?,
        None => Data::open(place, stored).await?,
    };
    let done = async {
        if let Some((named, bucket)) = &from {
            copy(named, &**bucket, &*data.bucket).await?;
        }
        Ok(progress::reindex(&*data.store, &*data.bucket).await?)
    };
    let done: anyhow::Result<_> = done.await;
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

async fn copy(named: &str, from: &dyn Bucket, to: &dyn Bucket) -> anyhow::Result<()> {
    let copied = progress::copy(from, to).await.with_context(|| format!("copying {named}"))?;
    let megabytes = copied.bytes as f64 / 1e6;
    println!("{} objects copied ({megabytes:.1} MB), {} were there", copied.objects, copied.there);
    Ok(())
}
