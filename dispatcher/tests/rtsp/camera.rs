//! Cameras that come, go and come again: what is published, and what is said.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::failing::{FailingQueues, Moment, Plan};
use detektor_backends::queue::{Consumer, Settle};
use detektor_backends::store::CameraState;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    CameraId, Digest, EndReason, GapCause, Marker, OutcomeBody, Payload, SegmentId, SegmentJob, TimeUs, wire,
};
use detektor_dispatcher::source::{OpenOptions, RtspTransport};
use detektor_dispatcher::{CameraConfig, CameraReport, Dispatcher, DispatcherConfig};
use detektor_runtime::Metrics;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Server, free_port, log};

/// Far beyond what anything here takes: reached only if it never comes.
const NEVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What was published under a sequence number.
#[derive(Debug)]
enum Published {
    Job(Box<SegmentJob>),
    Marker(Marker),
}

/// A dispatcher with one camera, and all that it has published.
struct Watch {
    camera: CameraId,
    embedded: Embedded,
    _folder: tempfile::TempDir,
    consumer: Arc<dyn Consumer>,
    shutdown: CancellationToken,
    dispatcher: JoinHandle<Vec<CameraReport>>,
    published: BTreeMap<SegmentId, Published>,
    /// When the dispatcher finds the queue failing.
    plan: Arc<Plan>,
}

impl Watch {
    async fn start(name: &str, url: &str, open: OpenOptions, lost_after: Duration) -> Self {
        Self::begin(name, url, open, DispatcherConfig { lost_after, ..DispatcherConfig::default() }).await
    }

    async fn begin(name: &str, url: &str, open: OpenOptions, config: DispatcherConfig) -> Self {
        log();
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), Options::default()).await.unwrap();
        let queues = [Work::Detect, Work::Merge].map(|work| Queue::Work(work, 0));
        let consumer = embedded.queues().consume(&queues, 8).await.unwrap();
        let camera = CameraId::new(name).unwrap();
        let plan = Plan::new();
        let queues = FailingQueues::new(embedded.queues(), Arc::clone(&plan));
        let (bucket, store) = (embedded.bucket(), embedded.store());
        let dispatcher = Dispatcher::new(config, queues, bucket, store, &Metrics::new()).await.unwrap();
        let config = CameraConfig { open, ..CameraConfig::new(camera.clone(), url.parse().unwrap()) };
        let shutdown = CancellationToken::new();
        let dispatcher = tokio::spawn(dispatcher.run(vec![config], shutdown.clone()));
        let published = BTreeMap::new();
        Self { camera, embedded, _folder: folder, consumer, shutdown, dispatcher, published, plan }
    }

    /// Takes the next message; its sequence number.
    async fn take(&mut self) -> SegmentId {
        let delivery = timeout(NEVER, self.consumer.receive()).await.expect("a message").unwrap();
        self.consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
        let body = &delivery.message.body;
        let (id, published) = match delivery.queue {
            Queue::Work(Work::Detect, _) => {
                let job = wire::decode_job(body).unwrap();
                (job.id.clone(), Published::Job(Box::new(job)))
            }
            _ => match wire::decode_outcome(body).unwrap() {
                outcome if outcome.generation != 0 => panic!("{outcome:?}"),
                outcome => match outcome.body {
                    OutcomeBody::Marker(marker) => (outcome.id, Published::Marker(marker)),
                    other => panic!("{other:?}"),
                },
            },
        };
        assert!(!self.published.contains_key(&id), "{id} came twice");
        self.published.insert(id.clone(), published);
        id
    }

    /// Takes messages until there are so many more segments.
    async fn segments(&mut self, more: usize) {
        let enough = self.jobs().count() + more;
        while self.jobs().count() < enough {
            self.take().await;
        }
    }

    /// Takes messages until there is a gap like this.
    async fn gap(&mut self, like: impl Fn(&Gap) -> bool) -> Gap {
        loop {
            if let Some(gap) = self.gaps().find(&like) {
                return gap;
            }
            self.take().await;
        }
    }

    async fn state(&self, like: impl Fn(&CameraState) -> bool) {
        let found = async {
            loop {
                let cameras = self.embedded.store().cameras().await.unwrap();
                if cameras.iter().any(|camera| camera.id == self.camera && like(&camera.state)) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        timeout(NEVER, found).await.expect("the camera's state");
    }

    async fn running(&self) {
        self.state(|state| *state == CameraState::Running).await;
    }

    async fn lost(&self) {
        self.state(|state| matches!(state, CameraState::Lost { .. })).await;
    }

    /// Shuts it down, and takes all that is left.
    async fn stop(&mut self) -> CameraReport {
        self.shutdown.cancel();
        let mut reports = timeout(NEVER, &mut self.dispatcher).await.expect("in bounded time").unwrap();
        while !self.markers().any(|marker| matches!(marker, Marker::EndOfEpoch { .. })) {
            self.take().await;
        }
        // Jobs and markers come through two queues: what was numbered before the end may come after it.
        while self.published.len() as u64 <= self.published.keys().map(|id| id.sequence).max().unwrap() {
            self.take().await;
        }
        assert!(timeout(Duration::from_millis(100), self.consumer.receive()).await.is_err(), "nothing is left");
        reports.remove(0)
    }

    /// The init parts of the segments, each once where it follows another.
    fn inits(&self) -> Vec<Digest> {
        let mut inits: Vec<Digest> = self.jobs().map(|job| job.media.init).collect();
        inits.dedup();
        inits
    }

    fn jobs(&self) -> impl Iterator<Item = &SegmentJob> {
        self.published.values().filter_map(|published| match published {
            Published::Job(job) => Some(&**job),
            Published::Marker(_) => None,
        })
    }

    fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.published.values().filter_map(|published| match published {
            Published::Job(_) => None,
            Published::Marker(marker) => Some(marker),
        })
    }

    fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.markers().filter_map(|marker| match *marker {
            Marker::Gap { from, until, cause, .. } => Some(Gap { from, until, cause }),
            _ => None,
        })
    }

    /// How often this was logged of the camera.
    fn said(&self, text: &str) -> usize {
        let field = format!("camera={} ", self.camera);
        log().lines().filter(|line| format!("{line} ").contains(&field) && line.contains(text)).count()
    }

    /// One epoch without a hole, whose end says how many frames it had, and whose times never go back.
    fn assert_whole(&self, report: &CameraReport) {
        let ids: Vec<_> = self.published.keys().collect();
        assert!(ids.iter().all(|id| id.camera == self.camera && id.epoch == ids[0].epoch), "{ids:?}");
        assert!(ids.iter().map(|id| id.sequence).eq(0..ids.len() as u64), "{ids:?}");
        let (mut frames, mut now) = (0, TimeUs(i64::MIN));
        let mut ended = None;
        for published in self.published.values() {
            assert!(ended.is_none(), "nothing follows an epoch's end");
            match published {
                Published::Job(job) => {
                    assert_eq!(job.span.first_frame, frames);
                    assert!(now <= job.span.start && job.span.start < job.span.end, "{now:?}: {:?}", job.span);
                    (frames, now) = (frames + u64::from(job.span.frames), job.span.end);
                }
                Published::Marker(Marker::Gap { from, until, .. }) => {
                    assert!(now <= *from || until.is_some(), "{published:?}");
                    now = until.unwrap_or(*from);
                }
                Published::Marker(Marker::EndOfEpoch { frames, reason, .. }) => ended = Some((*frames, *reason)),
                Published::Marker(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(ended, Some((frames, EndReason::Stopped)));
        assert_eq!((report.captured, &report.error), (frames, &None));
        assert_eq!(report.segments, self.jobs().count() as u64);
    }

    /// Every segment decodes by itself, to as many pictures as it has access units.
    fn assert_decodable(&self) {
        let folder = tempfile::tempdir().unwrap();
        for job in self.jobs() {
            let Payload::Inline { video, .. } = &job.payload else { panic!("{:?}", job.payload) };
            let file = folder.path().join("segment.mp4");
            std::fs::write(&file, video).unwrap();
            assert_eq!(pictures(file.to_str().unwrap()), job.media.samples, "{}", job.id);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    from: TimeUs,
    until: Option<TimeUs>,
    cause: GapCause,
}

/// How many pictures a decoder makes of a file without complaint.
fn pictures(file: &str) -> u32 {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", file])
        .output()
        .expect("ffprobe (Debian package ffmpeg)");
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    said.trim().trim_end_matches(',').parse().expect("a number of pictures")
}

fn patient(rtsp_transport: RtspTransport) -> OpenOptions {
    OpenOptions { timeout: Duration::from_secs(30), rtsp_transport }
}

/// A camera whose server is stopped and started again, soon enough that nobody calls it lost for good.
async fn comes_again(name: &str, codec: &str, transport: RtspTransport) {
    let (port, mut server) = free_port(&["--codec", codec]);
    let mut watch = Watch::start(name, &server.url(""), patient(transport), Duration::from_secs(600)).await;
    watch.running().await;
    watch.segments(2).await;
    drop(server);
    watch.lost().await;
    server = Server::start_at(port, &["--codec", codec]).expect("the port that was its own");
    watch.running().await;
    watch.gap(|gap| gap.cause == GapCause::Disconnected).await;
    watch.segments(2).await;
    let report = watch.stop().await;
    drop(server);

    watch.assert_whole(&report);
    let losses = watch.gaps().filter(|gap| gap.cause == GapCause::PacketLoss).count();
    let gaps: Vec<_> = watch.gaps().filter(|gap| gap.cause != GapCause::PacketLoss).collect();
    assert!(matches!(gaps[..], [Gap { from, until: Some(until), .. }] if from < until), "{gaps:?}");
    assert_eq!([watch.said("the camera is lost"), watch.said("the camera is back")], [1, 1]);
    let losses_said = watch.said("the camera lost something");
    assert_eq!(watch.said(" WARN "), 1 + losses_said, "nothing else is worth a warning");
    match transport {
        RtspTransport::Tcp => assert_eq!(losses_said, 0),
        RtspTransport::Udp => assert!(losses <= losses_said, "{losses} losses, {losses_said} said"),
    }
    if losses_said == 0 {
        watch.assert_decodable();
    }
}

#[tokio::test]
async fn an_h264_camera_over_tcp_comes_again() {
    comes_again("h264-tcp", "h264", RtspTransport::Tcp).await;
}

#[tokio::test]
async fn an_h264_camera_over_udp_comes_again() {
    comes_again("h264-udp", "h264", RtspTransport::Udp).await;
}

#[tokio::test]
async fn an_h265_camera_over_tcp_comes_again() {
    comes_again("h265-tcp", "h265", RtspTransport::Tcp).await;
}

#[tokio::test]
async fn an_h265_camera_over_udp_comes_again() {
    comes_again("h265-udp", "h265", RtspTransport::Udp).await;
}

#[tokio::test]
async fn a_camera_that_stays_away_is_told_twice() {
    let (port, server) = free_port(&[]);
    let lost_after = Duration::from_millis(300);
    let mut watch = Watch::start("away", &server.url(""), patient(RtspTransport::Tcp), lost_after).await;
    watch.segments(1).await;
    drop(server);
    let open = watch.gap(|gap| gap.until.is_none()).await;
    watch.lost().await;
    let server = Server::start_at(port, &[]).expect("the port that was its own");
    let whole = watch.gap(|gap| gap.until.is_some()).await;
    watch.running().await;
    watch.segments(1).await;
    let report = watch.stop().await;
    drop(server);
    watch.assert_whole(&report);
    assert_eq!((open.from, open.cause), (whole.from, GapCause::Disconnected));
    assert_eq!((whole.cause, watch.gaps().count()), (GapCause::Disconnected, 2));
    assert!(whole.until.is_some_and(|until| until.0 - whole.from.0 > 300_000), "{whole:?}");
    assert_eq!([watch.said("the camera is lost"), watch.said("the camera is back")], [1, 1]);
}

#[tokio::test]
async fn while_the_queue_is_away_a_camera_is_watched_on() {
    let (_, server) = free_port(&[]);
    let spool = tempfile::tempdir().unwrap();
    let config = DispatcherConfig { spool_dir: Some(spool.path().to_owned()), ..DispatcherConfig::default() };
    let mut watch = Watch::begin("outage", &server.url(""), patient(RtspTransport::Tcp), config).await;
    watch.segments(1).await;
    watch.plan.fail_call("publish", 0, Moment::Before, u64::MAX);
    // Several times what is in it after the one batch that was waited with.
    let size = |path: &std::path::Path| -> u64 {
        let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
        files.map(|file| file.len()).sum()
    };
    let spooled = async {
        let mut first = 0;
        while first == 0 || size(spool.path()) < first * 4 {
            first = if first == 0 { size(spool.path()) } else { first };
            sleep(POLL).await;
        }
    };
    timeout(NEVER, spooled).await.expect("it is spooled");
    watch.plan.heal();
    watch.segments(8).await;
    let report = watch.stop().await;
    watch.assert_whole(&report);
    assert_eq!(watch.gaps().count(), 0, "the camera was watched all the time");
    watch.assert_decodable();
}

#[tokio::test]
async fn a_camera_that_hangs_is_a_gap_of_silence() {
    let (_, server) = free_port(&[]);
    let open = OpenOptions { timeout: Duration::from_secs(4), ..OpenOptions::default() };
    let mut watch = Watch::start("hangs", &server.url(""), open, Duration::from_secs(600)).await;
    watch.segments(1).await;
    server.freeze();
    watch.lost().await;
    server.thaw();
    watch.running().await;
    let gap = watch.gap(|gap| gap.until.is_some()).await;
    watch.segments(1).await;
    let report = watch.stop().await;
    watch.assert_whole(&report);
    assert_eq!(gap.cause, GapCause::Silent);
}

#[tokio::test]
async fn a_wrong_password_is_the_end_of_the_camera_alone() {
    let server = Server::start(&["--auth", "digest", "--user", "operator", "--password", "hunter2"]).unwrap();
    let url = server.url("operator:guess77@");
    let watch = Watch::start("stranger", &url, patient(RtspTransport::Tcp), Duration::from_secs(600)).await;
    watch.state(|state| matches!(state, CameraState::Failed { .. })).await;
    let report = timeout(NEVER, watch.dispatcher).await.unwrap().unwrap().remove(0);
    let error = report.error.expect("an error");
    assert!(error.contains(&server.url("")) && error.contains("wrong user name or password"), "{error}");
    assert!(!error.contains("guess77") && !log().contains("guess77"));
}

/// Five seconds of each of two encodes of equal size, one behind the other, whose parameter sets differ.
fn two_encodes(folder: &std::path::Path) -> std::path::PathBuf {
    let encode = |(name, cabac): (&str, u8)| {
        let file = folder.join(name);
        let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=5", "-pix_fmt", "yuv420p"];
        let params = format!("cabac={cabac}:keyint=15:min-keyint=15:scenecut=0:bframes=0");
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(picture)
            .args(["-c:v", "libx264", "-preset", "veryfast", "-x264-params", &params])
            .arg(&file)
            .output()
            .expect("ffmpeg (Debian package ffmpeg)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(file).unwrap()
    };
    let both = folder.join("both.ts");
    std::fs::write(&both, [("cabac.ts", 1), ("cavlc.ts", 0)].map(encode).concat()).unwrap();
    both
}

#[tokio::test]
async fn parameter_sets_that_change_in_the_stream_begin_an_init_part() {
    let folder = tempfile::tempdir().unwrap();
    let both = two_encodes(folder.path());
    for (name, transport) in [("sets-tcp", RtspTransport::Tcp), ("sets-udp", RtspTransport::Udp)] {
        let server = Server::start(&["--stream", both.to_str().unwrap()]).unwrap();
        let mut watch = Watch::start(name, &server.url(""), patient(transport), Duration::from_secs(600)).await;
        while watch.inits().len() < 2 {
            watch.take().await;
        }
        watch.segments(1).await;
        let report = watch.stop().await;
        watch.assert_whole(&report);
        assert_eq!(watch.inits().len(), 2, "{name}");
        if watch.said("the camera lost something") == 0 {
            watch.assert_decodable();
        }
    }
}
