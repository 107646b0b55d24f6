//! What only a database does on which many write at once.

use detektor_contract::fold::{CameraFold, Seams};
use detektor_contract::{Clock, EventChange, Gap, GapCause, TimeUs};

use super::*;
use crate::conformance::samples::{at, camera, changing, event, result, update};
use crate::store::{CameraUpdate, EventFilter, Feed, FeedPosition, MergeTx, Order, StoredFloor};

async fn begun(base: &Base, name: &str) -> Box<dyn MergeTx> {
    let camera = camera(name);
    let mut merge = base.open().store().begin_merge(std::slice::from_ref(&camera)).await.unwrap();
    let opened = vec![EventChange::Opened(event(&camera, at(1, 0)))];
    merge.put(&result(&camera, at(1, 0))).await.unwrap();
    merge.update(changing(&camera, at(1, 0), opened), true).await.unwrap();
    merge
}

async fn told(base: &Base, after: &mut FeedPosition) -> Vec<String> {
    let Feed::Entries(entries) = base.open().store().feed(*after, 10).await.unwrap() else { panic!("reset") };
    *after = entries.last().map_or(*after, |entry| entry.at);
    entries.iter().map(|entry| entry.change.event().camera.to_string()).collect()
}

#[tokio::test]
async fn who_commits_later_is_told_later_and_holds_nobody_up() {
    let base = Base::fresh().await;
    let mut cursor = base.open().store().feed_head().await.unwrap();
    let slow = begun(&base, "slow").await;
    begun(&base, "fast").await.commit().await.unwrap();
    assert_eq!(told(&base, &mut cursor).await, ["fast"]);
    slow.commit().await.unwrap();
    assert_eq!(told(&base, &mut cursor).await, ["slow"]);
    assert!(told(&base, &mut cursor).await.is_empty());
}

#[tokio::test]
async fn a_failed_transaction_is_not_committed_in_silence() {
    let base = Base::fresh().await;
    let gate = camera("gate");
    let mut merge = begun(&base, "gate").await;
    let (from, until) = (TimeUs(0), None);
    let gap = (at(1, 0), Gap { from, until, clock: Clock::Unix, cause: GapCause::Unattended });
    let twice = CameraUpdate { gaps: vec![gap, gap], ..update(&gate, at(1, 0)) };
    assert!(merge.update(twice, true).await.is_err());
    assert!(merge.commit().await.is_err());
    assert!(base.open().store().cameras().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cut_connection_is_passing_trouble() {
    use detektor_contract::{Fault, Faulty as _};
    let base = Base::fresh().await;
    let gate = camera("gate");
    let mut merge = begun(&base, "gate").await;
    base.cut().await;
    let error = merge.put(&result(&gate, at(1, 1))).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Transient, "{error}");
    drop(merge);
    // Each try uses up one connection that is cut.
    let mut tries = 0;
    while let Err(error) = base.open().store().ping().await {
        assert_eq!(error.fault(), Fault::Transient, "{error}");
        tries += 1;
        assert!(tries <= base.options.connections, "{error}");
    }
    begun(&base, "gate").await.commit().await.unwrap();
}

#[tokio::test]
async fn a_merge_that_is_gone_without_a_word_holds_its_cameras_for_half_a_minute_at_most() {
    use std::time::Duration;
    let base = Base::fresh().await;
    let port = base.server.port();
    let wire = crate::servers::Wire::to(port).await;
    let url = base.options.url.replace(&format!(":{port}/"), &format!(":{}/", wire.port()));
    let far = Postgres::open(&PostgresOptions { url, ..base.options.clone() }).await.unwrap();
    let gate = camera("gate");
    begun(&base, "gate").await.commit().await.unwrap();
    let mut held = far.store().begin_merge(std::slice::from_ref(&gate)).await.unwrap();
    wire.lose();
    let next = async {
        // What waits for its locks gives up in its turn, and tries again.
        while base.open().store().begin_merge(std::slice::from_ref(&gate)).await.is_err() {}
    };
    let none = async { assert!(held.put(&result(&gate, at(1, 1))).await.is_err(), "nobody answers") };
    let both = async { tokio::join!(next, none) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("within half a minute");
    // The lost connections are found out, and new ones made.
    tokio::time::timeout(Duration::from_secs(30), async { while far.store().ping().await.is_err() {} }).await.unwrap();
}

#[tokio::test]
async fn a_reindex_waits_for_merges_and_they_for_it() {
    let base = Base::fresh().await;
    let merge = begun(&base, "gate").await;
    let store = base.open().store();
    let mut reindex = tokio::spawn(async move { store.begin_reindex().await });
    let early = tokio::time::timeout(Duration::from_millis(150), &mut reindex).await;
    assert!(early.is_err(), "it did not wait");
    merge.commit().await.unwrap();
    reindex.await.unwrap().unwrap();
    assert!(base.open().store().outcomes(&camera("gate"), at(0, 0), 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_waits_for_a_prune_but_merges_of_its_camera() {
    const WAITERS: &str = "SELECT COUNT(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE NOT l.granted AND a.datname = current_database()";
    let base = Base::fresh().await;
    let (gate, store) = (camera("gate"), base.open().store());
    let outcomes: Vec<_> = (0..50).map(|n| result(&gate, at(1, n))).collect();
    let mut fold = CameraFold::new(gate.clone());
    for outcome in &outcomes {
        fold.apply(outcome, &Seams::default().limit(outcome.id.epoch));
    }
    let mut merge = begun(&base, "gate").await;
    merge.put_all(&outcomes.iter().collect::<Vec<_>>()).await.unwrap();
    let gap = Gap { from: TimeUs(0), until: None, clock: Clock::Unix, cause: GapCause::Unattended };
    merge.update(CameraUpdate { gaps: vec![(at(1, 0), gap)], ..update(&gate, at(1, 49)) }, true).await.unwrap();
    merge.raise_floor(&gate, &StoredFloor { floor: fold.floor().unwrap(), state: fold.to_bytes() }).await.unwrap();
    merge.commit().await.unwrap();

    // A prune removes the gaps last. Somebody holds one, so that it stays in the middle of its transaction.
    let mut holder = base.open().db.write().await.unwrap();
    sqlx::query("SELECT 1 FROM gaps FOR UPDATE").execute(holder.db()).await.unwrap();
    let (pruning, of) = (base.open().store(), gate.clone());
    let prune = tokio::spawn(async move { pruning.prune(&of).await });
    let waiters = async |wanted: i64| {
        let mut db = base.open().db.read().await.unwrap();
        while sqlx::query_scalar::<_, i64>(WAITERS).fetch_one(&mut *db).await.unwrap() < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, waiters(1)).await.expect("the prune does not get so far");

    let others = async {
        // Readers see what was there before.
        assert_eq!(store.outcomes(&gate, at(0, 0), 99).await.unwrap().len(), 50);
        assert_eq!(store.events(&EventFilter::default(), Order::Ascending, None, 9).await.unwrap().len(), 1);
        assert_eq!(store.gaps(&gate, None, 9).await.unwrap().len(), 1);
        assert_eq!(store.cameras().await.unwrap().len(), 1);
        store.seams(&gate).await.unwrap();
        store.tombstones().await.unwrap();
        store.pending_objects(9).await.unwrap();
        store.floors().await.unwrap();
        store.feed(store.feed_head().await.unwrap(), 9).await.unwrap();
        store.waiting_cameras(0, 0).await.unwrap();
        // And other cameras are merged.
        begun(&base, "other").await.commit().await.unwrap();
    };
    tokio::time::timeout(soon, others).await.expect("somebody waits for the prune");
    assert!(!prune.is_finished());
    let same = tokio::spawn({
        let (store, gate) = (base.open().store(), gate.clone());
        async move { store.begin_merge(&[gate]).await.map(drop) }
    });
    tokio::time::timeout(soon, waiters(2)).await.expect("a merge of the same camera has to wait");
    holder.commit("letting go").await.unwrap();
    let pruned = prune.await.unwrap().unwrap();
    assert_eq!((pruned.outcomes, pruned.gaps), (50, 1));
    same.await.unwrap().unwrap();
    assert!(store.outcomes(&gate, at(0, 0), 99).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_that_nobody_ends_is_not_left_to_the_next_one() {
    let base = Base::fresh().await;
    let db = &base.open().db;
    for statement in ["SELECT 1", "SELECT 1/0"] {
        // As when a call is given up after the server has begun, and before the driver has heard of it.
        let mut left = db.read().await.unwrap();
        sqlx::raw_sql("BEGIN").execute(&mut *left).await.unwrap();
        let _ = sqlx::raw_sql(statement).execute(&mut *left).await;
        drop(left);
        for _ in 0..20 {
            let mut next = db.write().await.unwrap();
            let began: bool = sqlx::query_scalar("SELECT now() > clock_timestamp() - interval '1 s'")
                .fetch_one(next.db())
                .await
                .unwrap();
            assert!(began, "it goes on in the transaction before");
            next.commit("nothing").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn calls_that_are_given_up_leave_connections_that_work() {
    let base = Base::fresh().await;
    let db = &base.open().db;
    for micros in (0..3_000).step_by(10) {
        let given_up = tokio::time::timeout(std::time::Duration::from_micros(micros), async {
            let mut writing = db.write().await?;
            sqlx::query("SELECT 1").execute(writing.db()).await.map_err(|error| unavailable("testing", error))?;
            writing.commit("nothing").await
        });
        let _ = given_up.await;
        let store = base.open().store();
        store.cameras().await.unwrap();
        begun(&base, &format!("c{micros}")).await.commit().await.unwrap();
    }
}

#[tokio::test]
async fn once_something_is_pruned_older_builds_are_refused() {
    let base = Base::fresh().await;
    let works_with = async || {
        let mut db = base.open().db.read().await.unwrap();
        sqlx::query_scalar::<_, i64>("SELECT works_with FROM schema_version").fetch_one(&mut *db).await.unwrap()
    };
    assert_eq!(works_with().await, 1);
    let gate = camera("gate");
    let mut fold = CameraFold::new(gate.clone());
    fold.apply(&result(&gate, at(1, 0)), &Seams::default().limit(at(1, 0).epoch));
    let mut merge = begun(&base, "gate").await;
    merge.raise_floor(&gate, &StoredFloor { floor: fold.floor().unwrap(), state: fold.to_bytes() }).await.unwrap();
    merge.commit().await.unwrap();
    assert_eq!(works_with().await, 2);
    // A later migration does not forget it.
    base.inside("UPDATE schema_version SET version = 1").await;
    base.inside("DROP TABLE floors").await;
    base.inside("DROP INDEX event_objects_by_event").await;
    base.inside("DROP INDEX events_unlisted").await;
    base.inside("ALTER TABLE feed DROP COLUMN told_ms").await;
    Postgres::migrate(&base.options).await.unwrap();
    assert_eq!(works_with().await, 2);
}
