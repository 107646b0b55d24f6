//! A process that works on a data directory is killed at random moments. Afterwards everything that it was told is
//! done is there, and nothing is torn.
//!
//! The process is this test binary again: it runs [`victim`] alone, which works for as long as it may live if it is told a
//! directory, and ends at once otherwise.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{EventChange, ObjectKey};
use futures::TryStreamExt as _;

use super::*;
use crate::conformance::samples::{at, camera, changing, event, result};
use crate::queue::{Message, QueueError, Settle};
use crate::store::{EventFilter, Feed, FeedPosition, Order};

const DIRECTORY: &str = "DETEKTOR_TEST_VICTIM";
const QUEUE: Queue = Queue::Work(Work::Detect, 0);
const ROUNDS: u64 = 12;

fn body(n: u64) -> Bytes {
    // Some are larger than a page, some much larger.
    Bytes::from(format!("{n} ").repeat(1 + (n as usize * 7_919) % 9_000))
}

/// Says on standard output what is confirmed: `published N`, `acked N`, `merged N`, `put N`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let open = reopen(Path::new(&dir)).await;
    let next =
        |name: &str| std::fs::read_to_string(Path::new(&dir).join(name)).map_or(0, |n| n.trim().parse().unwrap());
    tokio::join!(
        publish(&open, next("published")),
        consume(&open),
        merge(&open, next("merged")),
        put(&open, next("put"))
    );
}

async fn publish(open: &Embedded, from: u64) {
    let queues = open.queues();
    for n in from.. {
        queues.publish(QUEUE, vec![Message { body: body(n), ..Message::default() }]).await.unwrap();
        println!("published {n}");
    }
}

async fn consume(open: &Embedded) {
    let consumer = open.queues().consume(&[QUEUE], 4).await.unwrap();
    loop {
        let delivery = consumer.receive().await.unwrap();
        let n = number(&delivery.message.body);
        assert_eq!(delivery.message.body, body(n), "torn");
        // Every fifth stays unanswered.
        if n.is_multiple_of(5) {
            match consumer.settle(delivery.tag, Settle::Requeue).await {
                Ok(()) | Err(QueueError::NotHeld(_)) => continue,
                Err(error) => panic!("{error}"),
            }
        }
        consumer.settle(delivery.tag, Settle::Ack).await.unwrap();
        println!("acked {n}");
    }
}

async fn merge(open: &Embedded, from: u64) {
    let (store, gate) = (open.store(), camera("gate"));
    for n in from.. {
        let mut merge = store.begin_merge(std::slice::from_ref(&gate)).await.unwrap();
        merge.put(&result(&gate, at(1, n))).await.unwrap();
        let opened = EventChange::Opened(event(&gate, at(1, n)));
        merge.update(changing(&gate, at(1, n), vec![opened]), true).await.unwrap();
        merge.commit().await.unwrap();
        println!("merged {n}");
    }
}

async fn put(open: &Embedded, from: u64) {
    let bucket = open.bucket();
    for n in from.. {
        bucket.put(&object(n), body(n)).await.unwrap();
        println!("put {n}");
    }
}

fn object(n: u64) -> ObjectKey {
    ObjectKey::parse(&format!("log/{}/{n}", n % 7)).unwrap()
}

fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(body).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// What the victims said until now.
#[derive(Default)]
struct Said {
    published: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    merged: u64,
    put: u64,
}

impl Said {
    /// Takes note of what a victim said. The test harness writes lines of its own.
    fn note(&mut self, lines: &[String]) {
        let said = lines.iter().filter_map(|line| line.split_once(' '));
        for (what, n) in said.filter_map(|(what, n)| Some((what, n.parse::<u64>().ok()?))) {
            match what {
                "published" => _ = self.published.insert(n),
                "acked" => _ = self.acked.insert(n),
                "merged" => self.merged = n + 1,
                "put" => self.put = n + 1,
                _ => {}
            }
        }
    }
}

#[test]
fn what_was_confirmed_survives_being_killed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut said = Said::default();
    let mut first = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::crash::victim", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listener = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        // Times between a start that is not over and a few hundred operations.
        std::thread::sleep(Duration::from_millis(20 + (round * 7_907) % 360));
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        said.note(&listener.join().unwrap());
        runtime.block_on(check(dir.path(), &said));
        // One message may be there that nobody spoke of; no later one has its number.
        first = said.published.last().map_or(first + 1, |last| (last + 2).max(first + 1));
        for (name, next) in [("published", first), ("merged", said.merged), ("put", said.put)] {
            std::fs::write(dir.path().join(name), next.to_string()).unwrap();
        }
    }
    assert!(
        said.published.len() > 20 && said.acked.len() > 5 && said.merged > 20 && said.put > 20,
        "too little happened"
    );
}

async fn check(dir: &Path, said: &Said) {
    let open = reopen(dir).await;
    messages_are_there(&open, said).await;
    merges_are_there(&open, said).await;
    objects_are_there(&open, said).await;
    open.close().await;
}

async fn messages_are_there(open: &Embedded, said: &Said) {
    // Read without taking: what is delivered here would count as an attempt.
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT body FROM messages JOIN bodies USING (id)").fetch_all(open.db.reader()).await.unwrap();
    let there: BTreeSet<u64> = rows
        .iter()
        .map(|(bytes,)| {
            let n = number(bytes);
            assert_eq!(bytes[..], body(n)[..], "torn");
            n
        })
        .collect();
    for n in &said.published {
        // The victim acks before it says so, so a message may be gone that nobody spoke of; but only one of those that it
        // acks at all.
        assert!(there.contains(n) || said.acked.contains(n) || n % 5 != 0, "message {n} is lost");
    }
    let gone = said.published.iter().filter(|n| !there.contains(n) && !said.acked.contains(n)).count() as u64;
    assert!(gone <= ROUNDS, "{gone} messages are gone, and at most one a round was on its way");
    assert!(said.acked.iter().all(|n| !there.contains(n)), "an acked message is back");
}

async fn merges_are_there(open: &Embedded, said: &Said) {
    let (store, gate) = (open.store(), camera("gate"));
    let Some(frontier) = store.frontier(&gate).await.unwrap() else {
        assert_eq!(said.merged, 0);
        return;
    };
    let merged = frontier.sequence + 1;
    assert!(merged >= said.merged && merged <= said.merged + 1, "{merged} and {} are told", said.merged);
    assert_eq!(store.outcomes(&gate, at(0, 0), u32::MAX).await.unwrap().len() as u64, merged);
    let events = store.events(&EventFilter::default(), Order::Ascending, None, u32::MAX).await.unwrap();
    assert_eq!(events.len() as u64, merged);
    let head = store.feed_head().await.unwrap();
    let Feed::Entries(told) = store.feed(FeedPosition { position: 0, ..head }, u32::MAX).await.unwrap() else {
        panic!("reset")
    };
    assert_eq!((told.len() as u64, head.position), (merged, merged));
}

async fn objects_are_there(open: &Embedded, said: &Said) {
    let bucket = open.bucket();
    for n in 0..said.put {
        assert_eq!(bucket.get(&object(n)).await.unwrap(), body(n), "torn");
    }
    let listed: Vec<_> = bucket.list("").try_collect().await.unwrap();
    assert!(listed.len() as u64 <= said.put + 1, "leftovers are listed");
}
