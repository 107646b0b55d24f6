#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rabbitmq;

use tempfile::TempDir;

use super::*;
use crate::conformance::Bench;
use crate::folder::FolderBucket;
use crate::servers::Receiver;

struct OnFolder {
    dir: TempDir,
    receiver: Receiver,
    bucket: Arc<Notifying>,
}

impl OnFolder {
    async fn fresh() -> Self {
        let receiver = Receiver::start().await;
        Self::with(receiver.url.clone(), None, receiver).await
    }

    async fn with(url: String, token_file: Option<std::path::PathBuf>, receiver: Receiver) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let webhook = Webhook::new(WebhookOptions { url, token_file, ca_file: None }).unwrap();
        let bucket = notifying(&dir, Arc::new(webhook)).await;
        Self { dir, receiver, bucket }
    }
}

#[async_trait]
impl Bench<dyn Bucket> for OnFolder {
    fn backend(&self) -> Arc<dyn Bucket> {
        Arc::clone(&self.bucket) as Arc<dyn Bucket>
    }

    async fn crash(&mut self) {
        self.bucket = notifying(&self.dir, Arc::clone(&self.bucket.sink)).await;
    }
}

crate::bucket_conformance!(OnFolder::fresh());

async fn notifying(dir: &TempDir, sink: Arc<dyn Sink>) -> Arc<Notifying> {
    let folder = Arc::new(FolderBucket::open(dir.path()).await.unwrap());
    let source = Source { bucket: "driveway".to_owned(), region: "us-east-1".to_owned() };
    Notifying::new(folder, sink, source)
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::parse(key).unwrap()
}

const EVENT: &str = "events/gate/media/gate.1.2.3.0.json";
const BODY: Bytes = Bytes::from_static(b"{}");

#[tokio::test]
async fn new_and_removed_objects_of_three_kinds_are_told_of() {
    let mut on = OnFolder::fresh().await;
    let snapshot = "snapshots/gate/1/2-0003.jpg";
    let told = [EVENT, snapshot, "quarantine/gate/1/2-0.job"];
    for other in ["video/gate/1/2.mp4", "log/aa/1.json", "jobs/gate/1/2.mp4", "epochs/gate/1.json"] {
        on.bucket.put(&key(other), BODY).await.unwrap();
        on.bucket.delete(&key(other)).await.unwrap();
    }
    for name in told {
        on.bucket.put(&key(name), BODY).await.unwrap();
    }
    on.bucket.delete(&key(snapshot)).await.unwrap();
    let mut heard = Vec::new();
    while let Some(post) = on.receiver.come() {
        let [record] = &post.event().records[..] else { panic!("{:?}", post.body) };
        let object = &record.s3.object;
        assert_eq!(record.s3.bucket.name.as_deref(), Some("driveway"));
        heard.push((record.event_name.clone().unwrap(), object.key.clone().unwrap(), object.size));
    }
    let created = |name: &str| ("ObjectCreated:Put".to_owned(), name.to_owned(), Some(2));
    let removed = ("ObjectRemoved:Delete".to_owned(), snapshot.to_owned(), None);
    assert_eq!(heard, [created(told[0]), created(told[1]), created(told[2]), removed]);
}

#[tokio::test]
async fn a_write_ends_once_the_notification_is_accepted() {
    let mut on = OnFolder::fresh().await;
    // More than one write's tries.
    on.receiver.answer(&[503, 408, 302]);
    let failed = on.bucket.put(&key(EVENT), BODY).await.unwrap_err();
    assert!(matches!(failed, BucketError::Unavailable { ref context, .. } if context.contains(EVENT)), "{failed:?}");
    on.receiver.answer(&[429, 500]);
    on.bucket.put(&key(EVENT), BODY).await.unwrap();
    let mut sequencers = Vec::new();
    while let Some(post) = on.receiver.come() {
        sequencers.push(post.event().records[0].s3.object.sequencer.clone().unwrap());
    }
    let [first, second] = [&sequencers[..3], &sequencers[3..]];
    assert!(first.iter().all(|one| *one == first[0]) && second.len() == 3, "{sequencers:?}");
    assert!(second.iter().all(|one| *one == second[0] && *one > first[0]), "{sequencers:?}");
}

#[tokio::test]
async fn what_is_refused_costs_itself_alone() {
    let mut on = OnFolder::fresh().await;
    on.receiver.answer(&[422]);
    for _ in 0..2 {
        on.bucket.put(&key(EVENT), BODY).await.unwrap();
    }
    let came = std::iter::from_fn(|| on.receiver.come()).count();
    assert_eq!(came, 2);
}

#[tokio::test]
async fn nobody_listens_and_the_url_stays_secret() {
    let receiver = Receiver::start().await;
    let nobody = "http://127.0.0.1:1/s3cret".to_owned();
    let on = OnFolder::with(nobody, None, receiver).await;
    let Err(BucketError::Unavailable { source, .. }) = on.bucket.put(&key(EVENT), BODY).await else { panic!() };
    assert!(!format!("{source:?}").contains("s3cret"), "{source:?}");
    // The object is there; only nobody has heard of it yet.
    assert_eq!(on.bucket.get(&key(EVENT)).await.unwrap(), BODY);
}

#[tokio::test]
async fn a_token_is_sent_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let receiver = Receiver::start().await;
    let mut on = OnFolder::with(receiver.url.clone(), Some(token.clone()), receiver).await;
    for now in ["one", "two"] {
        std::fs::write(&token, now).unwrap();
        on.bucket.put(&key(EVENT), BODY).await.unwrap();
        assert_eq!(on.receiver.next().await.authorization, Some(format!("Bearer {now}")));
    }
}

#[tokio::test]
async fn sequencers_rise_though_the_clock_does_not() {
    let on = OnFolder::fresh().await;
    let at = SystemTime::now();
    let first = on.bucket.sequencer(at);
    assert!(on.bucket.sequencer(at) > first);
    assert!(on.bucket.sequencer(SystemTime::UNIX_EPOCH) > first + 1);
}
