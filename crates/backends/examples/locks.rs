//! Leases and merge locks on a real PostgreSQL under many workers: `locks [WORKERS] [OPERATIONS]`, operations a worker.
//!
//! Each operation takes a lease and gives it back, or locks a few cameras' rows as merge does. Some workers are killed in the
//! middle of it, and every worker's clock jumps. Prints one JSON object: `race_conditions` counts epochs that were given twice
//! or out of order and takers that both saw a lease free and got it; `deadlocks` counts transactions that the database broke
//! off, or that waited for more than ten seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use detektor_backends::coordination::{Coordination, LeaseName, Member, Take};
use detektor_backends::postgres::{Postgres, PostgresOptions};
use detektor_backends::servers::PostgresServer;
use detektor_backends::store::EventStore;
use detektor_contract::{CameraId, Epoch};

const LEASES: usize = 8;
const CAMERAS: usize = 16;
/// Longer than any of these transactions takes when nobody is in a deadlock.
const STUCK: Duration = Duration::from_secs(10);
/// Connections of all workers together.
const CONNECTIONS: u32 = 40;

/// A take that succeeded: when it was asked for and answered, what it had seen, and the epoch it got.
struct Taken {
    asked: Instant,
    answered: Instant,
    seen: Option<Epoch>,
    epoch: Epoch,
}

#[derive(Default)]
struct Counters {
    taken: std::sync::Mutex<BTreeMap<LeaseName, Vec<Taken>>>,
    kills: AtomicU64,
    merges: AtomicU64,
    deadlocks: AtomicU64,
    refused: AtomicU64,
}

fn camera(number: usize) -> CameraId {
    CameraId::new(format!("cam-{number}")).unwrap()
}

/// One operation; may be dropped at any point, as a killed process would.
async fn operate(store: &dyn EventStore, leases: &dyn Coordination, me: &Member, counters: &Counters) {
    if fastrand::u8(..4) == 0 {
        let cameras: Vec<CameraId> = (0..fastrand::usize(1..5)).map(|_| camera(fastrand::usize(..CAMERAS))).collect();
        let begun = Instant::now();
        let merged = match store.begin_merge(&cameras).await {
            Ok(transaction) => {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..3))).await;
                transaction.commit().await
            }
            Err(error) => Err(error),
        };
        counters.merges.fetch_add(1, Ordering::Relaxed);
        if merged.is_err() || begun.elapsed() > STUCK {
            counters.deadlocks.fetch_add(1, Ordering::Relaxed);
            eprintln!("locks: {merged:?} after {:?}", begun.elapsed());
        }
        return;
    }
    let name = LeaseName::Camera(camera(fastrand::usize(..LEASES)));
    let seen = leases.lease(&name).await.unwrap().map(|lease| lease.epoch);
    // Clocks that jump by up to a day, back and forth.
    let now_ms = 1_800_000_000_000 + fastrand::u64(..172_800_000) - 86_400_000;
    let take = Take { name: name.clone(), seen, holder: me.clone(), now_ms, live: true, seam: None };
    let asked = Instant::now();
    match leases.take(&take).await.unwrap() {
        Some(epoch) => {
            let taken = Taken { asked, answered: Instant::now(), seen, epoch };
            counters.taken.lock().unwrap().entry(name.clone()).or_default().push(taken);
            leases.give_back(&name, epoch).await.unwrap();
        }
        None => _ = counters.refused.fetch_add(1, Ordering::Relaxed),
    }
}

/// What cannot be if every epoch has one holder and the next is above it.
fn races(taken: &[Taken]) -> u64 {
    let mut races = 0;
    for (at, one) in taken.iter().enumerate() {
        for other in &taken[at + 1..] {
            let twice = one.epoch == other.epoch || one.seen == other.seen;
            let backwards = (one.answered < other.asked && one.epoch >= other.epoch)
                || (other.answered < one.asked && other.epoch >= one.epoch);
            races += u64::from(twice || backwards);
        }
    }
    races
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let workers = arguments.next().unwrap_or(50);
    let operations = arguments.next().unwrap_or(1_000);
    let server = PostgresServer::shared().await;
    let options = PostgresOptions { connections: CONNECTIONS, ..server.database().await };
    Postgres::migrate(&options).await.unwrap();
    let database = Postgres::open(&options).await.unwrap();
    let (store, leases, counters) = (database.store(), database.coordination(), Arc::new(Counters::default()));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let (store, leases, counters) = (Arc::clone(&store), Arc::clone(&leases), Arc::clone(&counters));
        tasks.spawn(async move {
            for operation in 0..operations {
                let me = Member { name: format!("worker-{worker}"), incarnation: operation };
                let work = operate(&*store, &*leases, &me, &counters);
                if fastrand::u8(..50) == 0 {
                    counters.kills.fetch_add(1, Ordering::Relaxed);
                    let moment = Duration::from_micros(fastrand::u64(..5_000));
                    let _ = tokio::time::timeout(moment, work).await;
                } else {
                    work.await;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let taken = counters.taken.lock().unwrap();
    let races: u64 = taken.values().map(|taken| races(taken)).sum();
    let takes: usize = taken.values().map(Vec::len).sum();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let deadlocks = count(&counters.deadlocks);
    let report = serde_json::json!({
        "workers": workers,
        "operations": workers * operations,
        "takes": takes,
        "refused": count(&counters.refused),
        "merges": count(&counters.merges),
        "kills": count(&counters.kills),
        "race_conditions": races,
        "deadlocks": deadlocks,
        "wall_s": (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    });
    println!("{report}");
    assert!(takes > 0, "nobody took anything, so this shows nothing");
    std::process::exit(i32::from(races + deadlocks > 0));
}
