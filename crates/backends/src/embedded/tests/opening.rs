//! Opening: locks, versions, damage, reading beside a writer.

use std::fs;
use std::os::unix::fs::symlink;

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{EventChange, ObjectKey};
use futures::{StreamExt as _, TryStreamExt as _};

use super::*;
use crate::conformance::samples::{at, camera, changing, event, result};
use crate::queue::{Message, QueueError};
use crate::store::{Feed, FeedPosition};

async fn opened(dir: &DataDir) {
    let gate = camera("gate");
    let mut merge = dir.open().store().begin_merge(std::slice::from_ref(&gate)).await.unwrap();
    merge.put(&result(&gate, at(1, 0))).await.unwrap();
    let told = vec![EventChange::Opened(event(&gate, at(1, 0)))];
    merge.update(changing(&gate, at(1, 0), told), true).await.unwrap();
    merge.commit().await.unwrap();
}

#[tokio::test]
async fn a_directory_in_use_is_refused_with_its_holder() {
    let mut dir = DataDir::fresh().await;
    let Err(StoreError::InUse(holder)) = Embedded::open(dir.path(), OPTIONS).await else { panic!("it opened") };
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    // Whatever still works on it holds it.
    let queues = dir.open().queues();
    dir.open = None;
    assert!(matches!(Embedded::open(dir.path(), OPTIONS).await, Err(StoreError::InUse(_))));
    drop(queues);
    reopen(dir.path()).await.close().await;
    reopen(dir.path()).await;
}

#[tokio::test]
async fn closing_leaves_one_whole_file_and_ends_consumers() {
    let mut dir = DataDir::fresh().await;
    opened(&dir).await;
    let queues = dir.open().queues();
    let consumer = queues.consume(&[Queue::Work(Work::Detect, 0)], 1).await.unwrap();
    let waiting = tokio::spawn(async move { consumer.receive().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    dir.open.take().unwrap().close().await;
    assert!(matches!(waiting.await.unwrap(), Err(QueueError::Closed)));
    let late = queues.publish(Queue::Work(Work::Detect, 0), vec![Message::default()]).await;
    assert!(matches!(late, Err(QueueError::Unavailable { .. })));
    assert!(!dir.path().join("detektor.db-wal").exists());
    // And whoever only reads can open what was closed.
    let reader = Embedded::open_read_only(dir.path()).await.unwrap();
    assert_eq!(reader.store().cameras().await.unwrap().len(), 1);
    drop(reader);
    reopen(dir.path()).await;
}

#[tokio::test]
async fn a_reader_sees_what_a_writer_commits() {
    let dir = DataDir::fresh().await;
    let reader = Embedded::open_read_only(dir.path()).await.unwrap();
    let store = reader.store();
    assert!(store.cameras().await.unwrap().is_empty());
    let head = store.feed_head().await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.feed_changed().await }
    });
    opened(&dir).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(store.cameras().await.unwrap().len(), 1);
    assert!(matches!(store.feed(head, 9).await.unwrap(), Feed::Entries(entries) if entries.len() == 1));
    assert!(store.register_camera(&camera("x"), "file:x").await.is_err());
    assert!(store.begin_merge(&[camera("x")]).await.is_err());
    let key = ObjectKey::parse("a/b").unwrap();
    dir.open().bucket().put(&key, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(reader.bucket().get(&key).await.unwrap(), "x");
}

#[tokio::test]
async fn a_reader_opens_what_a_crash_left() {
    let dir = DataDir::fresh().await;
    opened(&dir).await;
    // A copy taken now is what a crash would leave: the log is not in the file yet.
    let left = tempfile::tempdir().unwrap();
    for name in ["detektor.db", "detektor.db-wal"] {
        fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    fs::create_dir(left.path().join("bucket")).unwrap();
    let reader = Embedded::open_read_only(left.path()).await.unwrap();
    assert_eq!(reader.store().cameras().await.unwrap().len(), 1);
    let whole = Embedded::open(left.path(), OPTIONS).await.unwrap();
    assert_eq!(whole.store().outcomes(&camera("gate"), at(0, 0), 9).await.unwrap().len(), 1);
    assert_eq!(reader.store().feed_head().await.unwrap(), whole.store().feed_head().await.unwrap());
}

#[tokio::test]
async fn what_is_no_data_directory_is_not_made_by_reading() {
    let empty = tempfile::tempdir().unwrap();
    let Err(error) = Embedded::open_read_only(empty.path()).await else { panic!("it opened") };
    assert!(error.to_string().contains("is no data directory"), "{error}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    let file = empty.path().join("file");
    fs::write(&file, "x").unwrap();
    let Err(error) = Embedded::open(&file.join("data"), OPTIONS).await else { panic!("it opened") };
    assert!(error.to_string().contains("file"), "{error}");
}

#[tokio::test]
async fn a_probe_says_what_opening_would_and_leaves_nothing() {
    let mut dir = DataDir::fresh().await;
    assert!(matches!(Embedded::probe(dir.path()).await, Err(StoreError::InUse(_))));
    dir.open.take().unwrap().close().await;
    Embedded::probe(dir.path()).await.unwrap();
    reopen(dir.path()).await.close().await;

    let empty = tempfile::tempdir().unwrap();
    for place in [empty.path(), &empty.path().join("a/b")] {
        Embedded::probe(place).await.unwrap();
        assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    }
    let file = empty.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Embedded::probe(&file.join("data")).await.unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 1);
}

async fn refused(dir: &Path) -> StoreError {
    for _ in 0..500 {
        match Embedded::open(dir, OPTIONS).await {
            Err(StoreError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => return error,
            Ok(_) => panic!("it opened"),
        }
    }
    panic!("somebody still has {}", dir.display());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let mut dir = DataDir::fresh().await;
    let mut writing = dir.open().db.write().await.unwrap();
    sqlx::query("UPDATE schema_version SET version = 99").execute(writing.db()).await.unwrap();
    writing.commit("testing").await.unwrap();
    let reader = Embedded::open_read_only(dir.path()).await;
    assert!(matches!(reader, Err(StoreError::TooNew { found: 99, known: 2 })));
    dir.open.take().unwrap().close().await;
    assert!(matches!(refused(dir.path()).await, StoreError::TooNew { found: 99, known: 2 }));
}

#[tokio::test]
async fn noise_truncation_and_foreign_files_are_corrupt() {
    let mut dir = DataDir::fresh().await;
    opened(&dir).await;
    dir.open.take().unwrap().close().await;
    let file = dir.path().join("detektor.db");
    let whole = fs::read(&file).unwrap();
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let beheaded = [&noise[..100], &whole[100..]].concat();
    let gutted = [&whole[..4096], &noise[..4096]].concat();
    for (name, bytes) in [("noise", &noise[..]), ("beheaded", &beheaded), ("gutted", &gutted), ("cut", &whole[..5_000])]
    {
        fs::write(&file, bytes).unwrap();
        let error = refused(dir.path()).await;
        assert!(matches!(error, StoreError::Corrupt(_)), "{name}: {error:?}");
        let error = Embedded::open_read_only(dir.path()).await.err();
        assert!(matches!(error, Some(StoreError::Corrupt(_))), "{name}: {error:?}");
    }
    fs::remove_file(&file).unwrap();
    let foreign = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true),
    )
    .await
    .unwrap();
    sqlx::raw_sql("CREATE TABLE cooking (recipe TEXT)").execute(&foreign).await.unwrap();
    foreign.close().await;
    assert!(matches!(refused(dir.path()).await, StoreError::Corrupt(why) if why.contains("something else")));
    // An empty file is a fresh one.
    fs::write(&file, "").unwrap();
    reopen(dir.path()).await;
}

#[tokio::test]
async fn a_damaged_document_is_corrupt_and_no_panic() {
    let dir = DataDir::fresh().await;
    opened(&dir).await;
    let store = dir.open().store();
    let mut writing = dir.open().db.write().await.unwrap();
    for statement in ["UPDATE outcomes SET body = '{'", "UPDATE events SET body = ''", "UPDATE feed SET change = '[]'"]
    {
        sqlx::query(statement).execute(writing.db()).await.unwrap();
    }
    sqlx::query("UPDATE cameras SET ledger = '7', id = '../x'").execute(writing.db()).await.unwrap();
    writing.commit("testing").await.unwrap();
    let corrupt = |error: Option<StoreError>| assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?}");
    corrupt(store.outcomes(&camera("gate"), at(0, 0), 9).await.err());
    corrupt(store.event(&event(&camera("gate"), at(1, 0)).id).await.err());
    corrupt(store.cameras().await.err());
    let head = store.feed_head().await.unwrap();
    corrupt(store.feed(FeedPosition { position: 0, ..head }, 9).await.err());
    let mut merge = store.begin_merge(&[camera("gate")]).await.unwrap();
    let mut other = result(&camera("gate"), at(1, 0));
    other.generation = 1;
    corrupt(merge.put(&other).await.err());
}

#[tokio::test]
async fn what_a_crash_left_unfinished_is_cleared_away_and_never_listed() {
    let mut dir = DataDir::fresh().await;
    let unfinished = dir.path().join("bucket/~unfinished/0");
    fs::write(&unfinished, "half").unwrap();
    let key = ObjectKey::parse("video/a.mp4").unwrap();
    dir.open().bucket().put(&key, Bytes::from_static(b"x")).await.unwrap();
    fs::write(&unfinished, "half").unwrap();
    let listed: Vec<_> = dir.open().bucket().list("").try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(), ["video/a.mp4"]);
    dir.crash().await;
    assert!(!unfinished.exists());
    assert_eq!(dir.open().bucket().get(&key).await.unwrap(), "x");
}

#[tokio::test]
async fn links_out_of_the_bucket_are_not_followed() {
    let dir = DataDir::fresh().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let bucket = dir.open().bucket();
    symlink(outside.path(), dir.path().join("bucket/way")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("bucket/file")).unwrap();
    for key in ["way/secret", "way/new", "file"] {
        let key = ObjectKey::parse(key).unwrap();
        let errors =
            [bucket.get(&key).await.err(), bucket.put(&key, Bytes::new()).await.err(), bucket.delete(&key).await.err()];
        for error in errors {
            assert!(error.is_some_and(|error| error.to_string().contains("symbolic link")), "{key}");
        }
    }
    let all: Vec<_> = bucket.list("").try_collect().await.unwrap();
    assert!(all.is_empty(), "{all:?}");
    assert!(matches!(bucket.list("way/").next().await, Some(Err(_))));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_disk_that_is_full_is_named() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(folder::reason(&full), "no space left on the disk");
    // A file where a directory ought to be stands for every other refusal: the path is named.
    let dir = DataDir::fresh().await;
    fs::write(dir.path().join("bucket/video"), "").unwrap();
    let key = ObjectKey::parse("video/a").unwrap();
    let error = dir.open().bucket().put(&key, Bytes::new()).await.unwrap_err().to_string();
    assert!(error.contains("bucket/video/a"), "{error}");
}

#[tokio::test]
async fn a_full_database_is_unavailable_and_recovers() {
    let dir = DataDir::fresh().await;
    let queues = dir.open().queues();
    let queue = Queue::Work(Work::Detect, 0);
    let mut writing = dir.open().db.write().await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(writing.db()).await.unwrap();
    // A limit on the file stands for one on the disk.
    sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 20)))
        .fetch_one(writing.db())
        .await
        .unwrap();
    writing.commit("testing").await.unwrap();
    let message = || vec![Message { body: Bytes::from(vec![1; 1 << 20]), ..Message::default() }];
    let error = queues.publish(queue, message()).await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable { .. }));
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("no space left"), "{source}");
    assert_eq!(queues.depth(queue).await.unwrap().ready, 0);
    let mut writing = dir.open().db.write().await.unwrap();
    sqlx::query_scalar::<_, i64>("PRAGMA max_page_count = 1000000").fetch_one(writing.db()).await.unwrap();
    writing.commit("testing").await.unwrap();
    queues.publish(queue, message()).await.unwrap();
    assert_eq!(queues.depth(queue).await.unwrap().ready, 1);
}
