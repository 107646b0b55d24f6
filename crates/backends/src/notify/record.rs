//! A notification as S3 writes it. It is S3's format, not one of ours, so it is made here, where S3 is known.
//!
//! Version 2.1, which has exactly the fields that are here; later 2.x versions add some for other kinds of events.

use std::time::SystemTime;

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use bytes::Bytes;
use detektor_contract::{Digest, ObjectKey, ObjectKind};
use serde_json::{Value, json};

use super::Source;

/// Whoever wrote the object; a store of our own knows no users.
const PRINCIPAL: &str = "detektor";

/// What became of an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Created { bytes: u64, digest: Digest },
    Removed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) source: &'a Source,
    pub(super) kind: ObjectKind,
    pub(super) key: &'a ObjectKey,
    pub(super) what: What,
    pub(super) at: SystemTime,
    pub(super) sequencer: u64,
}

impl Record<'_> {
    /// The notification, of this one record.
    pub(super) fn notification(&self) -> Bytes {
        json!({ "Records": [self.json()] }).to_string().into()
    }

    fn json(&self) -> Value {
        let Self { source, kind, key, what, .. } = self;
        // Of one length, so that texts compare as numbers do.
        let sequencer = format!("{:016X}", self.sequencer);
        let mut object = json!({
            // Every character of a key of ours is one that S3 leaves as it is.
            "key": key,
            "sequencer": sequencer,
        });
        let event = match what {
            What::Created { bytes, digest } => {
                object["size"] = (*bytes).into();
                // Like S3's: equal for equal content, and nothing else to rely on.
                object["eTag"] = digest.to_string().into();
                "ObjectCreated:Put"
            }
            What::Removed => "ObjectRemoved:Delete",
        };
        json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": source.region,
            "eventTime": time(self.at),
            "eventName": event,
            "userIdentity": { "principalId": PRINCIPAL },
            "requestParameters": { "sourceIPAddress": "127.0.0.1" },
            "responseElements": { "x-amz-request-id": sequencer, "x-amz-id-2": PRINCIPAL },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": format!("detektor-{kind}"),
                "bucket": {
                    "name": source.bucket,
                    "ownerIdentity": { "principalId": PRINCIPAL },
                    "arn": format!("arn:aws:s3:::{}", source.bucket),
                },
                "object": object,
            },
        })
    }
}

/// To the millisecond, as S3 tells it.
fn time(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Only years of more digits cannot be written, and no clock shows them.
    DateTime::from_millis(since.as_millis() as i64).fmt(DateTimeFormat::DateTime).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_record_is_as_s3_writes_it() {
        let source = Source { bucket: "driveway".to_owned(), region: "eu-central-1".to_owned() };
        let key = ObjectKey::parse("events/gate/2026-11-24/gate.1.2.3.0.json").unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_500_000_123_456);
        let what = What::Created { bytes: 3, digest: Digest::of(b"abc") };
        let record = Record { source: &source, kind: ObjectKind::Events, key: &key, what, at, sequencer: 0xab };
        let created = json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-central-1",
            "eventTime": "2026-11-24T06:00:00.123Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": { "principalId": "detektor" },
            "requestParameters": { "sourceIPAddress": "127.0.0.1" },
            "responseElements": { "x-amz-request-id": "00000000000000AB", "x-amz-id-2": "detektor" },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "detektor-events",
                "bucket": {
                    "name": "driveway",
                    "ownerIdentity": { "principalId": "detektor" },
                    "arn": "arn:aws:s3:::driveway",
                },
                "object": {
                    "key": "events/gate/2026-11-24/gate.1.2.3.0.json",
                    "size": 3,
                    "eTag": Digest::of(b"abc").to_string(),
                    "sequencer": "00000000000000AB",
                },
            },
        });
        let json = |record: Record<'_>| serde_json::from_slice::<Value>(&record.notification()).unwrap();
        assert_eq!(json(record), json!({ "Records": [created] }));

        let mut removed = created;
        removed["eventName"] = json!("ObjectRemoved:Delete");
        removed["s3"]["object"] = json!({ "key": key, "sequencer": "00000000000000AB" });
        assert_eq!(json(Record { what: What::Removed, ..record }), json!({ "Records": [removed] }));
    }
}
