//! Whatever order outcomes come in, however often, in whatever batches: the store says what the set says, and the outcome
//! log says it once more.

#![allow(clippy::unwrap_used)]

mod support;

// Where the sets are made, this is what footage is called.
use support::footage as common;
#[path = "../../../crates/contract/tests/common/sets.rs"]
mod sets;

use std::time::Duration;

use detektor_contract::Outcome;
use detektor_contract::fold::project;
use detektor_merge::reindex;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::{World, camera, merge};

async fn check(set: &[Outcome], sent: &[Outcome], batches: &[(usize, u64)]) {
    let world = World::new().await;
    let function = world.merge();
    let (mut rest, mut batches) = (sent, batches.iter().cycle());
    while !rest.is_empty() {
        let (size, seconds) = batches.next().unwrap();
        let (batch, later) = rest.split_at(rest.len().min(*size));
        merge(&function, batch).await.unwrap();
        world.pass(Duration::from_secs(*seconds));
        function.sweep().await.unwrap();
        rest = later;
    }
    loop {
        world.pass(Duration::from_secs(10));
        if function.sweep().await.unwrap() == 0 {
            break;
        }
    }
    let expected = project(&camera(), set);
    world.agrees_with(&expected).await;
    reindex(&*world.store(), &*world.bucket(), |_| {}).await.unwrap();
    world.agrees_with(&expected).await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, rng_seed: RngSeed::Fixed(4), failure_persistence: None, max_shrink_iters: 50,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_order_gives_what_the_set_gives(
        (set, sent) in sets::deliveries(),
        batches in prop::collection::vec((1usize..20, 0u64..8), 1..10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&set, &sent, &batches));
    }
}
