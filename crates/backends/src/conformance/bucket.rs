//! What every bucket does.
#![allow(missing_docs)] // Each case's name says what holds.

use std::sync::Arc;

use bytes::Bytes;
use detektor_contract::ObjectKey;
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Bench, soon};
use crate::bucket::{Bucket, BucketError, Listed};

/// Makes a test of every case of the bucket suite. The argument is a future of a fresh [`Bench<dyn Bucket>`](Bench).
#[macro_export]
macro_rules! bucket_conformance {
    ($bench:expr) => {
        $crate::conformance_cases!(
            bucket,
            $bench,
            [
                an_object_reads_back_as_written,
                writing_again_replaces,
                a_range_is_cut_at_the_end,
                what_is_not_there_is_not_found,
                deleting_is_idempotent,
                a_listing_is_in_key_order,
                a_prefix_is_whole_parts,
                a_listing_may_be_long_and_may_be_left,
                objects_survive_a_crash,
                readers_see_all_of_one_or_the_other,
            ]
        );
    };
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::parse(key).unwrap()
}

async fn list(bucket: &Arc<dyn Bucket>, prefix: &str) -> Vec<(String, u64)> {
    let listed: Vec<Listed> = soon(bucket.list(prefix).try_collect()).await.unwrap();
    listed.into_iter().map(|listed| (listed.key.to_string(), listed.bytes)).collect()
}

pub async fn an_object_reads_back_as_written(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    let large = Bytes::from(vec![7; 5 << 20]);
    for (name, body) in [("video/gate/1/2.mp4", Bytes::from_static(b"abc")), ("empty", Bytes::new()), ("l", large)] {
        bucket.put(&key(name), body.clone()).await.unwrap();
        assert!(bucket.get(&key(name)).await.unwrap() == body, "{name}");
    }
}

pub async fn writing_again_replaces(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    for body in ["one", "a longer two", "3", "3"] {
        bucket.put(&key("a/b.json"), Bytes::from(body)).await.unwrap();
        assert_eq!(bucket.get(&key("a/b.json")).await.unwrap(), body);
    }
    assert_eq!(list(&bucket, "").await, [("a/b.json".to_owned(), 1)]);
}

pub async fn a_range_is_cut_at_the_end(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    bucket.put(&key("a"), Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(bucket.get_range(&key("a"), 0, 4).await.unwrap(), "0123");
    assert_eq!(bucket.get_range(&key("a"), 7, 2).await.unwrap(), "78");
    assert_eq!(bucket.get_range(&key("a"), 7, u64::MAX).await.unwrap(), "789");
    for start in [10, 11, u64::MAX] {
        let outside = bucket.get_range(&key("a"), start, 1).await;
        assert!(matches!(outside, Err(BucketError::Range { bytes: 10, start: s, .. }) if s == start), "{outside:?}");
    }
}

pub async fn what_is_not_there_is_not_found(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    bucket.put(&key("a/b"), Bytes::from_static(b"x")).await.unwrap();
    // Neither a part of another key nor something below one.
    for missing in ["x", "a", "a/c", "a/b/c"] {
        assert!(matches!(bucket.get(&key(missing)).await, Err(BucketError::NotFound(k)) if k == key(missing)));
        let range = bucket.get_range(&key(missing), 0, 1).await;
        assert!(matches!(range, Err(BucketError::NotFound(_))), "{missing}");
    }
}

pub async fn deleting_is_idempotent(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    bucket.put(&key("a/b"), Bytes::from_static(b"x")).await.unwrap();
    bucket.put(&key("a/c"), Bytes::from_static(b"x")).await.unwrap();
    for gone in ["a/b", "a/b", "never", "a", "a/c/d"] {
        bucket.delete(&key(gone)).await.unwrap();
    }
    assert!(matches!(bucket.get(&key("a/b")).await, Err(BucketError::NotFound(_))));
    assert_eq!(list(&bucket, "").await, [("a/c".to_owned(), 1)]);
    bucket.put(&key("a/b"), Bytes::from_static(b"again")).await.unwrap();
    assert_eq!(bucket.get(&key("a/b")).await.unwrap(), "again");
}

pub async fn a_listing_is_in_key_order(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    // '-' and '.' sort before '/', digits and letters behind it.
    let mut keys = ["a/z", "a-b/1", "a.b/1", "a0/1", "aa", "a/b/c", "a/b.json", "a/b-c", "Z", "0/1", "a_/1", "b"];
    for name in keys {
        bucket.put(&key(name), Bytes::from(name.to_owned())).await.unwrap();
    }
    keys.sort_unstable();
    let expected: Vec<_> = keys.iter().map(|k| ((*k).to_owned(), k.len() as u64)).collect();
    assert_eq!(list(&bucket, "").await, expected);
}

pub async fn a_prefix_is_whole_parts(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    for name in ["log/aa/1", "log/ab/1", "log/aa/2", "logs/1", "l"] {
        bucket.put(&key(name), Bytes::new()).await.unwrap();
    }
    let names = |listed: Vec<(String, u64)>| listed.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(list(&bucket, "log/").await), ["log/aa/1", "log/aa/2", "log/ab/1"]);
    assert_eq!(names(list(&bucket, "log/aa/").await), ["log/aa/1", "log/aa/2"]);
    assert!(list(&bucket, "nothing/").await.is_empty());
    for outside in ["../", "log", "/", "log//", "log/../"] {
        let first = bucket.list(outside).next().await;
        assert!(matches!(first, Some(Err(_))), "{outside}: {first:?}");
    }
}

pub async fn a_listing_may_be_long_and_may_be_left(bench: &mut impl Bench<dyn Bucket>) {
    const OBJECTS: usize = 1_100;
    let bucket = bench.backend();
    let keys: Vec<ObjectKey> = (0..OBJECTS).map(|n| key(&format!("log/{:02}/{n:06}", n % 3))).collect();
    let writes = keys.iter().map(|key| bucket.put(key, Bytes::new()));
    futures::stream::iter(writes).buffer_unordered(16).try_collect::<Vec<()>>().await.unwrap();
    let listed = list(&bucket, "log/").await;
    assert_eq!(listed.len(), OBJECTS);
    assert!(listed.is_sorted());
    let few: Vec<Listed> = bucket.list("log/").take(3).try_collect().await.unwrap();
    assert_eq!(few.len(), 3);
}

pub async fn objects_survive_a_crash(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    bucket.put(&key("a/b/c"), Bytes::from_static(b"x")).await.unwrap();
    drop(bucket);
    bench.crash().await;
    let bucket = bench.backend();
    assert_eq!(bucket.get(&key("a/b/c")).await.unwrap(), "x");
    assert_eq!(list(&bucket, "").await, [("a/b/c".to_owned(), 1)]);
}

pub async fn readers_see_all_of_one_or_the_other(bench: &mut impl Bench<dyn Bucket>) {
    let bucket = bench.backend();
    let bodies = [Bytes::from(vec![b'a'; 300_000]), Bytes::from(vec![b'b'; 200_000])];
    bucket.put(&key("o"), bodies[0].clone()).await.unwrap();
    let writing = {
        let (bucket, bodies) = (Arc::clone(&bucket), bodies.clone());
        tokio::spawn(async move {
            for n in 0..40 {
                bucket.put(&key("o"), bodies[n % 2].clone()).await.unwrap();
            }
        })
    };
    while !writing.is_finished() {
        let body = bucket.get(&key("o")).await.unwrap();
        assert!(bodies.contains(&body), "{} bytes", body.len());
    }
    writing.await.unwrap();
}
