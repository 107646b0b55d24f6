#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMIT: u32 = 3;
const QUEUES: [Queue; 3] = [Queue::Work(Work::Detect, 0), Queue::Work(Work::Detect, 1), Queue::Dead(Work::Detect)];

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Claim(usize),
    Deliver(usize),
    BeginAck(usize),
    EndAck(usize, bool),
    PutBack(usize),
    Cancel(usize),
    Close(usize),
    Bury,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize).prop_map(Step::Publish),
        6 => (0..3usize).prop_map(Step::Claim),
        6 => (0..8usize).prop_map(Step::Deliver),
        4 => (0..8usize).prop_map(Step::BeginAck),
        4 => (0..8usize, any::<bool>()).prop_map(|(n, acked)| Step::EndAck(n, acked)),
        3 => (0..8usize).prop_map(Step::PutBack),
        1 => (0..3usize).prop_map(Step::Cancel),
        1 => (0..3usize).prop_map(Step::Close),
        2 => Just(Step::Bury),
    ]
}

/// Everywhere that a message can be, by id.
fn places(state: &State) -> Vec<Id> {
    let ready = state.queues.values().flat_map(|content| content.ready.keys().copied());
    let held = state.consumers.values().flat_map(|subscriber| subscriber.held.values().map(|held| held.id));
    ready.chain(held).chain(state.doomed.iter().map(|doomed| doomed.id)).collect()
}

proptest! {
    /// Whatever happens in whatever order: each message that was not acked is in exactly one place, no consumer holds
    /// more than it may, what is counted as unacked is held, and nothing is delivered more often than it may be.
    #[test]
    fn a_message_is_in_one_place(steps in prop::collection::vec(step(), 0..120)) {
        let mut state = State::default();
        let prefetches = [1, 2, 5];
        let mut consumers = prefetches.map(|prefetch| state.subscribe(QUEUES.to_vec(), prefetch));
        let mut claims: Vec<(ConsumerId, Claim)> = Vec::new();
        let mut alive: BTreeMap<Id, u32> = BTreeMap::new();
        let mut last = 0;
        for step in steps {
            let pick = |n: usize| (!claims.is_empty()).then(|| claims[n % claims.len()]);
            match step {
                Step::Publish(n) => {
                    last += 1;
                    alive.insert(last, 0);
                    state.insert(QUEUES[n], last, 0, LIMIT);
                }
                Step::Claim(n) => if let Ok(Some(claim)) = state.claim(consumers[n]) {
                    claims.push((consumers[n], claim));
                }
                Step::Deliver(n) => if let Some((consumer, claim)) = pick(n)
                    && state.consumers.get(&consumer).and_then(|s| s.held.get(&claim.tag)).is_some_and(|h| h.stage == Stage::Claimed)
                {
                    state.deliver(consumer, claim.tag).unwrap();
                    let times = alive.get_mut(&claim.id).unwrap();
                    *times += 1;
                    prop_assert!(matches!(claim.queue, Queue::Dead(_)) || (claim.attempt == *times && *times <= LIMIT));
                }
                Step::BeginAck(n) => if let Some((consumer, claim)) = pick(n) {
                    let _ = state.begin_ack(consumer, claim.tag);
                }
                Step::EndAck(n, acked) => if let Some((consumer, claim)) = pick(n) {
                    let settling = state.consumers.get(&consumer).and_then(|s| s.held.get(&claim.tag))
                        .is_some_and(|held| held.stage == Stage::Settling);
                    if settling {
                        state.end_ack(consumer, claim.tag, acked, LIMIT);
                        if acked {
                            alive.remove(&claim.id);
                        }
                    }
                }
                Step::PutBack(n) => if let Some((consumer, claim)) = pick(n) {
                    let _ = state.put_back(consumer, claim.tag, LIMIT);
                }
                Step::Cancel(n) => state.cancel(consumers[n]),
                Step::Close(n) => {
                    state.close(consumers[n], LIMIT);
                    prop_assert!(matches!(state.claim(consumers[n]), Err(QueueError::Closed)));
                    consumers[n] = state.subscribe(QUEUES.to_vec(), prefetches[n]);
                }
                Step::Bury => for doomed in state.take_doomed() {
                    prop_assert!(doomed.attempts >= LIMIT);
                    alive.insert(doomed.id, 0);
                    state.insert(Queue::Dead(doomed.work), doomed.id, 0, LIMIT);
                }
            }
            let mut there = places(&state);
            there.sort_unstable();
            prop_assert_eq!(&there, &alive.keys().copied().collect::<Vec<_>>());
            let held: usize = state.consumers.values().map(|s| s.held.len()).sum();
            let unacked: u64 = QUEUES.iter().map(|queue| state.depth(*queue).unacked).sum();
            prop_assert_eq!(held as u64, unacked);
            prop_assert!(state.consumers.values().all(|s| s.held.len() <= s.prefetch));
        }
    }
}
