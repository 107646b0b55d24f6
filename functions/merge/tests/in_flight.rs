//! What large jobs travelled in goes once they are through.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use detektor_contract::*;
use detektor_merge::InFlight;
use support::footage::Footage;
use support::{World, merge};

#[tokio::test]
async fn videos_go_once_their_segments_are_through() {
    let world = World::new().await;
    let mut footage = Footage::live();
    footage.looks(1.0, |_| vec![]).shed(1).tombstone(5).looks(1.0, |_| vec![]);
    let keys: Vec<ObjectKey> = footage.outcomes.iter().map(|outcome| ObjectKey::in_flight(&outcome.id)).collect();
    for key in &keys {
        world.bucket().put(key, Bytes::from_static(b"video")).await.unwrap();
    }
    let in_flight = InFlight::new(world.store(), world.bucket());
    assert!(in_flight.through().await.unwrap().is_empty());

    // The last one is still on its way; the failed one is kept for a replay.
    merge(&world.merge(), &footage.outcomes[..3]).await.unwrap();
    let through = in_flight.through().await.unwrap();
    assert_eq!(through.iter().collect::<Vec<_>>(), [&keys[0], &keys[1]]);
    in_flight.remove(&through).await.unwrap();
    assert_eq!(world.keys(ObjectKey::IN_FLIGHT).await, keys[2..]);

    // The replay wins.
    let replayed = Outcome { generation: 1, id: footage.outcomes[2].id.clone(), ..footage.outcomes[3].clone() };
    merge(&world.merge(), &[replayed]).await.unwrap();
    assert_eq!(in_flight.through().await.unwrap().into_iter().collect::<Vec<_>>(), keys[2..3]);
}
