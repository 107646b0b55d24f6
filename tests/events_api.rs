//! The events role on RabbitMQ, S3 and Postgres: cameras and replays by its API. And history that is pruned there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use detektor_backends::bucket::Bucket;
use detektor_backends::postgres::Postgres;
use detektor_backends::rabbitmq::RabbitMq;
use detektor_backends::s3::S3Bucket;
use detektor_contract::ObjectKey;
use serde_json::{Value, json};
use support::deployment::{Deployment, PATIENCE, Running, fails_one};
use support::piece;

/// A camera's last words in 2020: what it captured was shed.
const OLD: [&str; 2] = [
    r#"{"id":{"camera":"old","epoch":1,"sequence":0},"generation":0,"body":{"kind":"marker","marker":"shed","span":{"first_frame":0,"frames":10,"start":1600000000000000,"end":1600000001000000,"clock":"unix"},"reason":"spool_full"}}"#,
    r#"{"id":{"camera":"old","epoch":1,"sequence":1},"generation":0,"body":{"kind":"marker","marker":"end_of_epoch","frames":10,"at":1600000001000000,"reason":"stopped"}}"#,
];

/// The events role, and who asks it.
struct Api {
    port: u16,
    _role: Running,
}

impl Api {
    async fn begin(many: &Deployment, dir: &Path) -> Self {
        for token in ["look", "rule"] {
            std::fs::write(dir.join(token), token).unwrap();
        }
        let [look, rule] = ["look", "rule"].map(|token| dir.join(token).display().to_string());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let tokens = ["--token-file", &look, "--admin-token-file", &rule];
        let api = Self { port, _role: many.role_at("events", &listen, &tokens, dir) };
        let begun = Instant::now();
        while api.ask("GET", "/readyz", "look", None).0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "the events role does not get ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        api
    }

    /// Status and body of an answer; status 0 where there is none.
    fn ask(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "-X", method, "-H"]).arg(format!("authorization: Bearer {token}"));
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        let output = curl.arg(format!("http://127.0.0.1:{}{path}", self.port)).output().expect("curl is needed");
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_put_runs_and_a_segment_that_failed_is_replayed_through_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let footage = piece(dir.path(), 0.0, 4.0);
    let many = Deployment::new(dir.path()).await;
    let _balancer = many.role("balancer", &["--interval-ms", "200"], dir.path());
    let _dispatcher = many.role("dispatcher", &["--name", "one"], dir.path());
    let api = Api::begin(&many, dir.path()).await;
    let camera = json!({ "url": footage.display().to_string() });
    let put = |token: &str| api.ask("PUT", "/v1/admin/cameras/gate", token, Some(camera.clone())).0;
    assert_eq!((put("wrong"), put("look"), put("rule")), (401, 403, 201));

    let queues = RabbitMq::connect(many.rabbitmq.clone()).await.unwrap();
    let failed = fails_one(&queues).await;
    let _merge = many.role("merge", &[], dir.path());
    let _detect = many.role("detect", &["--workers", "1"], dir.path());
    let closes = |ledger: &Value| ledger["closes"] == true && ledger["captured"].as_u64() > Some(0);
    let ledger = many.ledger_when("gate", closes).await;
    assert_eq!(ledger["failed"], json!({ "dead_lettered": failed.span.frames }));

    let (status, listed) = api.ask("GET", "/v1/quarantine", "look", None);
    assert_eq!((status, &listed["segments"][0]["segment"]), (200, &json!(failed.id.to_string())), "{listed}");
    let replay = |token: &str| api.ask("POST", &format!("/v1/quarantine/{}/replay", failed.id), token, None).0;
    assert_eq!((replay("look"), replay("rule")), (403, 202));
    many.ledger_when("gate", |ledger| closes(ledger) && ledger["failed"] == json!({})).await;
    assert_eq!(api.ask("GET", "/v1/quarantine", "look", None).1["segments"], json!([]));
    assert_eq!(replay("rule"), 404);

    // What a file shows has no age: only all of it can be pruned, by name. The numbers stay.
    let before = many.reads("ledger");
    let prune = |arguments: &[&str]| many.does(&[&["prune", "--json"], arguments].concat());
    let report = |arguments: &[&str]| serde_json::from_str::<Value>(&prune(arguments)).unwrap();
    assert_eq!(report(&["--older-than", "1h"])["ageless"], json!(["gate"]));
    let told = report(&["--all", "--camera", "gate", "--dry-run"])["rows"].clone();
    assert!(told["outcomes"].as_u64() > Some(0), "{told}");
    assert_eq!(report(&["--all", "--camera", "gate"])["rows"], told);
    assert_eq!(report(&["--all", "--camera", "gate"])["rows"]["outcomes"], 0);
    assert_eq!(many.reads("ledger"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_that_leads_prunes_what_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let many = Deployment::new(dir.path()).await;
    let bucket = S3Bucket::new(&many.s3).await.unwrap();
    let key = ObjectKey::parse("log/aa/aa.json").unwrap();
    bucket.put(&key, Bytes::from(OLD.join("\n"))).await.unwrap();
    assert!(many.does(&["reindex"]).contains("2 outcomes of 1 cameras"));
    let before = many.reads("ledger");
    assert!(before.contains("\"closes\":true") && before.contains("\"captured\":10"), "{before}");

    let store = Postgres::open(&many.postgres).await.unwrap().store();
    assert!(store.floors().await.unwrap().is_empty());
    let _balancer = many.role("balancer", &["--interval-ms", "200", "--prune-after-days", "30"], dir.path());
    let begun = Instant::now();
    while store.floors().await.unwrap().is_empty() {
        let said = || std::fs::read_to_string(dir.path().join("balancer.log"));
        assert!(begun.elapsed() < PATIENCE, "nobody prunes: {:?}", said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let left: Value =
        serde_json::from_str(&many.does(&["prune", "--all", "--camera", "old", "--dry-run", "--json"])).unwrap();
    assert_eq!(left["rows"]["outcomes"], 0, "{left}");
    assert_eq!(many.reads("ledger"), before);
}
