//! What is on the disk, and what is left of it.

use std::path::PathBuf;

use detektor_contract::Failed;
use proptest::prelude::*;

use super::super::frame::{Found, Frames};
use super::super::log::Log;
use super::*;

/// Files end after a few small records.
const LIMIT: u64 = 64 * 4_000;

/// All that a log holds, in order.
fn all(log: &mut Log) -> Vec<Record> {
    let partitions = log.holdings().partitions;
    let batches = partitions.into_iter().flat_map(|p| log.oldest(p, usize::MAX, u64::MAX).unwrap());
    batches.map(|(_, record)| record).collect()
}

fn written(records: &[Record], limit: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path().to_owned(), limit).unwrap();
    records.iter().for_each(|record| log.push(record).unwrap());
    log.sync().unwrap();
    folder
}

fn opened(folder: &Path, limit: u64) -> Log {
    Log::open(folder.to_owned(), limit).unwrap()
}

fn spool_files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "spool")).collect();
    paths.sort();
    paths
}

/// Where each frame of a file begins and ends, and its sequence number.
fn frames(path: &Path) -> Vec<(u64, u64, u64)> {
    let mut frames = Frames::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    while let Some(frame) = frames.next().unwrap() {
        let Found::Frame { at, head, bytes } = frame else { panic!("{frame:?}") };
        found.push((at, at + bytes, head.id.sequence));
    }
    found
}

fn sequences(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.id.sequence).collect()
}

/// Small and large ones, jobs and markers, quiet and not.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0_usize..1_500, any::<bool>(), 0..4_u8);
    prop::collection::vec(one, 1..30).prop_map(|all| {
        let record = |(sequence, (bytes, quiet, kind)): (u64, (usize, bool, u8))| match kind {
            0 => large(sequence, bytes),
            1 => Record { queue: Queue::Work(Work::Merge, 0), quiet, ..job(sequence, bytes) },
            _ => Record { quiet, ..job(sequence, bytes) },
        };
        (0..).zip(all).map(record).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_went_in_comes_out_in_order_and_after_a_restart_too(records in records(), gone in 0_usize..30) {
        let folder = written(&records, LIMIT);
        let mut log = opened(folder.path(), LIMIT);
        let before: Vec<_> = records.iter().map(face).collect();
        prop_assert_eq!(all(&mut log).iter().map(face).collect::<Vec<_>>(), before);
        let first = log.oldest(0, gone, u64::MAX).unwrap();
        log.forget(0, &first.iter().map(|(order, _)| *order).collect::<Vec<_>>()).unwrap();
        let left = records.len().saturating_sub(gone);
        prop_assert_eq!(log.holdings().records, left as u64);
        prop_assert_eq!(sequences(&all(&mut log)), (records.len() - left..records.len()).map(|n| n as u64).collect::<Vec<_>>());
        drop(log);
        // Nothing is lost; what is forgotten may come once more.
        let again = sequences(&all(&mut opened(folder.path(), LIMIT)));
        prop_assert!(again.ends_with(&(records.len() - left..records.len()).map(|n| n as u64).collect::<Vec<_>>()));
        if left == 0 {
            prop_assert_eq!(spool_files(folder.path()), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn a_file_cut_anywhere_keeps_what_is_before_and_costs_no_other(
        records in records(), which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
    ) {
        let folder = written(&records, LIMIT);
        let files = spool_files(folder.path());
        let path = which.get(&files);
        let bytes = std::fs::metadata(path).unwrap().len();
        let cut = cut.index(bytes as usize) as u64;
        let lost: Vec<u64> = frames(path).iter().filter(|(_, end, _)| *end > cut).map(|(.., n)| *n).collect();
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(cut).unwrap();
        let mut log = opened(folder.path(), LIMIT);
        let expected: Vec<_> = records.iter().filter(|r| !lost.contains(&r.id.sequence)).map(face).collect();
        prop_assert_eq!(all(&mut log).iter().map(face).collect::<Vec<_>>(), expected.clone());
        // What comes then stands on whole ground.
        log.push(&job(1_000, 10)).unwrap();
        log.sync().unwrap();
        drop(log);
        prop_assert_eq!(all(&mut opened(folder.path(), LIMIT)).len(), expected.len() + 1);
    }

    #[test]
    fn a_flipped_byte_costs_its_own_record_alone(
        records in records(), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let folder = written(&records, LIMIT);
        let files = spool_files(folder.path());
        let path = which.get(&files);
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.index(bytes.len());
        let hit = frames(path).iter().find(|(_, end, _)| *end > at as u64).map(|(.., n)| *n).unwrap();
        bytes[at] ^= flip;
        std::fs::write(path, bytes).unwrap();
        let left = all(&mut opened(folder.path(), LIMIT));
        let unhurt = |records: &[Record]| records.iter().filter(|r| r.id.sequence != hit).map(face).collect::<Vec<_>>();
        prop_assert_eq!(unhurt(&left), unhurt(&records));
        for replaced in left.iter().filter(|record| record.id.sequence == hit) {
            let told = matches!(marker(replaced), Some(Marker::Undecodable { reason: Failed::Decode, .. }));
            prop_assert!(told, "{:?}", replaced);
        }
    }

    #[test]
    fn whatever_is_shed_each_number_has_one_record_and_the_bound_holds(records in records(), limit in 3_000_u64..40_000) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = opened(folder.path(), limit);
        for record in &records {
            log.push(record).unwrap();
            let holdings = log.holdings();
            prop_assert!(holdings.bytes <= limit || all(&mut log).iter().all(|r| r.queue == Queue::Work(Work::Merge, 0)));
        }
        log.sync().unwrap();
        let killed = killed(folder.path());
        for mut log in [log, opened(killed.path(), limit)] {
            let left = all(&mut log);
            prop_assert_eq!(sequences(&left), sequences(&records));
            for (left, record) in left.iter().zip(&records) {
                prop_assert!(is_shed(left) || face(left) == face(record), "{:?}", left);
            }
        }
    }
}

#[test]
fn quiet_segments_make_room_first_and_then_the_oldest() {
    let quiet = |sequence| Record { quiet: sequence % 2 == 0, ..job(sequence, 10_000) };
    let records: Vec<_> = (0..40).map(quiet).collect();
    let shed = |limit: u64| -> Vec<u64> {
        let folder = written(&records, limit);
        let mut log = opened(folder.path(), limit);
        let shed: Vec<_> = all(&mut log).into_iter().filter(is_shed).collect();
        sequences(&shed)
    };
    assert!(shed(1_000_000).is_empty());
    let some = shed(300_000);
    assert!(some.len() > 5 && some == (0..some.len() as u64).map(|n| n * 2).collect::<Vec<_>>(), "{some:?}");
    let most = shed(100_000);
    let busy: Vec<_> = most.iter().filter(|n| *n % 2 == 1).copied().collect();
    assert!(busy.len() > 5 && busy == (0..busy.len() as u64).map(|n| n * 2 + 1).collect::<Vec<_>>(), "{most:?}");
}

#[test]
fn a_kill_between_the_markers_and_the_removal_leaves_the_markers() {
    let records: Vec<_> = (0..10).map(|sequence| job(sequence, 2_000)).collect();
    let limit = 64 * 1_000;
    let folder = written(&records, limit);
    let before = killed(folder.path());
    let mut log = opened(folder.path(), limit);
    (10..40).for_each(|sequence| log.push(&job(sequence, 2_000)).unwrap());
    let shed: Vec<_> = all(&mut log).into_iter().filter(is_shed).collect();
    assert!(!shed.is_empty());
    drop(log);
    for path in spool_files(before.path()) {
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let again = all(&mut opened(folder.path(), limit));
    assert_eq!(sequences(&again), (0..40).collect::<Vec<_>>());
    assert_eq!(sequences(&again.into_iter().filter(is_shed).collect::<Vec<_>>()), sequences(&shed));
}

#[test]
fn a_segment_larger_than_the_spool_is_shed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = opened(folder.path(), 5_000);
    log.push(&large(0, 6_000)).unwrap();
    assert_eq!((log.holdings().shed, all(&mut log).iter().filter(|r| is_shed(r)).count()), (1, 1));
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Numbers::new(&Metrics::new()).unwrap();
    let (spool, keeper) = Spool::open(folder.path().to_owned(), LIMIT, &numbers).await.unwrap();
    let second = Spool::open(folder.path().to_owned(), LIMIT, &numbers).await;
    let error = chain(&second.err().expect("it is taken"));
    assert!(error.contains("another dispatcher"), "{error}");
    keeper.close().await;
    assert!(matches!(spool.push(vec![job(0, 1)]).await, Err(SpoolError::Closed)));
    let (_, keeper) = Spool::open(folder.path().to_owned(), LIMIT, &numbers).await.unwrap();
    keeper.close().await;
}

#[test]
fn a_spool_that_cannot_work_is_a_mistake() {
    let mistakes = |folder: &Path, spool_bytes| {
        let config = crate::DispatcherConfig {
            spool_dir: Some(folder.to_owned()),
            spool_bytes,
            ..crate::DispatcherConfig::default()
        };
        config.mistakes().0.into_iter().map(|mistake| mistake.field).collect::<Vec<_>>()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(mistakes(folder.path(), LEAST_BYTES).is_empty());
    assert_eq!(mistakes(&file, LEAST_BYTES - 1), ["spool_bytes", "spool_dir"]);
}
