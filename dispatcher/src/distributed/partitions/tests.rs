#![allow(clippy::unwrap_used, clippy::expect_used)]

use detektor_backends::coordination::{LeaseName, Member, Placed, Take};
use detektor_backends::failing::{FailingQueues, Moment, Plan};
use detektor_backends::memory::{MemoryDatabase, MemoryQueues};
use detektor_backends::queue::{Message, Settle};

use super::*;
use crate::distributed::double::camera;

const SECOND: Duration = Duration::from_secs(1);

fn detect(partition: u16) -> Queue {
    Queue::Work(Work::Detect, partition)
}

fn merge(partition: u16) -> Queue {
    Queue::Work(Work::Merge, partition)
}

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), incarnation: 1 }
}

/// A keeper whose balancer leads, over queues of which ten partitions are open.
struct World {
    database: Arc<MemoryDatabase>,
    memory: Arc<MemoryQueues>,
    queues: Arc<dyn Queues>,
    faults: Arc<Plan>,
    leads: watch::Sender<Option<Epoch>>,
    usable: watch::Receiver<Option<u16>>,
    keeper: Keeper,
}

impl World {
    async fn new(wanted: u16) -> Self {
        let (database, memory, faults) = (MemoryDatabase::new(), MemoryQueues::new(3), Plan::new());
        database.set_partitions(wanted).await.unwrap();
        let queues: Arc<dyn Queues> = FailingQueues::new(Arc::new(Arc::clone(&memory)), Arc::clone(&faults));
        let leads = watch::Sender::new(None);
        let config = KeeperConfig { interval: SECOND, notice: 10 * SECOND, quiet: 40 * SECOND };
        let (keeper, usable) = Keeper::new(config, database.clone(), Arc::clone(&queues), leads.subscribe());
        let mut world = Self { database, memory, queues, faults, leads, usable, keeper };
        world.lead().await;
        world
    }

    /// Another balancer leads, and this is its keeper.
    async fn lead(&mut self) {
        let seen = self.database.balancer().await.unwrap().map(|seen| seen.lease.epoch);
        let take = Take { name: LeaseName::Balancer, seen, holder: member("b"), now_ms: 0, live: false, seam: None };
        self.leads.send_replace(self.database.take(&take).await.unwrap());
    }

    /// Passes so many seconds, looking at each.
    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            _ = self.keeper.step().await;
            tokio::time::advance(SECOND).await;
        }
    }

    /// Passes time until this holds; how many seconds that took.
    async fn until(&mut self, mut holds: impl FnMut(&Partitions, Option<u16>) -> bool) -> u64 {
        for seconds in 0..1_000 {
            _ = self.keeper.step().await;
            let found = self.memory.partitions().await.unwrap();
            if holds(&found, *self.usable.borrow()) {
                return seconds;
            }
            tokio::time::advance(SECOND).await;
        }
        panic!("it never comes: {:?}", self.memory.partitions().await.unwrap());
    }

    async fn open(&self) -> (Vec<Queue>, Vec<Queue>) {
        let found = self.queues.partitions().await.unwrap();
        (found.of(Work::Detect, Standing::Open), found.of(Work::Merge, Standing::Open))
    }

    async fn place(&self, name: &str, partition: u16) {
        let epoch = self.leads.borrow().unwrap();
        let row = Placed {
            camera: camera(name),
            dispatcher: None,
            partition,
            cost_millis: 0,
            reason: String::new(),
            moved_ms: 0,
        };
        assert!(self.database.place(epoch, &[row], &[]).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_partitions_are_left_emptied_and_removed_detect_before_merge() {
    let mut world = World::new(4).await;
    world.place("c", 7).await;
    world.pass(100).await;
    assert_eq!(*world.usable.borrow(), Some(4));
    let found = world.queues.partitions().await.unwrap();
    assert_eq!(found.standing(detect(7)), Some(Standing::Open), "a camera is there");
    assert_eq!([9, 8, 6, 5, 4].map(|n| found.standing(detect(n))), [None; 5]);
    assert_eq!(world.open().await.0, [0, 1, 2, 3, 7].map(detect));

    // A job that came before its camera left.
    world.queues.publish(detect(7), vec![Message::default()]).await.unwrap();
    world.place("c", 1).await;
    let retired = world.until(|found, _| found.standing(detect(7)) == Some(Standing::Retired)).await;
    assert!((9..=11).contains(&retired), "{retired} s: everybody has had notice");
    world.pass(500).await;
    let consumer = world.queues.consume(&[detect(7)], 1).await.unwrap();
    let held = consumer.receive().await.unwrap();
    world.pass(500).await;
    let found = world.queues.partitions().await.unwrap();
    assert_eq!(found.standing(detect(7)), Some(Standing::Retired), "it holds a job, whoever has it");
    assert_eq!(found.standing(merge(7)), Some(Standing::Open), "its results go there");
    consumer.settle(held.tag, Settle::Ack).await.unwrap();
    let removed = world.until(|found, _| found.standing(detect(7)).is_none()).await;
    assert!((40..=41).contains(&removed), "{removed} s");
    let retired = world.until(|found, _| found.standing(merge(7)) == Some(Standing::Retired)).await;
    assert!((9..=11).contains(&retired), "{retired} s");
    let removed = world.until(|found, _| found.standing(merge(7)).is_none()).await;
    assert!((40..=41).contains(&removed), "{removed} s");
    world.pass(100).await;
    assert_eq!(world.open().await, ((0..4).map(detect).collect(), (0..4).map(merge).collect()));
}

#[tokio::test(start_paused = true)]
async fn what_empties_only_now_and_then_is_not_removed() {
    let mut world = World::new(4).await;
    world.queues.publish(detect(9), vec![Message::default()]).await.unwrap();
    world.until(|found, _| found.standing(detect(9)) == Some(Standing::Retired)).await;
    for _ in 0..20 {
        let consumer = world.queues.consume(&[detect(9)], 1).await.unwrap();
        let held = consumer.receive().await.unwrap();
        // For a moment it is empty, as far as anybody can see.
        consumer.settle(held.tag, Settle::Ack).await.unwrap();
        world.pass(35).await;
        world.memory.open(detect(9)).await.unwrap();
        world.memory.publish(detect(9), vec![Message::default()]).await.unwrap();
        world.memory.retire(detect(9)).await.unwrap();
        world.pass(2).await;
    }
    assert_eq!(world.memory.depth(detect(9)).await.unwrap().ready, 1);
}

#[tokio::test(start_paused = true)]
async fn more_partitions_are_open_before_cameras_come() {
    let mut world = World::new(12).await;
    world.pass(1).await;
    // As long as a balancer before it may have something on its way, it changes nothing.
    assert_eq!((world.open().await.0.len(), *world.usable.borrow()), (10, Some(10)));
    let opened = world.until(|found, _| found.standing(detect(11)) == Some(Standing::Open)).await;
    assert!((38..=40).contains(&opened), "{opened} s");
    assert_eq!((world.open().await.1.len(), *world.usable.borrow()), (12, Some(10)));
    let used = world.until(|_, usable| usable == Some(12)).await;
    assert!((9..=11).contains(&used), "{used} s: everybody has had notice");
    // Later it does so at once.
    world.database.set_partitions(14).await.unwrap();
    world.pass(1).await;
    assert_eq!((world.open().await.0.len(), *world.usable.borrow()), (14, Some(12)));
}

#[tokio::test(start_paused = true)]
async fn the_first_leader_of_all_opens_at_once() {
    let mut world = World::new(3).await;
    let empty = MemoryQueues::empty(3);
    let (keeper, usable) =
        Keeper::new(world.keeper.config, world.database.clone(), Arc::new(Arc::clone(&empty)), world.leads.subscribe());
    (world.keeper, world.usable, world.memory) = (keeper, usable, Arc::clone(&empty));
    world.queues = Arc::new(empty);
    world.pass(1).await;
    assert_eq!(world.open().await, ((0..3).map(detect).collect(), (0..3).map(merge).collect()));
    assert_eq!(*world.usable.borrow(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_wanted_again_is_opened_again_and_what_it_holds_stays() {
    let mut world = World::new(4).await;
    world.queues.publish(detect(9), vec![Message::default()]).await.unwrap();
    world.until(|found, _| found.standing(detect(9)) == Some(Standing::Retired)).await;
    world.pass(60).await;
    world.database.set_partitions(10).await.unwrap();
    world.pass(1).await;
    assert_eq!(world.open().await.0.len(), 10);
    assert_eq!(world.queues.depth(detect(9)).await.unwrap().ready, 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_watches_anew() {
    let mut world = World::new(4).await;
    world.until(|found, _| found.standing(detect(9)) == Some(Standing::Retired)).await;
    world.pass(35).await;
    // A deposed one does nothing more.
    let old = *world.leads.borrow();
    world.lead().await;
    let new = world.leads.send_replace(old);
    world.pass(60).await;
    let found = world.queues.partitions().await.unwrap();
    assert_eq!(found.standing(detect(9)), Some(Standing::Retired));
    world.leads.send_replace(new);
    let removed = world.until(|found, _| found.standing(detect(9)).is_none()).await;
    assert!((40..=41).contains(&removed), "{removed} s");
    world.leads.send_replace(None);
    world.pass(1).await;
    assert_eq!(*world.usable.borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_removal_that_nobody_answered_nothing_is_opened_for_a_while() {
    let mut world = World::new(9).await;
    world.faults.fail_call("remove", 0, Moment::Before, 1);
    world.until(|found, _| found.standing(detect(9)) == Some(Standing::Retired)).await;
    while !world.faults.calls().contains(&"remove") {
        world.pass(1).await;
    }
    // It may yet go.
    world.database.set_partitions(10).await.unwrap();
    world.pass(35).await;
    let found = world.queues.partitions().await.unwrap();
    assert_eq!(found.standing(detect(9)), Some(Standing::Retired));
    world.pass(6).await;
    assert_eq!(world.open().await.0.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn queues_that_are_away_change_nothing_and_are_kept_when_they_are_back() {
    let mut world = World::new(4).await;
    world.pass(30).await;
    world.faults.fail_all();
    for _ in 0..100 {
        world.keeper.step().await.unwrap_err();
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(*world.usable.borrow(), Some(4));
    world.faults.heal();
    world.until(|found, _| found.of(Work::Merge, Standing::Open).len() == 4 && found.0.len() == 8).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_is_opened_again_only_when_everybody_has_seen_that_it_was_gone() {
    let mut world = World::new(9).await;
    world.until(|found, _| found.standing(detect(9)).is_none()).await;
    world.database.set_partitions(10).await.unwrap();
    let opened = world.until(|found, _| found.standing(detect(9)) == Some(Standing::Open)).await;
    assert!((9..=11).contains(&opened), "{opened} s");
}
