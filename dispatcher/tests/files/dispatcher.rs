//! The dispatcher over the embedded backends: files, bad input, restarts, HTTP, and cameras that break.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use detektor_backends::store::CameraState;
use detektor_contract::{Clock, EndReason, Epoch, GapCause, Marker, Payload, TimeUs};
use detektor_dispatcher::{DispatcherConfig, Pace};

use crate::common::desk::{Published, camera, file, run, run_once, until_done};
use crate::common::http::{Answer, Server};
use crate::common::{encoded, made, remuxed, tool};

const X264: &str = "-c:v libx264 -preset veryfast -x264-params keyint=25:min-keyint=25:scenecut=0:bframes=3:b-adapt=0";

fn mp4() -> PathBuf {
    encoded("plain.mp4", 8, &format!("{X264} -movflags +faststart"))
}

fn ts() -> PathBuf {
    remuxed("plain.ts", &mp4(), "", "-c copy")
}

#[tokio::test]
async fn a_file_becomes_jobs_and_an_end() {
    let ran = run_once(vec![file("gate", &mp4())]).await;
    let jobs = ran.jobs("gate");
    assert_eq!(jobs.iter().map(|job| job.id.sequence).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(jobs.iter().all(|job| job.id.epoch == Epoch(1) && job.seam.is_none() && job.span.clock == Clock::Media));
    let end = Marker::EndOfEpoch { frames: 200, at: TimeUs(8_000_000), reason: EndReason::EndOfFile };
    assert_eq!(ran.markers("gate"), [end]);
    let report = &ran.reports[0];
    assert_eq!((report.captured, report.segments, &report.error), (200, 8, &None));
    assert_eq!(ran.states["gate"], CameraState::Ended);
}

#[tokio::test]
async fn a_large_segment_is_an_object() {
    let data = tempfile::tempdir().unwrap();
    let config = DispatcherConfig { inline_bytes: 1_000, ..until_done() };
    let ran = run(data.path(), config, vec![file("gate", &mp4())], Published::new(), |_| false).await;
    let jobs = ran.jobs("gate");
    assert_eq!(jobs.len(), 8);
    for job in jobs {
        let Payload::Object { bytes, key, .. } = &job.payload else { panic!("{:?}", job.payload) };
        let object = std::fs::read(data.path().join("bucket").join(key.as_str())).unwrap();
        assert_eq!(object.len() as u64, *bytes);
    }
}

#[tokio::test]
async fn each_pass_of_a_loop_is_an_epoch() {
    let mut looped = file("gate", &mp4());
    looped.passes = Some(3);
    let ran = run_once(vec![looped]).await;
    let epochs: Vec<u64> = ran.jobs("gate").iter().map(|job| job.id.epoch.0).collect();
    assert_eq!(epochs, [[1; 8], [2; 8], [3; 8]].concat());
    assert_eq!(ran.markers("gate").len(), 3);
    assert_eq!(ran.reports[0].captured, 600);
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_gives_the_same() {
    let whole = run_once(vec![file("gate", &mp4())]).await;
    let data = tempfile::tempdir().unwrap();
    let config = DispatcherConfig { most_ready: 1, ..until_done() };
    let mut published = Published::new();
    for at in [2, 5, 6, 100] {
        let cameras = vec![file("gate", &mp4())];
        let ran = run(data.path(), config.clone(), cameras, published, |published| published.len() >= at).await;
        published = ran.published;
    }
    assert!(published.keys().eq(whole.published.keys()));
    for (id, bodies) in &published {
        assert!(bodies.iter().all(|body| *body == whole.published[id][0]), "{id} differs");
    }
}

#[tokio::test]
async fn a_file_in_real_time_takes_its_time() {
    let short = remuxed("short.mp4", &mp4(), "-t 2", "-c copy");
    let begun = Instant::now();
    let mut paced = file("gate", &short);
    paced.pace = Pace::RealTime;
    let ran = run_once(vec![paced]).await;
    assert_eq!(ran.error("gate"), "");
    assert!(begun.elapsed() > Duration::from_millis(1_700), "{:?}", begun.elapsed());
}

/// A file's bytes, changed.
fn changed(name: &str, from: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let bytes = std::fs::read(from).unwrap();
    made(name, |to| std::fs::write(to, change(bytes)).unwrap())
}

#[tokio::test]
async fn what_cannot_be_read_costs_its_own_camera_and_says_why() {
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    tool("mkfifo", &[pipe.to_str().unwrap()]);
    let sound = made("sound.mp4", |to| {
        tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "sine=d=1", "-f", "mp4", to]);
    });
    let cases = [
        ("noise", changed("noise.mp4", &mp4(), |_| noise), "no video in it"),
        ("empty", changed("empty.mp4", &mp4(), |_| Vec::new()), "no video in it"),
        ("missing", PathBuf::from("/nowhere/at/all.mp4"), "No such file"),
        ("folder", folder.path().to_owned(), "not a regular file"),
        ("pipe", pipe, "not a regular file"),
        ("headless", changed("headless.mp4", &mp4(), |bytes| bytes[..2_000].to_vec()), "index is missing or damaged"),
        ("mjpeg", encoded("mjpeg.avi", 1, "-c:v mjpeg"), "MJPEG is not supported"),
        ("mpeg4", encoded("mpeg4.mp4", 1, "-c:v mpeg4"), "MPEG-4 Part 2 is not supported"),
        ("av1", encoded("av1.mkv", 1, "-c:v libaom-av1 -cpu-used 8"), "AV1 is not supported"),
        (
            "hls",
            changed("playlist.m3u8", &mp4(), |_| b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n".to_vec()),
            "HLS is not supported",
        ),
        ("sound", sound, "no video in it"),
    ];
    let mut cameras = vec![file("good", &mp4())];
    cameras.extend(cases.iter().map(|(name, path, _)| file(name, path)));
    let ran = run_once(cameras).await;
    assert_eq!((ran.jobs("good").len(), ran.error("good")), (8, String::new()));
    for (name, path, reason) in &cases {
        let error = ran.error(name);
        assert!(error.contains(reason), "{name}: {error}");
        assert!(error.contains(path.to_str().unwrap()), "{name}: {error}");
        assert!(matches!(&ran.states[*name], CameraState::Failed { error: told } if *told == error), "{name}");
    }
}

#[tokio::test]
async fn of_a_file_that_is_cut_off_or_damaged_what_can_be_read_is_read() {
    let mkv = remuxed("plain.mkv", &mp4(), "", "-c copy");
    let avi = encoded("plain.avi", 8, X264);
    let recording = remuxed("recording.mkv", &mp4(), "", "-c copy -live 1");
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() * 2 / 3].to_vec();
    let whole_packets = |bytes: Vec<u8>| bytes.len() * 2 / 3 / 188 * 188;
    let damage = |mut bytes: Vec<u8>| {
        let from = bytes.len() / 2;
        bytes[from..from + 3_000].fill(0xa5);
        bytes
    };
    let broken = [
        ("cut-mp4", changed("cut.mp4", &mp4(), cut)),
        ("cut-mkv", changed("cut.mkv", &mkv, cut)),
        ("cut-recording", changed("cut-recording.mkv", &recording, cut)),
        ("cut-avi", changed("cut.avi", &avi, cut)),
        ("cut-ts", changed("cut.ts", &ts(), |bytes| bytes[..whole_packets(bytes.clone()) + 100].to_vec())),
    ];
    let damaged = [
        ("hit-mp4", changed("hit.mp4", &mp4(), damage)),
        ("hit-mkv", changed("hit.mkv", &mkv, damage)),
        ("hit-ts", changed("hit.ts", &ts(), damage)),
        ("hit-avi", changed("hit.avi", &avi, damage)),
        // Between two packets a transport stream may end or be cut off, as it likes.
        ("short-ts", changed("short.ts", &ts(), |bytes| bytes[..whole_packets(bytes.clone())].to_vec())),
        ("recording", recording),
    ];
    let cameras = broken.iter().chain(&damaged).map(|(name, path)| file(name, path)).collect();
    let ran = run_once(cameras).await;
    for (name, _) in broken.iter().chain(&damaged) {
        let markers = ran.markers(name);
        let Some(Marker::EndOfEpoch { frames, reason, .. }) = markers.last() else { panic!("{name}: {markers:?}") };
        let error = ran.error(name);
        assert!((60..=210).contains(frames), "{name}: {frames} frames, {error:?}");
        assert_eq!(*reason == EndReason::SourceFailed, !error.is_empty(), "{name}: {error:?}");
        let is_broken = broken.iter().any(|(broken, _)| broken == name);
        assert_eq!(error.contains("broke off: it is cut off"), is_broken, "{name}: {error:?}");
        assert_eq!(error.is_empty(), !is_broken, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_remote_file_that_breaks_off_for_good_ends_and_goes_on_where_it_can_be_read_further() {
    let noisy = encoded("noisy.ts", 8, &format!("-vf noise=alls=80:allf=t -qp 18 {X264}"));
    let bytes = std::fs::read(&noisy).unwrap();
    assert!(bytes.len() > 3 << 20, "longer than what tells it from others");
    let whole = run_once(vec![file("gate", &noisy)]).await;

    let data = tempfile::tempdir().unwrap();
    let server = Server::start(bytes.clone(), Answer::BreaksOffAt(bytes.len() * 2 / 3)).await;
    let ran = run(data.path(), until_done(), vec![camera("gate", &server.url(""))], Published::new(), |_| false).await;
    assert!(ran.error("gate").contains("broke off"), "{}", ran.error("gate"));
    let jobs = ran.jobs("gate");
    assert!((4..=5).contains(&jobs.len()), "{}", jobs.len());
    let frames = jobs.iter().map(|job| u64::from(job.span.frames)).sum();
    assert_eq!(ran.reports[0].captured, frames);
    let at = jobs.last().unwrap().span.end;
    assert_eq!(ran.markers("gate"), [Marker::EndOfEpoch { frames, at, reason: EndReason::SourceFailed }]);

    let server = Server::start(bytes, Answer::Whole { ranges: true }).await;
    let ran = run(data.path(), until_done(), vec![camera("gate", &server.url(""))], ran.published, |_| false).await;
    assert_eq!((ran.error("gate"), ran.reports[0].captured), (String::new(), 200));
    assert!(ran.published.keys().eq(whole.published.keys()));
    for (id, bodies) in &ran.published {
        assert_eq!(bodies.last(), whole.published[id].last(), "{id}");
        // Only the end is told again, as what comes in its place.
        assert_eq!(bodies.len(), if id.sequence == jobs.len() as u64 { 2 } else { 1 }, "{id}");
    }
}

#[tokio::test]
async fn a_progressive_file_over_http_is_a_file() {
    let plain = run_once(vec![file("gate", &mp4())]).await;
    for ranges in [true, false] {
        let server = Server::start(std::fs::read(mp4()).unwrap(), Answer::Whole { ranges }).await;
        let ran = run_once(vec![camera("gate", &server.url("admin:s3cret@"))]).await;
        assert_eq!(ran.error("gate"), "");
        assert!(ran.published == plain.published, "another source, the same segments");
    }
}

#[tokio::test]
async fn a_transport_stream_over_http_is_a_camera() {
    let server = Server::start(std::fs::read(ts()).unwrap(), Answer::Endless).await;
    let ran = run_once(vec![camera("gate", &server.url(""))]).await;
    let jobs = ran.jobs("gate");
    assert!(jobs.len() >= 7, "{}", jobs.len());
    assert!(jobs.iter().all(|job| job.span.clock == Clock::Unix && job.span.key_frame.is_some()));
    assert!(jobs[0].seam.is_some_and(|seam| seam.at == jobs[0].span.start));
    assert!(jobs[1..].iter().all(|job| job.seam.is_none()));
    let spans: Vec<_> = jobs.iter().map(|job| (job.span.frames, job.span.start.0, job.span.end.0)).collect();
    assert!(spans.windows(2).all(|w| w[0].2 == w[1].1), "{spans:?}");
    assert!(matches!(ran.markers("gate")[..], [Marker::EndOfEpoch { reason: EndReason::EndOfFile, .. }]));
}

#[tokio::test]
async fn a_camera_that_breaks_is_found_again_and_leaves_a_gap() {
    let server = Server::start(std::fs::read(ts()).unwrap(), Answer::Endless).await;
    let data = tempfile::tempdir().unwrap();
    let config = DispatcherConfig { lost_after: Duration::ZERO, ..DispatcherConfig::default() };
    let cameras = vec![camera("gate", &server.url(""))];
    let ran = run(data.path(), config, cameras, Published::new(), |published| published.len() >= 20).await;
    assert_eq!(ran.error("gate"), "");
    assert_eq!(ran.states["gate"], CameraState::Stopped);
    let markers = ran.markers("gate");
    let [
        Marker::Gap { from, until: None, .. },
        Marker::Gap { from: again, until: Some(until), cause: GapCause::Disconnected, clock: Clock::Unix },
        ..,
        Marker::EndOfEpoch { frames, reason: EndReason::Stopped, .. },
    ] = &markers[..]
    else {
        panic!("{markers:?}");
    };
    assert_eq!(from, again);
    assert!(until > from);
    let jobs = ran.jobs("gate");
    assert!(jobs.iter().all(|job| job.id.epoch == jobs[0].id.epoch));
    assert_eq!(jobs.iter().find(|job| job.span.start >= *until).map(|job| job.span.start), Some(*until));
    assert_eq!(*frames, jobs.iter().map(|job| u64::from(job.span.frames)).sum::<u64>());
    assert_eq!(*frames, ran.reports[0].captured);
}

#[tokio::test]
async fn servers_that_do_not_play_along_cost_bounded_time_and_show_no_secrets() {
    let bytes = std::fs::read(ts()).unwrap();
    let half = bytes.len() / 2;
    let mute = Server::start(Vec::new(), Answer::Nothing).await;
    let hangs = Server::start(bytes, Answer::HangsAfter(half)).await;
    let denies = Server::start(Vec::new(), Answer::Denies).await;
    let gone = Server::start(Vec::new(), Answer::Nothing).await.url("admin:s3cret@");
    let urls = [
        ("mute", mute.url("admin:s3cret@")),
        ("hangs", hangs.url("")),
        ("denies", denies.url("admin:s3cret@")),
        ("gone", gone),
    ];
    let begun = Instant::now();
    let cameras = urls.iter().map(|(name, url)| camera(name, url)).chain([file("good", &mp4())]).collect();
    let ran = run_once(cameras).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(ran.jobs("good").len(), 8);
    assert!(ran.jobs("hangs").len() >= 3, "what came before it hung is kept");
    for (name, reason) in
        [("mute", "gave nothing for 2 s"), ("hangs", "gave nothing for 2 s"), ("denies", "401"), ("gone", "refused")]
    {
        let error = ran.error(name);
        assert!(error.contains(reason), "{name}: {error}");
        assert!(!error.contains("s3cret") && !error.contains("admin"), "{name}: {error}");
    }
}
