#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use detektor_backends::failing::Moment;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::distributed::double::{Cluster, Dispatcher, Holding, camera, seconds};

const TTL: Duration = Duration::from_secs(5);

fn pair(holdings: Vec<Holding>) -> [Holding; 2] {
    holdings.try_into().unwrap_or_else(|holdings| panic!("{holdings:?}"))
}

#[tokio::test(start_paused = true)]
async fn what_is_placed_runs_until_it_is_not_wanted() {
    let cluster = Cluster::new().await;
    let _d1 = cluster.start("d1");
    for (name, kind) in [("a", "several"), ("b", "single"), ("c", "file")] {
        cluster.add(name, kind, "d1").await;
        seconds(3).await;
        assert_eq!(cluster.runners(name), ["d1"]);
        assert_eq!(cluster.holder(name).await.as_deref(), Some("d1"));
        cluster.want(name, None).await;
        seconds(3).await;
        let [holding] = &cluster.holdings(name)[..] else { panic!() };
        assert_eq!(holding.reason, Some(EndReason::Stopped));
        assert!(holding.seam.is_none_or(|seam| seam.key_frame.is_none()), "nobody else has that key frame");
        assert_eq!(cluster.holder(name).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_makes_before_it_breaks() {
    let cluster = Cluster::new().await;
    let (_d1, _d2) = (cluster.start("d1"), cluster.start("d2"));
    cluster.add("a", "several", "d1").await;
    seconds(10).await;
    cluster.place("a", "d2", 0).await;
    seconds(10).await;
    let [old, new] = pair(cluster.holdings("a"));
    assert!(new.from < old.until.unwrap() && new.epoch > old.epoch);
    assert_eq!((old.reason, new.until), (Some(EndReason::HandedOver), None));
    let lease = cluster.database.lease(&LeaseName::Camera(camera("a"))).await.unwrap().unwrap();
    assert_eq!((lease.epoch, lease.seam), (new.epoch, new.seam));
    assert!(new.seam.unwrap().key_frame.is_some(), "the seam is a key frame that both have");
    // The old one had the camera for no longer than a beat and what it takes to stop.
    assert!(old.until.unwrap() - new.from < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_there_twice_breaks_before_it_makes() {
    for kind in ["single", "file"] {
        let cluster = Cluster::new().await;
        let (_d1, _d2) = (cluster.start("d1"), cluster.start("d2"));
        cluster.add("a", kind, "d1").await;
        seconds(10).await;
        cluster.place("a", "d2", 0).await;
        seconds(10).await;
        let [old, new] = pair(cluster.holdings("a"));
        assert!(old.until.unwrap() <= new.from, "{kind}");
        assert_eq!((old.reason, &new.dispatcher[..]), (Some(EndReason::HandedOver), "d2"));
        assert!(new.seam.is_none_or(|seam| seam.key_frame.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_dispatchers_camera_is_taken_after_a_whole_time_to_live() {
    for kind in ["several", "single", "file"] {
        let cluster = Cluster::new().await;
        let (d1, _d2) = (cluster.start("d1"), cluster.start("d2"));
        cluster.add("a", kind, "d1").await;
        seconds(10).await;
        d1.kill().await;
        let killed = Instant::now();
        if kind != "several" {
            // A balancer may well be quicker than the watch.
            cluster.place("a", "d2", 0).await;
        } else {
            seconds(7).await;
            cluster.place("a", "d2", 0).await;
        }
        seconds(10).await;
        let [_, new] = pair(cluster.holdings("a"));
        let waited = new.from - killed;
        assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(10), "{kind}: {waited:?}");
        assert!(new.seam.is_none_or(|seam| seam.key_frame.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_reach_the_database_goes_on_and_stops_when_it_sees_the_newer_epoch() {
    let cluster = Cluster::new().await;
    let (d1, _d2) = (cluster.start("d1"), cluster.start("d2"));
    cluster.add("a", "several", "d1").await;
    seconds(10).await;
    d1.plan.fail_all();
    seconds(10).await;
    cluster.place("a", "d2", 0).await;
    seconds(30).await;
    // Both run, each knowing of no other: the newer epoch wins at merge.
    assert_eq!(cluster.runners("a"), ["d1", "d2"]);
    let [old, new] = pair(cluster.holdings("a"));
    assert!(new.epoch > old.epoch);
    d1.plan.heal();
    seconds(3).await;
    assert_eq!(cluster.runners("a"), ["d2"]);
    assert_eq!(cluster.holdings("a")[0].reason, Some(EndReason::HandedOver));
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_says_nothing_about_anybody() {
    let cluster = Cluster::new().await;
    let (d1, d2) = (cluster.start("d1"), cluster.start("d2"));
    cluster.add("a", "single", "d1").await;
    seconds(10).await;
    d1.plan.fail_all();
    d2.plan.fail_all();
    cluster.place("a", "d2", 0).await;
    seconds(60).await;
    assert_eq!(cluster.runners("a"), ["d1"]);
    d2.plan.heal();
    let healed = Instant::now();
    // d1 is to live; it comes back a little later than d2.
    seconds(3).await;
    d1.plan.heal();
    seconds(10).await;
    let [old, new] = pair(cluster.holdings("a"));
    assert_eq!(old.reason, Some(EndReason::HandedOver), "it was asked, and not taken for dead");
    assert!(old.until.unwrap() <= new.from && new.from - healed < TTL + TTL);
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_the_same_name_takes_its_cameras_at_once() {
    let cluster = Cluster::new().await;
    let d1 = cluster.start("d1");
    cluster.add("a", "several", "d1").await;
    cluster.add("b", "file", "d1").await;
    seconds(10).await;
    d1.kill().await;
    let killed = Instant::now();
    let _again = cluster.start("d1");
    seconds(10).await;
    for name in ["a", "b"] {
        let [old, new] = pair(cluster.holdings(name));
        assert!(new.epoch > old.epoch && new.from - killed < Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_name_stops_everything() {
    let cluster = Cluster::new().await;
    let d1 = cluster.start("d1");
    cluster.add("a", "several", "d1").await;
    seconds(10).await;
    let _twin = cluster.start("d1");
    assert_eq!(d1.ended().await, Err(AgentError::Ousted("d1".to_owned())));
    seconds(3).await;
    assert_eq!(cluster.runners("a"), ["d1"]);
    let [old, new] = pair(cluster.holdings("a"));
    assert!(old.until.is_some() && new.until.is_none() && new.epoch > old.epoch);
    assert_eq!(cluster.holder("a").await.as_deref(), Some("d1"));
}

#[tokio::test(start_paused = true)]
async fn of_two_takers_one_has_the_camera() {
    let cluster = Cluster::new().await;
    let dispatchers = ["d1", "d2", "d3"].map(|name| cluster.start(name));
    cluster.add("a", "several", "d1").await;
    seconds(10).await;
    for _ in 0..10 {
        for name in ["d2", "d3", "d1"] {
            cluster.place("a", name, 0).await;
            // Before, while and after the one before takes it.
            tokio::time::sleep(Duration::from_millis(730)).await;
        }
    }
    seconds(10).await;
    assert_eq!(cluster.runners("a"), ["d1"]);
    settled(&cluster, "a").await;
    drop(dispatchers);
}

/// One runs it, under the newest epoch, and holds the lease.
async fn settled(cluster: &Cluster, name: &str) {
    let holdings = cluster.holdings(name);
    let running: Vec<&Holding> = holdings.iter().filter(|holding| holding.until.is_none()).collect();
    let [running] = running[..] else { panic!("{holdings:#?}") };
    let lease = cluster.database.lease(&LeaseName::Camera(camera(name))).await.unwrap().unwrap();
    assert_eq!(
        (lease.epoch, lease.holder.map(|holder| holder.name)),
        (running.epoch, Some(running.dispatcher.clone()))
    );
    assert!(holdings.iter().all(|other| other.epoch <= running.epoch));
    let mut epochs: Vec<Epoch> = holdings.iter().map(|holding| holding.epoch).collect();
    epochs.sort();
    epochs.dedup();
    assert_eq!(epochs.len(), holdings.len(), "no epoch twice");
}

#[tokio::test(start_paused = true)]
async fn orders_change_without_a_restart_where_they_can() {
    let cluster = Cluster::new().await;
    let _d1 = cluster.start("d1");
    cluster.want("a", Some(json!({ "kind": "several", "url": "one" }))).await;
    cluster.place("a", "d1", 3).await;
    seconds(3).await;
    cluster.place("a", "d1", 4).await;
    seconds(3).await;
    cluster.want("a", Some(json!({ "kind": "several", "url": "one", "fps": "7" }))).await;
    seconds(3).await;
    let [holding] = &cluster.holdings("a")[..] else { panic!() };
    assert!(holding.until.is_none());
    let partitions: Vec<u16> = holding.orders.iter().map(|order| order.1).collect();
    assert_eq!(partitions, [3, 4, 4]);
    assert!(holding.orders[2].0 > holding.orders[1].0);
    cluster.want("a", Some(json!({ "kind": "several", "url": "two" }))).await;
    seconds(5).await;
    let [old, new] = pair(cluster.holdings("a"));
    assert_eq!((old.reason, new.orders.len()), (Some(EndReason::Stopped), 1));
    // To another manner of being handed over as well.
    cluster.want("a", Some(json!({ "kind": "single", "url": "two" }))).await;
    seconds(5).await;
    assert_eq!(cluster.holdings("a").len(), 3);
    settled(&cluster, "a").await;
}

#[tokio::test(start_paused = true)]
async fn what_ended_rests_until_it_is_changed() {
    let cluster = Cluster::new().await;
    let _d1 = cluster.start("d1");
    for kind in ["ends", "fails"] {
        cluster.add(kind, kind, "d1").await;
        seconds(20).await;
        assert_eq!(cluster.holdings(kind).len(), 1);
        assert_eq!(cluster.holder(kind).await, None);
        cluster.want(kind, Some(json!({ "kind": "several" }))).await;
        seconds(3).await;
        settled(&cluster, kind).await;
    }
    cluster.add("x", "bad", "d1").await;
    seconds(3).await;
    assert_eq!(cluster.holder("x").await, None);
    cluster.want("x", Some(json!({ "kind": "several" }))).await;
    seconds(3).await;
    settled(&cluster, "x").await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_after_a_while_and_what_is_over_is_not() {
    let cluster = Cluster::new().await;
    let _d1 = cluster.start("d1");
    cluster.add("fails", "fails", "d1").await;
    cluster.add("ends", "ends", "d1").await;
    seconds(150).await;
    assert_eq!((cluster.holdings("fails").len(), cluster.holdings("ends").len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_is_started_again_after_a_while() {
    let cluster = Cluster::new().await;
    let d1 = cluster.start("d1");
    cluster.add("a", "dies", "d1").await;
    seconds(25).await;
    let tries = cluster.holdings("a").len();
    assert!((2..=3).contains(&tries), "{tries}");
    assert!(d1.is_running());
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_others_take_over_without_a_gap() {
    let cluster = Cluster::new().await;
    let (d1, _d2) = (cluster.start("d1"), cluster.start("d2"));
    cluster.add("a", "several", "d1").await;
    cluster.add("b", "single", "d1").await;
    seconds(10).await;
    d1.shutdown.cancel();
    seconds(1).await;
    let members = cluster.database.members().await.unwrap();
    assert!(members[0].load.leaving && !members[1].load.leaving);
    cluster.place("a", "d2", 0).await;
    cluster.place("b", "d2", 0).await;
    assert_eq!(d1.ended().await, Ok(()));
    assert_eq!(cluster.database.members().await.unwrap().len(), 1);
    seconds(3).await;
    let [old, new] = pair(cluster.holdings("a"));
    assert!(new.from < old.until.unwrap());
    let [old, new] = pair(cluster.holdings("b"));
    assert!(old.until.unwrap() <= new.from);
    settled(&cluster, "a").await;
    settled(&cluster, "b").await;
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_nobody_is_waited_for_for_ever() {
    let cluster = Cluster::new().await;
    let (d1, d2) = (cluster.start("d1"), cluster.start("d2"));
    cluster.add("a", "several", "d1").await;
    cluster.add("b", "several", "d2").await;
    seconds(10).await;
    // There is one who could take over, and does not.
    d1.shutdown.cancel();
    let begun = Instant::now();
    assert_eq!(d1.ended().await, Ok(()));
    assert!((15..18).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // There is nobody.
    d2.shutdown.cancel();
    let begun = Instant::now();
    assert_eq!(d2.ended().await, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(3));
    for name in ["a", "b"] {
        assert_eq!(cluster.holdings(name)[0].reason, Some(EndReason::Stopped));
        assert_eq!(cluster.holder(name).await, None);
    }
    assert_eq!(cluster.database.members().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_holds_no_shutdown_up() {
    let cluster = Cluster::new().await;
    let (d1, _d2) = (cluster.start("d1"), cluster.start("d2"));
    cluster.add("a", "several", "d1").await;
    seconds(10).await;
    d1.plan.fail_all();
    d1.shutdown.cancel();
    let begun = Instant::now();
    assert_eq!(d1.ended().await, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(cluster.runners("a"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_costs_nothing() {
    for call in ["take", "give_back", "beat", "lease"] {
        for moment in [Moment::Before, Moment::After] {
            let cluster = Cluster::new().await;
            let (d1, d2) = (cluster.start("d1"), cluster.start("d2"));
            d1.plan.fail_call(call, 0, moment, 2);
            cluster.add("a", "several", "d1").await;
            cluster.add("b", "single", "d1").await;
            seconds(10).await;
            d1.plan.heal();
            d2.plan.fail_call(call, 0, moment, 2);
            d1.plan.fail_call(call, 0, moment, 2);
            cluster.place("a", "d2", 0).await;
            cluster.place("b", "d2", 0).await;
            seconds(20).await;
            for name in ["a", "b"] {
                assert_eq!(cluster.runners(name), ["d2"], "{call} {moment:?}");
                settled(&cluster, name).await;
            }
            let [old, new] = pair(cluster.holdings("a"));
            assert!(new.from < old.until.unwrap(), "{call} {moment:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn costs_are_told_of_what_runs_here() {
    let cluster = Cluster::new().await;
    let d1 = cluster.start("d1");
    cluster.add("a", "several", "d1").await;
    cluster.add("b", "several", "d2").await;
    seconds(3).await;
    d1.cameras.measured.lock().unwrap().costs = vec![(camera("a"), 120), (camera("b"), 30)];
    seconds(3).await;
    let costs: Vec<u32> =
        cluster.database.placement().await.unwrap().cameras.iter().map(|row| row.cost_millis).collect();
    assert_eq!(costs, [120, 0]);
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let mut config = AgentConfig::new(Member { name: "d1".to_owned(), incarnation: 1 });
    assert_eq!(config.mistakes(), []);
    config.ttl = Duration::from_secs(2);
    config.beat = Duration::ZERO;
    assert_eq!(config.mistakes().len(), 1);
    config.beat = Duration::from_secs(1);
    assert_eq!(config.mistakes()[0].to_string(), "ttl is 2s (expected at least three times beat: 3s)");
}

/// What happens to a cluster of three.
#[derive(Clone, Debug)]
enum Happening {
    Place(usize, usize),
    Kill(usize),
    Restart(usize),
    Stop(usize),
    CutOff(usize),
    Heal(usize),
    LoseAnswers(usize),
    Change(usize),
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3_usize, 0..3_usize).prop_map(|(camera, to)| Happening::Place(camera, to)),
        1 => (0..3_usize).prop_map(Happening::Kill),
        2 => (0..3_usize).prop_map(Happening::Restart),
        1 => (0..3_usize).prop_map(Happening::Stop),
        2 => (0..3_usize).prop_map(Happening::CutOff),
        2 => (0..3_usize).prop_map(Happening::Heal),
        2 => (0..3_usize).prop_map(Happening::LoseAnswers),
        1 => (0..3_usize).prop_map(Happening::Change),
        4 => (1..9_000_u64).prop_map(Happening::Wait),
    ]
}

const KINDS: [&str; 3] = ["several", "single", "file"];
const NAMES: [&str; 3] = ["d0", "d1", "d2"];

async fn happen(happenings: Vec<Happening>) {
    let cluster = Cluster::new().await;
    let mut dispatchers: Vec<Option<Dispatcher>> = NAMES.iter().map(|name| Some(cluster.start(name))).collect();
    for kind in KINDS {
        cluster.add(kind, kind, "d0").await;
    }
    for (n, happening) in happenings.into_iter().enumerate() {
        match happening {
            Happening::Place(camera, to) => cluster.place(KINDS[camera], NAMES[to], n as u16).await,
            Happening::Kill(which) => {
                if let Some(dispatcher) = dispatchers[which].take() {
                    dispatcher.kill().await;
                }
            }
            // Perhaps while the one before still runs.
            Happening::Restart(which) => {
                let before = dispatchers[which].replace(cluster.start(NAMES[which]));
                if let Some(before) = before {
                    before.plan.heal();
                    tokio::spawn(before.ended());
                }
            }
            Happening::Stop(which) => {
                if let Some(dispatcher) = &dispatchers[which] {
                    dispatcher.shutdown.cancel();
                }
            }
            Happening::CutOff(which) => {
                dispatchers[which].iter().for_each(|dispatcher| dispatcher.plan.fail_all());
            }
            Happening::Heal(which) => dispatchers[which].iter().for_each(|dispatcher| dispatcher.plan.heal()),
            Happening::LoseAnswers(which) => {
                for dispatcher in dispatchers[which].iter() {
                    dispatcher.plan.fail_nth(n as u64 % 4, Moment::After);
                    dispatcher.plan.fail_call("take", 0, Moment::After, 2);
                }
            }
            Happening::Change(which) => {
                cluster.want(KINDS[which], Some(json!({ "kind": KINDS[which], "url": n.to_string() }))).await;
            }
            Happening::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
    // Calm at last: everybody is there, and reaches the database.
    for (which, name) in NAMES.iter().enumerate() {
        let dispatcher = dispatchers[which].take().filter(|dispatcher| !dispatcher.shutdown.is_cancelled());
        let dispatcher = dispatcher.filter(Dispatcher::is_running);
        dispatchers[which] = Some(dispatcher.unwrap_or_else(|| cluster.start(name)));
        dispatchers[which].as_ref().unwrap().plan.heal();
    }
    seconds(40).await;
    for kind in KINDS {
        settled(&cluster, kind).await;
        let placement = cluster.database.placement().await.unwrap();
        let row = placement.cameras.iter().find(|row| row.camera == camera(kind)).unwrap();
        assert_eq!(Some(cluster.runners(kind).remove(0)), row.dispatcher);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_camera_ends_up_with_one_holder(happenings in prop::collection::vec(happening(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(happen(happenings));
    }
}
