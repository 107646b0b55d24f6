//! A few seeds hold, a seed repeats, and what is broken is seen.
#![allow(clippy::unwrap_used)]

use detektor_contract::Epoch;
use detektor_sim::checker::{Left, check};
use detektor_sim::history::Notes;
use detektor_sim::hosts::Flaw;
use detektor_sim::run::{self, Report};

/// Few enough for every test run; `just sim` runs many.
const SEEDS: u64 = 20;

/// A lease is taken, the answer lost, the database put back, and the lease asked for again.
const PUT_BACK: u64 = 8617;

fn run(seed: u64) -> Report {
    run::run(seed, None)
}

#[test]
fn what_is_wrong_with_a_server_is_seen() {
    for flaw in [Flaw::ForgetsDelivered, Flaw::RepeatsEpochs, Flaw::ForgetsMerges] {
        let seen = (0..SEEDS).filter(|seed| !run::run(*seed, Some(flaw)).wrong.is_empty()).count();
        assert!(seen > 0, "{flaw:?}");
    }
}

#[test]
fn a_few_seeds_hold() {
    let failed: Vec<_> = (0..SEEDS).chain([PUT_BACK]).map(run).filter(|report| !report.wrong.is_empty()).collect();
    let told: Vec<_> = failed.iter().map(|report| (report.seed, &report.wrong)).collect();
    assert!(failed.is_empty(), "{told:#?}");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in 0..4 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!((first.digest, first.segments), (second.digest, second.segments), "seed {seed}");
    }
    assert_ne!(run(0).digest, run(1).digest);
}

/// A run in which all is well, with events and without a reindex.
fn good() -> (Report, Notes, Left) {
    let has_feed = |left: &Left| left.feed.as_ref().is_some_and(|feed| feed.len() > 3);
    let mut runs = (0..SEEDS).map(run).filter(|report| report.wrong.is_empty() && report.take_overs > 0);
    loop {
        let mut report = runs.next().unwrap();
        if let Some(left) = report.left.take_if(|left| has_feed(left)) {
            let notes = std::mem::take(&mut report.notes);
            return (report, notes, left);
        }
    }
}

#[test]
fn what_is_broken_is_seen() {
    let (_, mut notes, mut left) = good();
    let nothing: Vec<String> = Vec::new();
    assert_eq!(check(&notes, &left), nothing);

    let lost = left.logged.remove(0);
    left.logged.retain(|outcome| outcome.id != lost.id);
    let wrong = check(&notes, &left);
    assert!(wrong.iter().any(|wrong| wrong.contains("is not in the log")), "{wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.contains("the ledger is")), "{wrong:?}");
    left.logged.push(lost);
    assert_eq!(check(&notes, &left), nothing);

    let again = notes.takes[0].clone();
    notes.takes.push(again);
    let wrong = check(&notes, &left);
    assert!(wrong.iter().any(|wrong| wrong.contains("does not exceed")), "{wrong:?}");
    notes.takes.pop();

    let ((camera, epoch), who) = notes.publishers.iter().next().map(|(key, who)| (key.clone(), who.clone())).unwrap();
    let foreign = (camera, Epoch(epoch.0 + 1));
    notes.publishers.insert(foreign.clone(), who);
    let wrong = check(&notes, &left);
    assert!(wrong.iter().any(|wrong| wrong.contains("who never took it")), "{wrong:?}");
    notes.publishers.remove(&foreign);

    let feed = left.feed.as_mut().unwrap();
    let twice = feed[0].clone();
    feed.push(twice);
    let wrong = check(&notes, &left);
    assert!(wrong.iter().any(|wrong| wrong.contains("was told after")), "{wrong:?}");
    left.feed.as_mut().unwrap().pop();

    let key = left.objects.keys().next().cloned().unwrap();
    left.objects.remove(&key);
    let wrong = check(&notes, &left);
    assert!(wrong.iter().any(|wrong| wrong.contains("the object is not as the event")), "{wrong:?}");
}
