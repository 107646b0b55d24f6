//! The tools on RabbitMQ, S3 and Postgres: from one machine to many and back, what failed for good is tried again, and a film
//! goes the whole way.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use detektor_backends::below::Below;
use detektor_backends::bucket::{Bucket, Listed};
use detektor_backends::copy::copy;
use detektor_backends::embedded::Embedded;
use detektor_backends::postgres::Postgres;
use detektor_backends::rabbitmq::RabbitMq;
use detektor_backends::s3::S3Bucket;
use detektor_backends::servers;
use detektor_contract::{ObjectKey, SegmentId};
use futures::TryStreamExt;
use serde_json::Value;
use support::deployment::Deployment;
use support::{detektor, piece, run};

const KINDS: [&str; 3] = ["events", "detections", "ledger"];

/// What `detektor events|detections|ledger --json` print of a data directory.
fn all(data: &Path) -> [String; 3] {
    KINDS.map(|kind| support::read(kind, data))
}

/// Every object of a bucket.
async fn objects(bucket: &dyn Bucket) -> Vec<(ObjectKey, bytes::Bytes)> {
    let listed: Vec<Listed> = bucket.list("").try_collect().await.unwrap();
    let mut found = Vec::new();
    for Listed { key, .. } in listed {
        let body = bucket.get(&key).await.unwrap();
        found.push((key, body));
    }
    found
}

fn reindexed(from: &str, data: &Path, config: &Path) {
    let mut command = detektor(&["reindex", "--from", from, "--config"]);
    let output = command.arg(config).arg("--data-dir").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_becomes_many_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (one, back, third) = (dir.path().join("one"), dir.path().join("back"), dir.path().join("third"));
    // Names that databases sort in ways of their own.
    let footage = piece(dir.path(), 0.0, 12.0).display().to_string();
    let cameras = ["gate", "Gate-2", "gate_1"].map(|name| format!("{name}={footage}"));
    let done = run(&one, &cameras, &["--workers", "2"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let truth = all(&one);
    assert!(truth.iter().all(|lines| lines.lines().count() >= 3), "there is nothing to compare: {truth:?}");

    let many = Deployment::new(dir.path()).await;
    let from = one.display().to_string();
    let told = many.does(&["reindex", "--from", &from]);
    assert!(told.contains("objects copied") && told.contains("outcomes of 3 cameras"), "{told}");
    assert_eq!(KINDS.map(|kind| many.reads(kind)), truth);
    let of_one = detektor(&["ledger", "--json", "--camera", "gate_1"]).env("DETEKTOR_CONFIG", &many.config).output();
    assert_eq!(truth[2].lines().nth(2), std::str::from_utf8(&of_one.unwrap().stdout).unwrap().lines().next());

    // The bucket is the truth there as well, and nobody is told of anything.
    let bucket: Arc<dyn Bucket> = Arc::new(S3Bucket::new(&many.s3).await.unwrap());
    let before = objects(&*Embedded::open_bucket(&one).await.unwrap()).await;
    assert_eq!(objects(&*bucket).await, before);
    let store = Postgres::open(&many.postgres).await.unwrap().store();
    assert_eq!(store.feed_head().await.unwrap().position, 0);
    assert_eq!(store.pending_objects(10).await.unwrap(), []);

    // A wrong source costs nothing.
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let wrong = many.tool(&["reindex", "--from", &empty.display().to_string()]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("no outcome log"), "{wrong:?}");
    // Without its database all is made from the bucket alone.
    store.begin_reindex().await.unwrap();
    assert_eq!(many.reads("events"), "");
    many.does(&["reindex"]);
    assert_eq!(KINDS.map(|kind| many.reads(kind)), truth);

    reindexed(&format!("s3://{}", many.s3.bucket), &back, &many.config);
    assert_eq!(all(&back), truth);
    assert_eq!(objects(&*Embedded::open_bucket(&back).await.unwrap()).await, before);
    // What is known is not worked on again.
    let again = support::summary(&run(&back, &cameras, &[]));
    assert_eq!(again["fps"], 0.0, "{again}");
    assert_eq!(all(&back), truth);

    // A copy that lies below a prefix of another bucket, as `mc mirror` may have put it there.
    let kept = Arc::new(S3Bucket::new(&servers::Minio::shared().await.options("kept")).await.unwrap());
    kept.create().await.unwrap();
    copy(&*bucket, &Below::new(kept, &ObjectKey::parse("2026/site").unwrap()), |_| ()).await.unwrap();
    reindexed("s3://kept/2026/site", &third, &many.config);
    assert_eq!(all(&third), truth);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_is_tried_again_by_one_command() {
    let dir = tempfile::tempdir().unwrap();
    let footage = piece(dir.path(), 0.0, 4.0);
    let calm = dir.path().join("calm");
    assert!(run(&calm, &[format!("gate={}", footage.display())], &[]).status.success());
    let frames = support::lines("ledger", &calm)[0]["captured"].clone();

    let many = Deployment::new(dir.path()).await;
    let _balancer = many.role("balancer", &["--interval-ms", "200"], dir.path());
    let _dispatcher = many.role("dispatcher", &["--name", "one"], dir.path());
    many.wants("gate", &footage, dir.path());
    let queues = RabbitMq::connect(many.rabbitmq.clone()).await.unwrap();
    let job = support::deployment::fails_one(&queues).await;

    let report: Value = serde_json::from_str(&many.does(&["placement", "--json"])).expect("one JSON object");
    assert_eq!(report["nodes"][0]["name"], "one", "{report}");
    assert_eq!(report["nodes"][0]["camera_count"], 1);
    assert!(report["std_deviation"].is_number() && report["rebalance_needed"].is_boolean(), "{report}");

    let _merge = many.role("merge", &[], dir.path());
    let _detect = many.role("detect", &["--workers", "1"], dir.path());
    let lost = job.span.frames;
    let whole = |ledger: &Value| ledger["captured"] == frames && ledger["closes"] == true;
    let ledger = many.ledger_when("gate", whole).await;
    assert_eq!(ledger["failed"], serde_json::json!({ "dead_lettered": lost }));
    let listed = many.does(&["replay", "--list"]);
    let name: &SegmentId = &job.id;
    assert_eq!(listed.trim(), format!("{name}  {lost} frames, tried 3 times: no picture came out"));
    assert_eq!(many.does(&["replay", "--list", "--camera", "other"]), "");
    assert!(many.does(&["replay", "--camera", "other"]).starts_with("0 queued again"));

    assert!(many.does(&["replay"]).starts_with("1 queued again"));
    many.ledger_when("gate", |ledger| whole(ledger) && ledger["failed"] == serde_json::json!({})).await;
    assert_eq!(KINDS.map(|kind| many.reads(kind)), all(&calm));
    assert_eq!(many.does(&["replay", "--list"]), "");
    assert!(many.does(&["replay"]).starts_with("0 queued again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_goes_the_whole_way_and_where_it_is_stuck_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let footage = piece(dir.path(), 0.0, 4.0);
    let film = footage.display().to_string();
    let many = Deployment::new(dir.path()).await;
    assert!(many.does(&["migrate", "--wait", "--within-s", "5"]).contains("as this release needs them"));
    let check = |film: &str, within: &str| {
        let output = many.tool(&["check", "--footage", film, "--within-s", within, "--json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(many.does(&["cameras", "list"]), "", "the camera is still wanted: {said}");
        (output.status.code(), said, output.stdout)
    };
    let stuck = |within: &str, expected: &str| {
        let (code, said, _) = check(&film, within);
        assert!(code == Some(1) && said.contains(expected), "{code:?} {said}");
    };
    stuck("2", "is a balancer running?");
    let _balancer = many.role("balancer", &["--interval-ms", "200"], dir.path());
    stuck("12", "no dispatcher took it: there is no dispatcher");
    let _dispatcher = many.role("dispatcher", &["--name", "one", "--beat-ms", "200"], dir.path());
    let _merge = many.role("merge", &[], dir.path());
    stuck("15", "sliced and not looked at: in detect.0");
    let (code, said, _) = check("/nowhere.mov", "240");
    assert!(code == Some(1) && said.contains("the dispatcher one cannot read /nowhere.mov"), "{said}");

    let _detect = many.role("detect", &["--workers", "1"], dir.path());
    // What was stuck is merged when it comes, and no ledger stays open.
    for line in many.reads("ledger").lines() {
        let ledger: Value = serde_json::from_str(line).unwrap();
        many.ledger_when(ledger["camera"].as_str().unwrap(), |ledger| ledger["closes"] == true).await;
    }
    let (code, said, told) = check(&film, "240");
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_slice(&told).expect("one JSON object");
    let number = |field: &str| told[field].as_u64().unwrap();
    assert_eq!(number("frames"), support::frames(&footage));
    assert!(number("detected") > 0 && number("failed") == 0 && told["seconds"].as_f64() > Some(0.0), "{told}");
    assert_eq!(number("frames"), number("detected") + number("skipped"));
    let name = told["camera"].as_str().unwrap();
    assert_eq!(many.does(&["detections", "--json", "--camera", name]), "");
    let shown: Value = serde_json::from_str(&many.does(&["partitions", "--json"])).expect("one JSON object");
    let rates = |queue: &Value| queue["in_per_s"].is_number() && queue["out_per_s"].is_number();
    assert!(shown["queues"].as_array().unwrap().iter().all(rates), "{shown}");

    // Whoever has enough of it leaves nothing behind either.
    let mut command = detektor(&["check", "--footage", &film, "--config"]);
    let mut running = command.arg(&many.config).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("is wanted"));
    let killed = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(running.wait().unwrap().code(), Some(130), "{:?}", said.collect::<Vec<_>>());
    assert_eq!(many.does(&["cameras", "list"]), "");
}

#[test]
fn who_waits_for_tables_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (config, password) = (dir.path().join("detektor.toml"), dir.path().join("password"));
    std::fs::write(&password, "x").unwrap();
    // Nobody listens there.
    let text = format!("[postgres]\nurl = \"postgres://127.0.0.1:1/x\"\npassword_file = {password:?}\n");
    std::fs::write(&config, text).unwrap();
    let output = detektor(&["migrate", "--wait", "--within-s", "1", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("runs `detektor migrate`") && said.contains("connecting to the database"), "{said}");
}

#[test]
fn a_wrong_configuration_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("detektor.toml");
    std::fs::write(&config, "[postgres]\nurl = \"mysql://x\"\n[s3]\nendpoint = \"x\"\n").unwrap();
    for (tool, mistakes) in [
        (&["ledger"][..], &["postgres.url", "postgres.password_file"][..]),
        (&["events", "--json"], &["postgres.url", "postgres.password_file"]),
        (&["replay"], &["postgres.url", "s3.endpoint", "rabbitmq.password_file"]),
        (&["reindex"], &["postgres.url", "s3.endpoint"]),
        (&["check"], &["postgres.url", "rabbitmq.password_file"]),
        (&["migrate", "--wait"], &["postgres.url", "postgres.password_file"]),
    ] {
        let output = detektor(tool).arg("--config").arg(&config).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{tool:?}: {said}");
        assert!(mistakes.iter().all(|mistake| said.contains(mistake)), "{tool:?}: {said}");
    }
}
