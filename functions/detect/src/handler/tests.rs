#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::AtomicUsize;

use detektor_backends::failing::{FailingBucket, Moment, Plan};
use detektor_backends::folder::FolderBucket;
use detektor_contract::{DetectPolicy, Digest, Fault, Sampling};
use detektor_runtime::{Metrics, Trace};
use tower::ServiceExt as _;

use super::*;
use crate::metrics::Numbers;
use crate::stub::Manner;
use crate::{footage, stub};

const SCENE: &str = "color=c=0x404040:s=128x96:r=5:d=2[b];color=c=white:s=20x20:r=5:d=2[w];\
    [b][w]overlay=x='if(gte(t,1),30*t,-60)':y=40";

fn jobs(keep_video: KeepVideo) -> Vec<SegmentJob> {
    let file = footage::encode(SCENE, &["-c:v", "libx264", "-g", "5", "-bf", "0", "-pix_fmt", "yuv420p"]);
    let policy = DetectPolicy { gate: false, sampling: Sampling::All, keep_video, ..DetectPolicy::default() };
    footage::jobs(&file, "c", &policy)
}

fn invocation(body: Bytes, patience: Duration) -> Invocation {
    let message = Message { body, headers: Default::default() };
    Invocation { message, attempt: 1, progress: Progress::new(patience), trace: Trace::begin() }
}

struct Bench {
    _dir: tempfile::TempDir,
    bucket: Arc<dyn Bucket>,
    plan: Arc<Plan>,
    detect: Detect,
}

impl Bench {
    /// A worker that works well.
    async fn new() -> Self {
        Self::with(|_| Manner::Well).await
    }

    /// A worker whose engine has another manner each time that it is built, by how often it was before.
    async fn with(manner: impl Fn(usize) -> Manner + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bucket: Arc<dyn Bucket> = Arc::new(FolderBucket::open(dir.path()).await.unwrap());
        let plan = Plan::new();
        let failing = FailingBucket::new(Arc::clone(&bucket), Arc::clone(&plan));
        let numbers = Numbers::new(&Metrics::new()).unwrap();
        let built = AtomicUsize::new(0);
        let build = move || Ok(stub::worker(&numbers, manner(built.fetch_add(1, Ordering::Relaxed))));
        let detect = Detect::start(&DetectConfig { workers: 1 }, failing, build).await.unwrap();
        Self { _dir: dir, bucket, plan, detect }
    }

    async fn call(&self, bodies: Vec<Bytes>) -> Vec<Result<Vec<Output>, HandlerError>> {
        self.call_within(Duration::from_secs(60), bodies).await
    }

    async fn call_within(&self, patience: Duration, bodies: Vec<Bytes>) -> Vec<Result<Vec<Output>, HandlerError>> {
        let batch = Batch(bodies.into_iter().map(|body| invocation(body, patience)).collect());
        self.detect.handler().oneshot(batch).await.unwrap().0
    }

    async fn result(&self, job: &SegmentJob) -> SegmentResult {
        result(&self.call(vec![wire::encode_job(job)]).await.remove(0).unwrap(), job)
    }
}

fn result(outputs: &[Output], job: &SegmentJob) -> SegmentResult {
    let [Output { work: Work::Merge, message }] = outputs else { panic!("{outputs:?}") };
    let outcome = wire::decode_outcome(&message.body).unwrap();
    assert!(message.headers[HEADER_LOOKED].parse::<u64>().unwrap() > 0, "{:?}", message.headers);
    assert_eq!((&outcome.id, outcome.generation), (&job.id, job.generation));
    match outcome.body {
        OutcomeBody::Result(result) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stale_live_video_is_shed() {
    let bench = Bench::new().await;
    let mut job = jobs(KeepVideo::All).remove(1);
    job.policy.max_age_ms = Some(60_000);
    // Footage is never stale.
    assert_eq!(bench.result(&job).await.span, job.span);
    job.span.clock = detektor_contract::Clock::Unix;
    job.seam = Some(detektor_contract::Seam { at: job.span.start, key_frame: None });
    let outputs = bench.call(vec![wire::encode_job(&job)]).await.remove(0).unwrap();
    let outcome = wire::decode_outcome(&outputs[0].message.body).unwrap();
    let marker = Marker::Shed { span: job.span, seam: job.seam, reason: ShedReason::Stale };
    assert_eq!((outcome.id, outcome.body), (job.id.clone(), OutcomeBody::Marker(marker)));
    job.policy.max_age_ms = None;
    assert_eq!(bench.result(&job).await.span, job.span);
}

#[tokio::test]
async fn a_job_becomes_an_outcome_and_what_it_names_is_stored() {
    let bench = Bench::new().await;
    let jobs = jobs(KeepVideo::Events);
    let quiet = bench.result(&jobs[0]).await;
    assert!(quiet.snapshots.is_empty() && quiet.video.is_none());
    let busy = bench.result(&jobs[1]).await;
    assert_eq!((busy.span, busy.rules, busy.picture), (jobs[1].span, jobs[1].rules, [128, 96]));
    assert_eq!(busy.frames.len(), 5);
    assert_eq!(busy.engine.engine, "stub");
    assert!(!busy.snapshots.is_empty());
    for shot in &busy.snapshots {
        assert_eq!(shot.key, ObjectKey::snapshot(&jobs[1].id, shot.frame));
        assert!(bench.bucket.get(&shot.key).await.unwrap().starts_with(&[0xff, 0xd8]));
    }
    assert_eq!(bench.bucket.get(&busy.video.unwrap().key).await.unwrap(), footage::video(&jobs[1]));
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn video_is_kept_as_the_policy_says() {
    let bench = Bench::new().await;
    for (keep, expected) in [(KeepVideo::All, [true, true]), (KeepVideo::None, [false, false])] {
        for (job, expected) in jobs(keep).iter().zip(expected) {
            assert_eq!(bench.result(job).await.video.is_some(), expected);
        }
    }
    let mut edited = jobs(KeepVideo::All).remove(1);
    edited.media.hidden = vec![4];
    edited.span.frames -= 1;
    assert_eq!(bench.result(&edited).await.video.unwrap().hidden, [4]);
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn a_large_segment_comes_from_the_bucket() {
    let bench = Bench::new().await;
    let mut job = jobs(KeepVideo::None).remove(1);
    let inline = bench.result(&job).await;
    let (video, key) = (footage::video(&job), ObjectKey::in_flight(&job.id));
    let Payload::Inline { init_bytes, .. } = job.payload else { panic!() };
    job.payload = Payload::Object { init_bytes, bytes: video.len() as u64, key: key.clone() };
    let missing = bench.call(vec![wire::encode_job(&job)]).await.remove(0).unwrap_err();
    assert_eq!(missing.fault, Fault::Permanent);
    bench.bucket.put(&key, video).await.unwrap();
    assert_eq!(bench.result(&job).await, inline);
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn a_bad_message_costs_its_neighbours_nothing() {
    let bench = Bench::new().await;
    let jobs = jobs(KeepVideo::None);
    let good = wire::encode_job(&jobs[1]);
    let mut broken = jobs[0].clone();
    if let Payload::Inline { video, init_bytes } = &mut broken.payload {
        (*video, *init_bytes) = (Bytes::from_static(b"noise"), 0);
    }
    let replies = bench.call(vec![Bytes::from_static(b"noise"), good.clone(), wire::encode_job(&broken), good]).await;
    let faults: Vec<Option<Fault>> = replies.iter().map(|reply| reply.as_ref().err().map(|e| e.fault)).collect();
    assert_eq!(faults, [Some(Fault::Permanent), None, Some(Fault::Permanent), None]);
    assert_eq!(result(replies[1].as_ref().unwrap(), &jobs[1]), result(replies[3].as_ref().unwrap(), &jobs[1]));
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn a_bucket_that_is_away_is_not_the_segments_fault() {
    let bench = Bench::new().await;
    let job = wire::encode_job(&jobs(KeepVideo::All)[1]);
    for nth in 0..2 {
        bench.plan.fail_call("put", nth, Moment::Before, 1);
        let error = bench.call(vec![job.clone()]).await.remove(0).unwrap_err();
        assert_eq!(error.fault, Fault::Transient, "{error}");
        bench.plan.heal();
    }
    assert!(bench.call(vec![job]).await[0].is_ok());
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn a_panic_costs_its_segment_alone() {
    let bench = Bench::with(|built| if built == 0 { Manner::Panicking } else { Manner::Well }).await;
    let job = wire::encode_job(&jobs(KeepVideo::None)[1]);
    let replies = bench.call(vec![job.clone()]).await;
    let error = replies[0].as_ref().unwrap_err();
    assert_eq!(error.fault, Fault::Permanent);
    assert!(error.error.contains("panic"), "{error}");
    // The worker was built anew.
    assert!(bench.call(vec![job]).await[0].is_ok());
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn without_a_free_worker_the_wait_ends_in_time() {
    let bench = Bench::new().await;
    let job = wire::encode_job(&jobs(KeepVideo::None)[1]);
    bench.detect.shutdown().await;
    let reply = bench.call(vec![job]).await;
    assert_eq!(reply[0].as_ref().unwrap_err().fault, Fault::Transient);
}

#[tokio::test]
async fn a_segment_waits_its_turn_while_the_workers_get_on() {
    let bench = Bench::with(|_| Manner::Slow(Duration::from_millis(500))).await;
    let job = wire::encode_job(&jobs(KeepVideo::None)[1]);
    // Five looks take longer than the 1.5 s that the second may wait for a sign.
    let replies = bench.call_within(MARGIN + Duration::from_millis(1500), vec![job.clone(), job]).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn a_segment_behind_one_that_hangs_is_not_at_fault() {
    let bench = Bench::with(|_| Manner::Slow(Duration::from_secs(4))).await;
    let mut job = jobs(KeepVideo::None).remove(1);
    job.policy.sampling = Sampling::PerSecond(1);
    let job = wire::encode_job(&job);
    let replies = bench.call_within(MARGIN + Duration::from_millis(500), vec![job.clone(), job]).await;
    assert!(replies[0].is_ok(), "whoever calls judges what hangs: {replies:?}");
    assert_eq!(replies[1].as_ref().unwrap_err().fault, Fault::Transient);
    bench.detect.shutdown().await;
}

#[tokio::test]
async fn repeating_a_job_repeats_the_outcome_byte_for_byte() {
    let bench = Bench::new().await;
    let job = wire::encode_job(&jobs(KeepVideo::All)[1]);
    let digests: Vec<Digest> = (bench.call(vec![job.clone(), job.clone(), job]).await)
        .iter()
        .map(|reply| Digest::of(&reply.as_ref().unwrap()[0].message.body))
        .collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    bench.detect.shutdown().await;
}
