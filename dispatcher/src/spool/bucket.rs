//! What a dispatcher that stops leaves in the bucket, and what any dispatcher finds there.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError};
use detektor_contract::{Digest, ObjectKey};
use detektor_runtime::chain;
use detektor_runtime::retry::{Policy, retry};
use futures::TryStreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::frame::{Found, Frames, Why, read};
use super::{Spool, drain};
use crate::metrics::Numbers;
use crate::publish::Outlets;
use crate::record::Record;

/// Records that are published at a time.
const BATCH: usize = 8;
/// The first look comes within so long, the next ones within half to one and a half of the other.
const FIRST_LOOK: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Copies all that a spool holds into the bucket, each file once it is there out of the spool. What is left when `abort`
/// comes stays where it is.
pub(super) async fn leave(spool: &Spool, bucket: &dyn Bucket, abort: &CancellationToken) {
    let before = spool.holdings().records;
    if before == 0 {
        return;
    }
    loop {
        let (partition, orders, bytes) = match spool.ask(|log| log.pack()).await {
            Ok(Some(packed)) => packed,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(error = chain(&error), "the spool cannot be read");
                break;
            }
        };
        let key = ObjectKey::spooled(Digest::of(&bytes));
        let put = || bucket.put(&key, bytes.clone());
        if retry("leaving the spool in the bucket", &Policy::default(), abort, put).await.is_err() {
            break;
        }
        if let Err(error) = spool.forget(partition, orders).await {
            tracing::warn!(error = chain(&error), "what is in the bucket stays in the spool as well");
            break;
        }
    }
    let kept = spool.holdings().records;
    let left = before.saturating_sub(kept);
    tracing::warn!(left, kept, "segments that are not published are left in the bucket; some may be kept in the spool");
}

/// Publishes what is found in the bucket, until it is told to stop.
pub(super) async fn pick_up(outlets: Outlets, numbers: Numbers, stop: CancellationToken) {
    let mut finder = Finder { outlets, numbers, unreadable: BTreeSet::new() };
    let mut wait = FIRST_LOOK.mul_f64(fastrand::f64());
    while stop.run_until_cancelled(sleep(wait)).await.is_some() {
        if let Some(Err(error)) = stop.run_until_cancelled(finder.look(&stop)).await {
            tracing::info!(error = chain(&error), "looking for what others left in the bucket fails");
        }
        wait = LOOK_EVERY.mul_f64(0.5 + fastrand::f64());
    }
}

struct Finder {
    outlets: Outlets,
    numbers: Numbers,
    /// What could not be read as a whole is left for people.
    unreadable: BTreeSet<ObjectKey>,
}

impl Finder {
    async fn look(&mut self, stop: &CancellationToken) -> Result<(), BucketError> {
        let listed: Vec<_> = self.outlets.bucket.list(ObjectKey::SPOOL).try_collect().await?;
        let mut keys: Vec<ObjectKey> = listed.into_iter().map(|listed| listed.key).collect();
        // Others may be at it.
        let first = fastrand::usize(..keys.len().max(1));
        keys.rotate_left(first);
        for key in keys {
            if !self.unreadable.contains(&key) {
                self.publish(key, stop).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, key: ObjectKey, stop: &CancellationToken) -> Result<(), BucketError> {
        let packed = match self.outlets.bucket.get(&key).await {
            Ok(packed) => packed,
            Err(BucketError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let (records, whole) = unpack(&packed);
        tracing::info!(%key, records = records.len(), "publishing what a dispatcher left in the bucket");
        for batch in records.chunks(BATCH) {
            if !drain::publish(&self.outlets, &self.numbers, key.as_str(), batch, stop).await {
                return Ok(());
            }
        }
        if whole {
            self.outlets.bucket.delete(&key).await
        } else {
            tracing::error!(%key, "a part of what a dispatcher left in the bucket cannot be read; it stays there");
            self.unreadable.insert(key);
            Ok(())
        }
    }
}

/// The records of an object, and whether these are all.
fn unpack(packed: &Bytes) -> (Vec<Record>, bool) {
    let (mut records, mut whole) = (Vec::new(), true);
    let Ok(mut frames) = Frames::new(Cursor::new(packed)) else { return (records, false) };
    while let Ok(Some(found)) = frames.next() {
        let Found::Frame { at, bytes, .. } = found else {
            whole = false;
            continue;
        };
        let (at, bytes) = (at as usize, bytes as usize);
        match read(&packed.slice(at..at + bytes)) {
            Some((_, Some(record))) => records.push(record),
            Some((head, None)) => {
                whole = false;
                records.extend(head.in_its_place(Why::Damaged));
            }
            None => whole = false,
        }
    }
    (records, whole)
}
