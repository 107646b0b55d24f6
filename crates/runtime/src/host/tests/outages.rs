//! The surroundings are away: nothing is settled, rejected or taken until they are back.

use super::double::{ALL_AWAY, Away};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn outputs_wait_for_the_queue_and_the_work_is_not_done_again() {
    for away in [Away { publish: true, ..Away::default() }, Away { settle: true, ..Away::default() }, ALL_AWAY] {
        let bench = Bench::new();
        let host = bench.start(Duration::from_secs(1));
        bench.queue.put(JOBS, "a");
        bench.queue.put(JOBS, "b");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(bench.health.is_ready());
        bench.queue.set_away(away);
        tokio::time::sleep(10 * MINUTE).await;
        assert_eq!(bench.calls(), ["a"], "{away:?}: nothing new is taken");
        assert!(!bench.health.is_ready(), "{away:?}");

        bench.queue.set_away(Away::default());
        tokio::time::sleep(MINUTE).await;
        assert!(bench.health.is_ready());
        assert_eq!(bench.calls(), ["a", "b"], "{away:?}");
        assert_eq!(bench.queue.bodies(OUTCOMES), ["a!", "b!"], "{away:?}");
        bench.shutdown.cancel();
        assert_eq!(host.await.unwrap(), HostReport { done: 2, ..HostReport::default() });
        assert_eq!(bench.queue.given_back(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_permits_outage_holds_back_all() {
    let bench = Bench::new().batches(3, 1);
    bench.act("a", &[Act::Away; 200]);
    bench.queue.put(JOBS, "a");
    let host = bench.start(Duration::from_millis(1));
    tokio::time::sleep(MINUTE).await;
    bench.queue.put(JOBS, "b");
    bench.queue.put(JOBS, "c");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.calls().iter().all(|call| call == "a"), "{:?}", bench.calls());
    assert!(bench.calls().len() > 5);
    assert!(!bench.health.is_ready());
    tokio::time::sleep(20 * MINUTE).await;
    assert!(bench.health.is_ready());
    bench.shutdown.cancel();
    assert_eq!(host.await.unwrap(), HostReport { done: 3, ..HostReport::default() });
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_is_waited_for() {
    let bench = Bench::new();
    bench.queue.set_away(ALL_AWAY);
    let host = bench.start(Duration::from_millis(1));
    tokio::time::sleep(MINUTE).await;
    assert!(!bench.health.is_ready(), "not subscribed");
    bench.queue.set_away(Away::default());
    tokio::time::sleep(MINUTE).await;
    assert!(bench.health.is_ready());
    bench.queue.set_away(ALL_AWAY);
    tokio::time::sleep(MINUTE).await;
    assert!(!bench.health.is_ready(), "subscribed and away");
    bench.queue.put(JOBS, "a");
    bench.queue.set_away(Away::default());
    tokio::time::sleep(MINUTE).await;
    assert!(bench.health.is_ready());
    bench.shutdown.cancel();
    assert_eq!(host.await.unwrap().done, 1);
}

#[tokio::test(start_paused = true)]
async fn what_went_to_somebody_else_is_let_go() {
    let bench = Bench::new();
    bench.queue.put(JOBS, "a");
    let host = bench.start(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.queue.forget_held();
    tokio::time::sleep(MINUTE).await;
    bench.queue.put(JOBS, "b");
    tokio::time::sleep(MINUTE).await;
    bench.shutdown.cancel();
    assert_eq!(host.await.unwrap(), HostReport { done: 1, not_held: 1, ..HostReport::default() });
}
