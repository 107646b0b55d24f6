//! The outcome log: what the event store is a projection of.
//!
//! An object is one batch: one outcome a line, as JSON, sorted. Its name is the digest of its content, so a batch that is
//! tried again is written again under its own name, and reading a batch twice changes nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use detektor_contract::{Digest, ObjectKey, Outcome};

/// The object of a batch.
pub(crate) fn object<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> (ObjectKey, Bytes) {
    let lines: BTreeSet<_> = outcomes.into_iter().map(|o| (&o.id, o.generation, o.to_json())).collect();
    let mut body = Vec::with_capacity(lines.iter().map(|(_, _, json)| json.len() + 1).sum());
    for (_, _, json) in lines {
        body.extend_from_slice(&json);
        body.push(b'\n');
    }
    (ObjectKey::log(Digest::of(&body)), body.into())
}

/// The outcomes of an object, line by line.
pub(crate) fn outcomes(body: &[u8]) -> impl Iterator<Item = Result<Outcome, serde_json::Error>> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use detektor_contract::{EndReason, Marker, OutcomeBody, TimeUs};

    fn outcome(id: &str) -> Outcome {
        let end = Marker::EndOfEpoch { frames: 1, at: TimeUs(2), reason: EndReason::EndOfFile };
        Outcome { id: id.parse().unwrap(), generation: 0, body: OutcomeBody::Marker(end) }
    }

    #[test]
    fn the_same_batch_has_the_same_name_and_reads_back() {
        let (a, b) = (outcome("gate/1/2"), outcome("gate/1/10"));
        let (key, body) = object([&a, &b]);
        assert_eq!(object([&b, &a, &b]), (key.clone(), body.clone()));
        assert_ne!(object([&a]).0, key);
        assert_eq!(outcomes(&body).collect::<Result<Vec<_>, _>>().unwrap(), [a, b]);
        assert!(outcomes(b"{}\n").next().unwrap().is_err());
    }
}
