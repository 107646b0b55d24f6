//! Shutdown while work is in flight.

use super::double::Away;
use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_held_is_finished_and_nothing_is_delivered_again() {
    let bench = Bench::new().batches(2, 2);
    for n in 0..10 {
        bench.queue.put(JOBS, &n.to_string());
    }
    let host = bench.start(Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.shutdown.cancel();
    let begin = Instant::now();
    let report = host.await.unwrap();
    assert_eq!(report, HostReport { done: 4, ..HostReport::default() });
    assert_eq!(begin.elapsed().as_secs(), 9, "no longer than the work takes");
    assert_eq!(bench.queue.bodies(OUTCOMES).len(), 4);
    assert_eq!(bench.queue.bodies(JOBS), ["4", "5", "6", "7", "8", "9"], "the others can have the rest");
    assert_eq!(bench.queue.given_back(), 0);
    assert!(!bench.health.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_still_gathering_is_finished_too() {
    let mut bench = Bench::new().batches(1, 8);
    bench.config.batch_linger = Duration::from_secs(4);
    bench.queue.put(JOBS, "a");
    bench.queue.put(JOBS, "b");
    bench.queue.put_again(JOBS, "c", 2);
    let host = bench.start(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.shutdown.cancel();
    assert_eq!(host.await.unwrap().done, 3);
    assert_eq!(bench.calls(), ["a b", "c"]);
    assert_eq!(bench.queue.given_back(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_within_the_drain_costs_nothing() {
    let bench = Bench::new();
    bench.queue.put(JOBS, "a");
    let host = bench.start(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.queue.set_away(Away { publish: true, ..Away::default() });
    bench.shutdown.cancel();
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.queue.set_away(Away::default());
    assert_eq!(host.await.unwrap(), HostReport { done: 1, ..HostReport::default() });
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_drain_goes_back_unsettled() {
    let bench = Bench::new();
    bench.queue.put(JOBS, "a");
    bench.act("a", &[Act::Away; 1000]);
    let host = bench.start(Duration::from_millis(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.shutdown.cancel();
    let begin = Instant::now();
    assert_eq!(host.await.unwrap(), HostReport { given_back: 1, ..HostReport::default() });
    assert_eq!(begin.elapsed().as_secs(), bench.config.drain_deadline.as_secs());
    assert_eq!(bench.queue.bodies(JOBS), ["a"]);
    assert_eq!(bench.queue.bodies(DEAD), [""; 0], "it was not its fault");
}

#[tokio::test(start_paused = true)]
async fn shutdown_while_subscribing_or_idle_is_prompt() {
    for away in [false, true] {
        let bench = Bench::new();
        bench.queue.set_away(Away { receive: away, ..Away::default() });
        let host = bench.start(Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(100)).await;
        let begin = Instant::now();
        bench.shutdown.cancel();
        assert_eq!(host.await.unwrap(), HostReport::default());
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}
