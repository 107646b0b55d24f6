//! Bad input costs that input only, and says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::servers::{Answer, serve};
use support::{accounted, detektor, driveway, ffmpeg, frames, piece, run, summary};

/// Video of this kind in a folder: a second of a test picture, or as long as the arguments say.
fn test_picture(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=4", "-pix_fmt", "yuv420p"];
    ffmpeg(&picture.into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>(), &path);
    path
}

const X264: &str = "-c:v libx264 -preset veryfast -g 25";

/// A run over these cameras, whose summary is checked: those with a phrase failed, saying so, the others did not.
fn run_and_check(
    folder: &Path,
    cameras: &[(&str, String, Option<&str>)],
    more: &[&str],
) -> (Output, BTreeMap<String, Value>) {
    let given: Vec<String> = cameras.iter().map(|(name, url, _)| format!("{name}={url}")).collect();
    let output = run(&folder.join("data"), &given, more);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let summary = summary(&output);
    let mut by_name = BTreeMap::new();
    for (name, _, phrase) in cameras {
        let camera = &summary["cameras"][name];
        let error = camera["error"].as_str();
        match phrase {
            None => assert_eq!(error, None, "camera {name}"),
            Some(phrase) => {
                let error = error.unwrap_or_else(|| panic!("camera {name} did not fail: {said}"));
                assert!(error.contains(phrase), "camera {name}: {error}");
                assert!(said.contains(&format!("camera {name}: {error}")), "camera {name}: {said}");
            }
        }
        accounted(camera);
        by_name.insert((*name).to_owned(), camera.clone());
    }
    (output, by_name)
}

#[test]
fn bad_files_fail_by_name_and_leave_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at(name), bytes).unwrap();
    let noise: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    write("noise.mp4", &noise);
    write("empty.mp4", b"");
    let footage = driveway();
    let whole = std::fs::read(&footage).unwrap();
    write("cut.mov", &whole[..whole.len() / 3]);
    for kind in ["mkv", "ts"] {
        let path = at(&format!("whole.{kind}"));
        ffmpeg(&["-i", footage.to_str().unwrap(), "-t", "6", "-c", "copy", "-an"], &path);
        let whole = std::fs::read(path).unwrap();
        write(&format!("cut.{kind}"), &whole[..whole.len() / 2 / 188 * 188 + 90]);
        let mut damaged = whole;
        let from = damaged.len() / 2;
        damaged[from..from + 3_000].fill(0x5a);
        write(&format!("damaged.{kind}"), &damaged);
    }
    // A file whose header names a video track, and nothing behind it.
    let fragmented = test_picture(dir.path(), "fragmented.mp4", &format!("{X264} -movflags frag_keyframe+empty_moov"));
    let fragmented = std::fs::read(fragmented).unwrap();
    write("nothing.mp4", &fragmented[..fragmented.windows(4).position(|four| four == b"moof").unwrap() - 4]);
    write("beginning.mkv", &std::fs::read(at("whole.mkv")).unwrap()[..100]);
    test_picture(dir.path(), "mjpeg.avi", "-t 1 -c:v mjpeg");
    test_picture(dir.path(), "part2.avi", "-t 1 -c:v mpeg4");
    test_picture(dir.path(), "av1.mkv", "-t 1 -c:v libaom-av1 -cpu-used 8");
    write("playlist.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n");

    let cases = [
        ("good", piece(dir.path(), 8.0, 3.0), None),
        ("noise", at("noise.mp4"), Some("no video in it")),
        ("missing", at("nowhere.mp4"), Some("No such file")),
        ("empty", at("empty.mp4"), Some("no video in it")),
        ("nothing", at("nothing.mp4"), Some("no picture in it")),
        ("beginning", at("beginning.mkv"), Some("cut off")),
        ("cut-mov", at("cut.mov"), Some("cut off")),
        ("cut-mkv", at("cut.mkv"), Some("cut off")),
        ("cut-ts", at("cut.ts"), Some("cut off")),
        ("damaged-mkv", at("damaged.mkv"), None),
        ("damaged-ts", at("damaged.ts"), None),
        ("mjpeg", at("mjpeg.avi"), Some("MJPEG is not supported")),
        ("part2", at("part2.avi"), Some("MPEG-4 Part 2 is not supported")),
        ("av1", at("av1.mkv"), Some("AV1 is not supported")),
        ("hls", at("playlist.m3u8"), Some("HLS is not supported")),
    ];
    let cameras = cases.map(|(name, path, phrase)| (name, path.display().to_string(), phrase));
    let (_, cameras) = run_and_check(dir.path(), &cameras, &["--detect-fps", "1"]);
    assert!(accounted(&cameras["good"]) > 60);
    // What comes before the end of a file that is cut off holds, and damaged bytes cost some frames and nothing else.
    for (name, at_least) in [("cut-mkv", 60), ("cut-ts", 60), ("damaged-mkv", 100), ("damaged-ts", 100)] {
        let captured = accounted(&cameras[name]);
        assert!((at_least..=181).contains(&captured), "{name}: {captured}");
    }
}

#[test]
fn streams_that_change_their_size_or_their_parameter_sets_are_looked_through_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let encodes = [("first", "-x264-params cabac=1"), ("sets", "-x264-params cabac=0"), ("size", "-vf scale=128:96")];
    let streams = encodes.map(|(name, arguments)| {
        let path = test_picture(dir.path(), &format!("{name}.ts"), &format!("-t 2 {X264} {arguments}"));
        std::fs::read(path).unwrap()
    });
    let ts = dir.path().join("changes.ts");
    std::fs::write(&ts, streams.concat()).unwrap();
    let mp4 = dir.path().join("changes.mp4");
    ffmpeg(&["-fflags", "+genpts", "-i", ts.to_str().unwrap(), "-c", "copy"], &mp4);
    let cameras = [("ts", &ts), ("mp4", &mp4), ("good", &piece(dir.path(), 8.0, 3.0))];
    let given = cameras.map(|(name, path)| format!("{name}={}", path.display()));
    let output = run(&dir.path().join("data"), &given, &["--detect-fps", "all", "--no-gate"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = summary(&output);
    for (name, path) in cameras {
        let camera = &summary["cameras"][name];
        assert_eq!(accounted(camera), frames(path), "{name}");
        assert_eq!(camera["detected"], camera["captured"], "{name}: every frame was decoded and looked at");
    }
    assert_eq!(accounted(&summary["cameras"]["ts"]), 150);
}

#[test]
fn cameras_that_do_not_play_along_fail_by_name_and_leave_the_others_alone() {
    const SECRETS: [&str; 2] = ["operator", "hunter2"];
    let dir = tempfile::tempdir().unwrap();
    let ts = dir.path().join("driveway.ts");
    ffmpeg(&["-i", driveway().to_str().unwrap(), "-c", "copy", "-an"], &ts);
    let bytes = std::fs::read(&ts).unwrap();
    let hangs = serve(Answer::Hangs(bytes[..bytes.len() / 4].to_vec()));
    let breaks_off = serve(Answer::BreaksOff(bytes.clone(), bytes.len() / 2));
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let user = format!("{}:{}", SECRETS[0], SECRETS[1]);
    let (mute, rtsp, http) =
        (serve(Answer::Nothing), serve(Answer::Unauthorized("RTSP/1.0")), serve(Answer::Unauthorized("HTTP/1.1")));
    let cameras = [
        ("good", piece(dir.path(), 8.0, 3.0).display().to_string(), None),
        ("mute-rtsp", format!("rtsp://{user}@{mute}/1"), Some("gave nothing for 10 s")),
        ("mute-http", format!("http://{user}@{mute}/1"), Some("gave nothing for 10 s")),
        ("hangs", format!("http://{hangs}/1.ts"), Some("gave nothing for 10 s")),
        ("breaks-off", format!("http://{breaks_off}/1.ts"), Some("broke off")),
        ("stranger-rtsp", format!("rtsp://{user}@{rtsp}/1"), Some("wrong user name or password")),
        ("stranger-http", format!("http://{user}@{http}/1"), Some("wrong user name or password")),
        ("nobody", format!("rtsp://{rtsp}/1"), Some("it wants a user name and a password")),
        ("away", format!("rtsp://{user}@{away}/1"), Some("onnection refused")),
    ];
    let (output, cameras) = run_and_check(dir.path(), &cameras, &[]);
    assert!(accounted(&cameras["good"]) > 60);
    // What came before it broke is in the ledger, and the ledger is closed.
    assert!(accounted(&cameras["hangs"]) > 300 && accounted(&cameras["breaks-off"]) > 600, "{cameras:#?}");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(SECRETS.iter().all(|secret| !said.contains(secret)), "{said}");
    let events = support::lines("events", &dir.path().join("data"));
    assert!(events.iter().any(|event| event["camera"] == "breaks-off"), "{events:#?}");
    for event in events {
        assert_ne!(event["end_s"], Value::Null, "an event stayed open: {event}");
    }
}

#[test]
fn a_full_disk_is_said_and_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    // A small disk of its own, in a namespace of its own; it fills as soon as the run has begun. Before, it would end: its database
    // is yet to be made.
    let script = r#"
        set -eu
        mkdir disk
        mount -t tmpfs -o size=32m tmpfs disk
        "$@" --data-dir disk/data >stdout 2>stderr &
        until grep -q 'the page is at' stderr; do sleep 0.01; kill -0 $!; done
        cat /dev/zero >disk/filler 2>/dev/null || true
        for _ in $(seq 600); do ! grep -Eq '(camera[ =]|waiting for the surroundings).*no space left' stderr || break; sleep 0.1; done
        rm disk/filler
        wait $!
    "#;
    // It is still being played when the disk is full.
    let slow =
        format!("[[camera]]\nname = \"two\"\nurl = \"{}\"\nreal_time = true\n", piece(dir.path(), 8.0, 20.0).display());
    std::fs::write(dir.path().join("slow.toml"), slow).unwrap();
    let detektor = detektor(&["run", "--until-done", "--json", "--listen", "127.0.0.1:0", "--detect-fps", "1"]);
    let status = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(detektor.get_program())
        .args(detektor.get_args())
        .args(["--camera", &format!("one={}", driveway().display())])
        .args(["--config", "slow.toml"])
        .current_dir(dir.path())
        .env_remove("DETEKTOR_LOG")
        .stdin(Stdio::null())
        .status()
        .expect("unshare (Debian package util-linux)");
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap_or_default();
    let said = String::from_utf8(read("stderr")).unwrap();
    assert!(status.success(), "{status}; this test needs a kernel that gives it a mount namespace; {said}");
    // Whoever writes says so: a camera, by its name, unless it waits for room in a queue that is full already, or those who take from that.
    let waits =
        |line: &str| ["camera ", "camera=", "waiting for the surroundings"].iter().any(|who| line.contains(who));
    assert!(said.lines().any(|line| waits(line) && line.contains("no space left on the disk")), "{said}");
    let summary = summary(&Output { status, stdout: read("stdout"), stderr: read("stderr") });
    assert_eq!(accounted(&summary["cameras"]["one"]), frames(&driveway()));
    assert!(accounted(&summary["cameras"]["two"]) > 500);
    for camera in ["one", "two"] {
        assert_eq!(summary["cameras"][camera]["failed"], serde_json::json!({}), "{camera}");
    }
}

#[test]
fn every_mistake_in_a_configuration_is_listed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "listen = '0.0.0.0:1'\nengine = 'x'\n[detect]\nfps = 0\n[[camera]]\nname = '/'\nurl = 'a'\n")
        .unwrap();
    let output = detektor(&["run", "--config"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for field in ["listen", "engine", "detect.fps", "camera[0].name"] {
        assert!(said.contains(&format!("\n  {field}")), "{field} is not in: {said}");
    }
}

#[test]
fn a_data_directory_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = detektor(&["run", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(&data).arg("--camera").arg(format!("a={}", driveway().display()));
    let mut first = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < 60 && !data.join("detektor.db").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let second = run(&data, &[format!("a={}", driveway().display())], &[]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_corrupt_or_unsuitable_model_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let graph = std::fs::read(models.join("efficientdet-lite0.onnx")).unwrap();
    let manifest = std::fs::read_to_string(models.join("efficientdet-lite0.toml")).unwrap();
    let checksum = manifest.lines().find(|line| line.starts_with("sha256")).unwrap();
    let unchecked = |sha256: &str| manifest.replace(checksum, &format!("sha256 = \"{sha256}\""));
    let mut damaged = graph.clone();
    damaged[1_000_000] ^= 1;
    let noise_sha256 = "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e";
    let other_output = manifest.replace("scores = \"concat\"", "scores = \"nowhere\"");
    let other_size = manifest.replace("size = [320, 320]", "size = [96, 96]");
    assert!(other_output != manifest && other_size != manifest);
    let cases: [(&str, &[u8], &str, &str); 5] = [
        ("damaged", &damaged, &manifest, "SHA-256"),
        ("noise", b"Hello World", &unchecked(noise_sha256), "not an ONNX model"),
        ("other-output", &graph, &other_output, "nowhere"),
        ("other-size", &graph, &other_size, "other-size"),
        ("no-manifest", &graph, "", "manifest"),
    ];
    for (name, graph, manifest, phrase) in cases {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let model = folder.join("efficientdet-lite0.onnx");
        std::fs::write(&model, graph).unwrap();
        std::fs::write(model.with_extension("toml"), manifest).unwrap();
        let data = folder.join("data");
        let output = run(&data, &["a=x.mp4".to_owned()], &["--model", model.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("efficientdet-lite0") && said.contains(phrase), "{name}: {said}");
    }
}
