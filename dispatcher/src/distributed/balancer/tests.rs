#![allow(clippy::unwrap_used, clippy::expect_used)]

use detektor_backends::coordination::{Load, Placement};
use detektor_backends::failing::{FailingCoordination, Plan as Faults};
use detektor_backends::memory::{MemoryDatabase, MemoryQueues};
use serde_json::json;

use super::*;
use crate::distributed::double::{Cluster, camera, seconds};

const INTERVAL: Duration = Duration::from_secs(1);

fn balancer(coordination: Arc<dyn Coordination>, name: &str) -> Balancer {
    let member = Member { name: name.to_owned(), incarnation: 1 };
    Balancer::new(BalancerConfig { partitions: 1, ..BalancerConfig::new(member) }, coordination).unwrap()
}

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), incarnation: 1 }
}

async fn beat(database: &Arc<MemoryDatabase>, name: &str, load: Load) {
    database.beat(&member(name), load, false).await.unwrap();
}

async fn want(database: &Arc<MemoryDatabase>, cameras: std::ops::Range<usize>) {
    let changes: Vec<_> = cameras.map(|n| (camera(&format!("c{n:02}")), Some("{}".to_owned()))).collect();
    database.want(&changes).await.unwrap();
}

/// Two dispatchers live, and both balancers look, for a while.
async fn all_is_well(database: &Arc<MemoryDatabase>, balancers: [&mut Balancer; 2]) {
    let [one, two] = balancers;
    for _ in 0..10 {
        for name in ["d1", "d2"] {
            beat(database, name, Load::default()).await;
        }
        one.step().await.unwrap();
        two.step().await.unwrap();
        tokio::time::advance(INTERVAL).await;
    }
}

fn on(placement: &Placement, name: &str) -> usize {
    placement.cameras.iter().filter(|row| row.dispatcher.as_deref() == Some(name)).count()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_another_takes_over_when_it_is_silent() {
    let database = MemoryDatabase::new();
    let (mut one, mut two) = (balancer(database.clone(), "b1"), balancer(database.clone(), "b2"));
    for _ in 0..10 {
        assert!(matches!(one.step().await.unwrap(), Stepped::Led(_)));
        assert_eq!(two.step().await.unwrap(), Stepped::Standby);
        tokio::time::advance(INTERVAL).await;
    }
    let mut waited = 0;
    while two.step().await.unwrap() == Stepped::Standby {
        waited += 1;
        tokio::time::advance(INTERVAL).await;
    }
    assert!((4..=6).contains(&waited), "{waited}");
    // It wakes up, and has to find out.
    assert_eq!(one.step().await.unwrap(), Stepped::Standby);
    assert!(!one.leads() && two.leads());
}

#[tokio::test(start_paused = true)]
async fn who_dies_together_with_the_leader_is_known_to_be_dead_as_soon() {
    let database = MemoryDatabase::new();
    let (mut one, mut two) = (balancer(database.clone(), "b1"), balancer(database.clone(), "b2"));
    want(&database, 0..4).await;
    all_is_well(&database, [&mut one, &mut two]).await;
    let mut waited = 0;
    while on(&database.placement().await.unwrap(), "d1") > 0 {
        beat(&database, "d2", Load::default()).await;
        two.step().await.unwrap();
        waited += 1;
        tokio::time::advance(INTERVAL).await;
    }
    assert!((4..=7).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_writes_nothing() {
    let database = MemoryDatabase::new();
    let mut one = balancer(database.clone(), "b1");
    beat(&database, "d1", Load::default()).await;
    want(&database, 0..4).await;
    assert!(matches!(one.step().await.unwrap(), Stepped::Led(plan) if plan.moves.len() == 4));
    let epoch = database.balancer().await.unwrap().unwrap().lease.epoch;
    let take =
        Take { name: LeaseName::Balancer, seen: Some(epoch), holder: member("b2"), now_ms: 0, live: false, seam: None };
    database.take(&take).await.unwrap().unwrap();
    let before = database.placement().await.unwrap();
    want(&database, 4..8).await;
    assert_eq!(one.step().await.unwrap(), Stepped::Standby);
    assert_eq!(database.placement().await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_forgotten_and_their_cameras_moved() {
    let database = MemoryDatabase::new();
    let mut one = balancer(database.clone(), "b1");
    want(&database, 0..20).await;
    for _ in 0..3 {
        for name in ["d1", "d2"] {
            beat(&database, name, Load::default()).await;
        }
        one.step().await.unwrap();
        tokio::time::advance(INTERVAL).await;
    }
    let placement = database.placement().await.unwrap();
    assert_eq!([on(&placement, "d1"), on(&placement, "d2")], [10, 10]);
    let mut steps = 0;
    while on(&database.placement().await.unwrap(), "d1") > 0 {
        beat(&database, "d2", Load::default()).await;
        one.step().await.unwrap();
        tokio::time::advance(INTERVAL).await;
        steps += 1;
    }
    assert!((4..=7).contains(&steps), "{steps}");
    let placement = database.placement().await.unwrap();
    assert_eq!(on(&placement, "d2"), 20);
    assert_eq!(database.members().await.unwrap().len(), 1);
    assert!(placement.cameras.iter().any(|row| row.reason == "dispatcher d1 is gone"));
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_kills_nobody() {
    let database = MemoryDatabase::new();
    let faults = Faults::new();
    let mut one = balancer(FailingCoordination::new(database.clone(), faults.clone()), "b1");
    want(&database, 0..4).await;
    beat(&database, "d1", Load::default()).await;
    one.step().await.unwrap();
    faults.fail_all();
    for _ in 0..20 {
        tokio::time::advance(INTERVAL).await;
        one.step().await.unwrap_err();
    }
    faults.heal();
    one.step().await.unwrap();
    assert_eq!(database.members().await.unwrap().len(), 1, "nobody could say that he lives");
    assert!(one.leads());
}

#[tokio::test(start_paused = true)]
async fn what_has_a_place_is_moved_in_peace() {
    let database = MemoryDatabase::new();
    let mut one = balancer(database.clone(), "b1");
    want(&database, 0..20).await;
    let mut moves = Vec::new();
    for second in 0..120 {
        beat(&database, "d1", Load::default()).await;
        if second >= 2 {
            beat(&database, "d2", Load::default()).await;
        }
        if second >= 8 {
            beat(&database, "d3", Load::default()).await;
        }
        if let Stepped::Led(plan) = one.step().await.unwrap()
            && !plan.is_empty()
        {
            moves.push((second, plan.moves.len()));
        }
        tokio::time::advance(INTERVAL).await;
    }
    // At once to the first; when it has looked around, to the second; and in peace to the third.
    let [(0, 20), (second, 10), (third, few)] = moves[..] else { panic!("{moves:?}") };
    assert!((5..=7).contains(&second) && third >= second + 30 && few <= 8, "{moves:?}");
    // What has no place is placed at once, peace or not.
    want(&database, 20..21).await;
    assert!(matches!(one.step().await.unwrap(), Stepped::Led(plan) if plan.moves.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn partitions_are_as_many_as_it_was_told() {
    let database = MemoryDatabase::new();
    let config = BalancerConfig { partitions: 10, ..BalancerConfig::new(member("b1")) };
    let mut one = Balancer::new(config.clone(), database.clone()).unwrap();
    want(&database, 0..100).await;
    one.step().await.unwrap();
    let placement = database.placement().await.unwrap();
    for partition in 0..10 {
        assert_eq!(placement.cameras.iter().filter(|row| row.partition == partition).count(), 10);
    }
    let wrong = BalancerConfig { partitions: 0, ttl: INTERVAL, ..config };
    assert_eq!(Balancer::new(wrong, database).err().map(|mistakes| mistakes.len()), Some(2));
}

fn in_partitions(placement: &Placement) -> Vec<u16> {
    placement.cameras.iter().map(|row| row.partition).collect()
}

#[tokio::test(start_paused = true)]
async fn cameras_wait_for_queues_but_not_for_ever() {
    let database = MemoryDatabase::new();
    // Its keeper never runs, as if the queues were away.
    let mut one = balancer(database.clone(), "b1").keeping(Arc::new(MemoryQueues::empty(3)));
    database.set_partitions(4).await.unwrap();
    want(&database, 0..4).await;
    let mut waited = 0;
    while database.placement().await.unwrap().cameras.is_empty() {
        beat(&database, "d1", Load::default()).await;
        one.step().await.unwrap();
        tokio::time::advance(INTERVAL).await;
        waited += 1;
    }
    assert!((5..=7).contains(&waited), "{waited}");
    assert_eq!(in_partitions(&database.placement().await.unwrap()), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_moves_the_cameras_of_the_dead_before_it_has_heard_of_the_queues() {
    let database = MemoryDatabase::new();
    let mut one = balancer(database.clone(), "b1");
    // Its keeper never runs, as if the queues were away together with the leader.
    let mut two = balancer(database.clone(), "b2").keeping(Arc::new(MemoryQueues::empty(3)));
    database.set_partitions(4).await.unwrap();
    want(&database, 0..8).await;
    all_is_well(&database, [&mut one, &mut two]).await;
    let before = database.placement().await.unwrap();
    assert_eq!([on(&before, "d1"), on(&before, "d2")], [4, 4]);
    want(&database, 8..9).await;
    let mut led = None;
    for second in 0.. {
        beat(&database, "d2", Load::default()).await;
        let stepped = two.step().await.unwrap();
        if stepped != Stepped::Standby {
            led.get_or_insert(second);
        }
        let after = database.placement().await.unwrap();
        if on(&after, "d1") == 0 {
            assert_eq!(led, Some(second), "it waited");
            assert_eq!(
                in_partitions(&after),
                in_partitions(&before),
                "no queue was heard of, and the new camera waits"
            );
            break;
        }
        tokio::time::advance(INTERVAL).await;
    }
    let mut waited = 0;
    while database.placement().await.unwrap().cameras.len() == 8 {
        beat(&database, "d2", Load::default()).await;
        two.step().await.unwrap();
        waited += 1;
        tokio::time::advance(INTERVAL).await;
    }
    assert!((5..=7).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn cameras_follow_the_partitions() {
    let database = MemoryDatabase::new();
    let queues = MemoryQueues::empty(3);
    let config = BalancerConfig { partitions: 3, ..BalancerConfig::new(member("b1")) };
    let one = Balancer::new(config, database.clone()).unwrap().keeping(Arc::new(queues.clone()));
    want(&database, 0..6).await;
    let (shutdown, alive) = (CancellationToken::new(), database.clone());
    let running = tokio::spawn(one.run(shutdown.clone()));
    let beating = tokio::spawn(async move {
        loop {
            beat(&alive, "d1", Load::default()).await;
            tokio::time::sleep(INTERVAL).await;
        }
    });
    let settled = async |partitions: u16| {
        seconds(240).await;
        let mut used = in_partitions(&database.placement().await.unwrap());
        used.sort();
        used.dedup();
        assert_eq!(used, (0..partitions).collect::<Vec<_>>());
        assert_eq!(queues.partitions().await.unwrap().0.len(), 2 * usize::from(partitions));
    };
    // Nobody has said how many, so it is as configured; what was said before holds.
    settled(3).await;
    for partitions in [1, 4, 2] {
        database.set_partitions(partitions).await.unwrap();
        settled(partitions).await;
    }
    shutdown.cancel();
    running.await.unwrap();
    beating.abort();
}

/// Balancers and dispatchers together: what the balancer says comes true.
#[tokio::test(start_paused = true)]
async fn cameras_go_where_the_balancer_says() {
    let cluster = Cluster::new().await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    // The test's own lease is taken over first.
    for name in ["b1", "b2"] {
        tokio::spawn(balancer(cluster.database.clone(), name).run(shutdown.clone()));
    }
    let d1 = cluster.start("d1");
    let d2 = cluster.start("d2");
    let names: Vec<String> = (0..12).map(|n| format!("c{n:02}")).collect();
    for name in &names {
        cluster.want(name, Some(json!({ "kind": "several" }))).await;
    }
    let share = |name: &str| names.iter().filter(|camera| cluster.runners(camera) == [name]).count();
    seconds(60).await;
    assert_eq!([share("d1"), share("d2")], [6, 6]);
    let d3 = cluster.start("d3");
    seconds(60).await;
    assert_eq!([share("d1"), share("d2"), share("d3")], [4, 4, 4]);
    // One dies, one is stopped.
    d1.kill().await;
    seconds(30).await;
    assert_eq!([share("d2"), share("d3")], [6, 6]);
    d2.shutdown.cancel();
    d2.ended().await.unwrap();
    seconds(5).await;
    assert_eq!(share("d3"), 12);
    shutdown.cancel();
    seconds(1).await;
    let seen = cluster.database.balancer().await.unwrap().unwrap();
    assert_eq!(seen.lease.holder, None);
    drop(d3);
}
