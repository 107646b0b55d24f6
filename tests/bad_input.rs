//! Bad input costs that input only, and says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use support::{accounted, detektor, driveway, ffmpeg, piece, run, summary};

#[test]
fn bad_sources_fail_by_name_and_leave_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let good = piece(dir.path(), 8.0, 3.0);
    std::fs::write(
        at("noise.mp4"),
        (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>(),
    )
    .unwrap();
    let whole = std::fs::read(driveway()).unwrap();
    ffmpeg(&["-i", driveway().to_str().unwrap(), "-t", "6", "-c", "copy", "-an", "-f", "mpegts"], &at("whole.ts"));
    let ts = std::fs::read(at("whole.ts")).unwrap();
    std::fs::write(at("cut.mov"), &whole[..whole.len() / 3]).unwrap();
    std::fs::write(at("empty.mp4"), b"").unwrap();
    let mut damaged = ts.clone();
    damaged[ts.len() / 2..ts.len() / 2 + 3000].fill(0x5a);
    std::fs::write(at("damaged.ts"), damaged).unwrap();
    ffmpeg(&["-f", "lavfi", "-i", "testsrc=d=1", "-c:v", "mjpeg"], &at("mjpeg.avi"));
    ffmpeg(&["-f", "lavfi", "-i", "testsrc=d=1", "-c:v", "mpeg4"], &at("part2.avi"));

    let camera = |name: &str, file: &str| format!("{name}={}", at(file).display());
    let cameras = [
        format!("good={}", good.display()),
        camera("noise", "noise.mp4"),
        camera("missing", "nowhere.mp4"),
        camera("cut", "cut.mov"),
        camera("empty", "empty.mp4"),
        camera("damaged", "damaged.ts"),
        camera("mjpeg", "mjpeg.avi"),
        camera("part2", "part2.avi"),
    ];
    let output = run(&at("data"), &cameras, &["--detect-fps", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = summary(&output);
    let error = |name: &str| summary["cameras"][name]["error"].as_str().map(str::to_owned);
    assert_eq!(error("good"), None);
    assert!(accounted(&summary["cameras"]["good"]) > 60);
    for bad in ["noise", "missing", "cut", "empty", "mjpeg", "part2"] {
        let error = error(bad).unwrap_or_else(|| panic!("camera {bad} did not fail"));
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("camera {bad}: ")), "{error}");
    }
    assert!(error("mjpeg").unwrap().to_lowercase().contains("mjpeg"), "{:?}", error("mjpeg"));
    assert!(error("part2").unwrap().to_lowercase().contains("mpeg-4") || error("part2").unwrap().contains("mpeg4"));
    // Damaged bytes cost some frames and nothing else.
    assert_eq!(error("damaged"), None);
    assert!(accounted(&summary["cameras"]["damaged"]) > 100);
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
    let mut first = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
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
fn a_corrupt_model_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let model = dir.path().join("efficientdet-lite0.onnx");
    let mut bytes = std::fs::read(root.join("efficientdet-lite0.onnx")).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    std::fs::copy(root.join("efficientdet-lite0.toml"), model.with_extension("toml")).unwrap();
    let output = run(&dir.path().join("data"), &["a=x.mp4".to_owned()], &["--model", model.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("efficientdet-lite0.onnx") && said.contains("SHA-256"), "{said}");
}
