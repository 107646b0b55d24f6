//! A host takes from the partitions that there are.

use detektor_backends::queue::Standing;

use super::double::Away;
use super::*;

const LOOK: Duration = Duration::from_secs(5);

fn detect(partition: u16) -> Queue {
    Queue::Work(Work::Detect, partition)
}

#[tokio::test(start_paused = true)]
async fn partitions_that_come_and_go_are_followed() {
    let mut bench = Bench::new();
    bench.config.source = Work::Detect.into();
    bench.queue.set_partition(Queue::Work(Work::Merge, 0), Some(Standing::Open));
    let host = bench.start(Duration::from_millis(1));
    let put = |partition, body| bench.queue.put(detect(partition), body);

    // There is none yet.
    put(0, "a");
    tokio::time::sleep(LOOK).await;
    assert_eq!(bench.calls(), [""; 0]);
    bench.queue.set_partition(detect(0), Some(Standing::Open));
    tokio::time::sleep(LOOK).await;
    assert_eq!(bench.calls(), ["a"]);

    // While nobody says which there are, it goes on where it is.
    bench.queue.set_partition(detect(1), Some(Standing::Open));
    bench.queue.set_away(Away { partitions: true, ..Away::default() });
    put(0, "b");
    put(1, "c");
    tokio::time::sleep(10 * LOOK).await;
    assert_eq!(bench.calls(), ["a", "b"]);
    assert!(bench.health.is_ready());
    bench.queue.set_away(Away::default());
    tokio::time::sleep(LOOK).await;
    assert_eq!(bench.calls(), ["a", "b", "c"]);

    // One that is retired is emptied, one that is gone is left alone.
    put(1, "d");
    bench.queue.set_partition(detect(1), Some(Standing::Retired));
    tokio::time::sleep(LOOK).await;
    bench.queue.set_partition(detect(1), None);
    tokio::time::sleep(LOOK).await;
    let turns: Vec<String> = bench.queue.log().into_iter().filter(|line| line.starts_with("turn")).collect();
    let expected =
        ["turn to detect.00; ", "turn to detect.00 detect.01; ", "turn to detect.00; detect.01", "turn to detect.00; "];
    assert_eq!(turns, expected);
    assert_eq!(bench.calls(), ["a", "b", "c", "d"]);
    bench.shutdown.cancel();
    assert_eq!(host.await.unwrap().done, 4);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_begins_empties_what_is_retired() {
    let mut bench = Bench::new();
    bench.config.source = Work::Detect.into();
    bench.queue.set_partition(detect(0), Some(Standing::Open));
    bench.queue.set_partition(detect(4), Some(Standing::Retired));
    bench.queue.put(detect(4), "left");
    let report = bench.run().await;
    assert_eq!((report.done, bench.calls()), (1, vec!["left".to_owned()]));
}
