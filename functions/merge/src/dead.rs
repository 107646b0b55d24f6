//! What failed for good: it is kept, and its sequence number gets a tombstone.

use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::bucket::Bucket;
use detektor_backends::queue::Message;
use detektor_contract::names::{HEADER_ATTEMPTS, HEADER_ERROR, Work};
use detektor_contract::wire::{decode_job, encode_outcome};
use detektor_contract::{Digest, ObjectKey, Outcome, OutcomeBody, SegmentJob, Tombstone};
use detektor_runtime::{Handler, HandlerError, Invocation, Output, item_fn};

use crate::error::{Doing, MergeError};
use crate::merge::within;

/// Keeps dead letters.
pub struct DeadLetters {
    bucket: Arc<dyn Bucket>,
}

impl DeadLetters {
    /// Keeps them in `bucket`.
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self { bucket }
    }

    /// What a host runs on `dead.detect`: the job is kept for replay, and its tombstone goes to merge.
    pub fn jobs(self: Arc<Self>) -> impl Handler {
        item_fn(move |invocation: Invocation| {
            let letters = Arc::clone(&self);
            async move { Ok(within(Some(invocation.deadline()), letters.job(&invocation.message)).await?) }
        })
    }

    /// What a host runs on `dead.merge`: outcomes that this release could not read are kept as they are.
    pub fn outcomes(self: Arc<Self>) -> impl Handler {
        item_fn(move |invocation: Invocation| {
            let letters = Arc::clone(&self);
            async move {
                within(Some(invocation.deadline()), letters.unreadable(&invocation.message)).await?;
                Ok::<Vec<Output>, HandlerError>(Vec::new())
            }
        })
    }

    async fn job(&self, message: &Message) -> Result<Vec<Output>, MergeError> {
        let Ok(job) = decode_job(&message.body) else {
            self.unreadable(message).await?;
            return Ok(Vec::new());
        };
        let key = ObjectKey::quarantine(&job.id, job.generation);
        self.bucket.put(&key, message.body.clone()).await.doing("keeping a dead letter")?;
        let tombstone = tombstone(job, key, message);
        let message = Message { body: encode_outcome(&tombstone), ..Message::default() };
        Ok(vec![Output { work: Work::Merge, message }])
    }

    async fn unreadable(&self, message: &Message) -> Result<(), MergeError> {
        let key = ObjectKey::quarantine_unreadable(Digest::of(&message.body));
        tracing::error!(%key, error = error(message), "keeping a message that cannot be read");
        let body: Bytes = message.body.clone();
        self.bucket.put(&key, body).await.doing("keeping a dead letter")
    }
}

fn tombstone(job: SegmentJob, kept: ObjectKey, message: &Message) -> Outcome {
    let attempts = message.headers.get(HEADER_ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(0);
    let body = OutcomeBody::Tombstone(Tombstone {
        span: job.span,
        seam: job.seam,
        error: error(message).to_owned(),
        attempts,
        quarantine: Some(kept),
    });
    Outcome { id: job.id, generation: job.generation, body }
}

/// Why a message is dead, as its headers say; the queue itself gives up without a word.
fn error(message: &Message) -> &str {
    message.headers.get(HEADER_ERROR).map_or("delivered too often", String::as_str)
}
