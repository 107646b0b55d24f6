//! Whatever handlers and surroundings do: every message ends once, after its output, and is delivered once.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::double::Away;
use super::*;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Succeed),
        2 => Just(Act::Away),
        1 => Just(Act::Refuse),
        1 => Just(Act::Panic),
        1 => Just(Act::Hang),
    ]
}

fn away() -> impl Strategy<Value = (Away, u64)> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1u64..20)
        .prop_map(|(publish, receive, settle, seconds)| (Away { publish, receive, settle, ..Away::default() }, seconds))
}

/// What must become of a message: dead if it is refused, or strikes three times, before it succeeds. A strike counts only
/// where the message ran alone, so with neighbours it may take one more.
fn may_die(acts: &[Act]) -> bool {
    let end = acts.iter().position(|act| matches!(act, Act::Succeed)).unwrap_or(acts.len());
    let before = &acts[..end];
    before.contains(&Act::Refuse) || before.iter().filter(|a| matches!(a, Act::Panic | Act::Hang)).count() >= 3
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_message_ends_once(
        scripts in proptest::collection::vec(proptest::collection::vec(act(), 0..6), 1..12),
        first_attempts in proptest::collection::vec(1u32..3, 12),
        outages in proptest::collection::vec(away(), 0..6),
        permits in 1u32..4,
        batch_max in 1u32..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (bench, report) = runtime.block_on(async {
            let bench = Bench::new().batches(permits, batch_max);
            for (n, (script, attempt)) in scripts.iter().zip(&first_attempts).enumerate() {
                bench.act(&n.to_string(), script);
                bench.queue.put_again(JOBS, &n.to_string(), *attempt);
            }
            let host = bench.start(Duration::from_millis(300));
            for (away, seconds) in outages {
                bench.queue.set_away(away);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                bench.queue.set_away(Away::default());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            // Twelve messages that hang three times each, and every backoff.
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            bench.shutdown.cancel();
            let report = host.await.unwrap();
            (bench, report)
        });

        let count = scripts.len();
        prop_assert_eq!(report.done + report.dead, count as u64);
        prop_assert_eq!((report.not_held, report.given_back, bench.queue.given_back()), (0, 0, 0));
        prop_assert!(bench.queue.most_held() <= (permits * batch_max) as usize);

        let outputs = bench.queue.bodies(OUTCOMES);
        let dead = bench.queue.bodies(DEAD);
        let log = bench.queue.log();
        let ended: BTreeSet<String> =
            outputs.iter().map(|body| body.trim_end_matches('!').to_owned()).chain(dead.iter().cloned()).collect();
        prop_assert_eq!(ended.len(), count, "each one way or the other: {:?} {:?}", outputs, dead);
        for (n, script) in scripts.iter().enumerate() {
            let body = n.to_string();
            let place = |line: String| log.iter().position(|l| *l == line);
            let acks = log.iter().filter(|line| **line == format!("ack {body}")).count();
            prop_assert_eq!(acks, 1, "{} acked", &body);
            let acked = place(format!("ack {body}")).unwrap();
            let published =
                place(format!("publish merge.03 {body}!")).or(place(format!("publish dead.detect {body}"))).unwrap();
            prop_assert!(published < acked, "settle last");
            if dead.contains(&body) {
                prop_assert!(may_die(script), "{} died of {:?}", body, script);
            }
        }
    }
}
