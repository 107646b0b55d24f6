//! Messages that fail: each costs itself alone.

use detektor_contract::names::{HEADER_ATTEMPTS, HEADER_ERROR, HEADER_QUEUE};

use super::*;

#[tokio::test(start_paused = true)]
async fn one_failure_in_a_batch_costs_the_others_nothing() {
    let bench = Bench::new().batches(1, 8);
    for body in ["good", "bad", "unlucky"] {
        bench.queue.put(JOBS, body);
    }
    bench.act("bad", &[Act::Refuse]);
    bench.act("unlucky", &[Act::Away, Act::Away]);
    let report = bench.run().await;
    assert_eq!(report, HostReport { done: 2, dead: 1, ..HostReport::default() });
    assert_eq!(bench.calls(), ["good bad unlucky", "unlucky", "unlucky"]);
    assert_eq!(bench.queue.bodies(OUTCOMES), ["good!", "unlucky!"]);
    let [letter] = &bench.queue.messages(DEAD)[..] else { panic!("one dead letter") };
    assert_eq!(body(letter), "bad");
    assert_eq!(letter.headers[HEADER_ERROR], "no video in it");
    assert_eq!(letter.headers[HEADER_ATTEMPTS], "1");
    assert_eq!(letter.headers[HEADER_QUEUE], "detect.03");
    let log = bench.queue.log();
    let place = |line: &str| log.iter().position(|l| l == line).unwrap();
    assert!(place("publish dead.detect bad") < place("ack bad"));
}

#[tokio::test(start_paused = true)]
async fn what_panics_is_found_and_given_up_after_three_times_alone() {
    for act in [Act::Panic, Act::Hang] {
        let mut bench = Bench::new().batches(1, 8);
        // The end of the source begins the drain; here it is not to cut anything short.
        bench.config.drain_deadline = Duration::from_secs(600);
        for body in ["a", "poison", "b"] {
            bench.queue.put(JOBS, body);
        }
        bench.act("poison", &[act; 9]);
        let report = bench.run().await;
        assert_eq!(report, HostReport { done: 2, dead: 1, ..HostReport::default() }, "{act:?}");
        assert_eq!(bench.calls(), ["a poison b", "a", "poison", "b", "poison", "poison"], "{act:?}");
        let [letter] = &bench.queue.messages(DEAD)[..] else { panic!("one dead letter") };
        let expected =
            if act == Act::Panic { "the handler panicked: poisoned" } else { "the handler did not get on for 20s" };
        assert_eq!(letter.headers[HEADER_ERROR], expected);
        assert_eq!(letter.headers[HEADER_ATTEMPTS], "3");
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_gets_on_takes_as_long_as_it_takes() {
    let mut bench = Bench::new();
    // The end of the source begins the drain; here it is not to cut anything short.
    bench.config.drain_deadline = Duration::from_secs(600);
    bench.queue.put(JOBS, "long");
    bench.queue.end();
    let report = bench.start_with(handler_fn(|Batch(invocations)| async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            invocations[0].progress.made();
        }
        Ok(Reply::done(invocations.len()))
    }));
    assert_eq!(report.await.unwrap(), HostReport { done: 1, ..HostReport::default() });
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_does_not_come_back_costs_nothing() {
    let bench = Bench::new();
    bench.queue.put(JOBS, "a");
    bench.act("a", &[Act::Panic, Act::Hang]);
    let report = bench.run().await;
    assert_eq!(report, HostReport { done: 1, ..HostReport::default() });
    assert_eq!(bench.queue.bodies(OUTCOMES), ["a!"]);
}

#[tokio::test(start_paused = true)]
async fn the_handler_sees_attempts_rise() {
    let bench = Bench::new();
    bench.queue.put_again(JOBS, "a", 4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let attempts = Arc::clone(&seen);
    bench.queue.end();
    let host = bench.start_with(handler_fn(move |Batch(batch)| {
        attempts.lock().unwrap().push(batch[0].attempt);
        async move { panic!("again") }
    }));
    assert_eq!(host.await.unwrap().dead, 1);
    assert_eq!(*seen.lock().unwrap(), [4, 5, 6]);
    assert_eq!(bench.queue.messages(DEAD)[0].headers[HEADER_ATTEMPTS], "6");
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_first_await_is_caught_too() {
    let bench = Bench::new();
    bench.queue.put(JOBS, "a");
    bench.queue.end();
    let host = bench.start_with(handler_fn(|_| -> std::future::Ready<Result<Reply, HandlerError>> { panic!("early") }));
    assert_eq!(host.await.unwrap().dead, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_as_a_whole_is_taken_apart() {
    let bench = Bench::new().batches(1, 8);
    for body in ["a", "bad", "b"] {
        bench.queue.put(JOBS, body);
    }
    bench.queue.end();
    let host = bench.start_with(handler_fn(|Batch(batch)| async move {
        let bad = batch.iter().any(|i| body(&i.message) == "bad");
        if bad { Err(HandlerError::permanent("bad in it")) } else { Ok(Reply::done(batch.len())) }
    }));
    let report = host.await.unwrap();
    assert_eq!(report, HostReport { done: 2, dead: 1, ..HostReport::default() });
    assert_eq!(bench.queue.bodies(DEAD), ["bad"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_the_batch_settles_nothing() {
    let bench = Bench::new().batches(1, 8);
    bench.queue.put(JOBS, "a");
    bench.queue.put(JOBS, "b");
    bench.queue.end();
    let host = bench.start_with(handler_fn(|_| async { Ok(Reply::done(1)) }));
    assert_eq!(host.await.unwrap().done, 2, "alone, one answer is right");
    let bench = Bench::new();
    bench.queue.put(JOBS, "a");
    bench.queue.end();
    let host = bench.start_with(handler_fn(|_| async { Ok(Reply::done(0)) }));
    assert_eq!(host.await.unwrap().dead, 1);
    assert_eq!(bench.queue.messages(DEAD)[0].headers[HEADER_ERROR], "the handler answered 0 of 1 messages");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_goes_on_in_its_partition_and_never_dies_twice() {
    let mut bench = Bench::new();
    bench.config.source = vec![DEAD].into();
    let headers = BTreeMap::from([(HEADER_QUEUE.to_owned(), "detect.07".to_owned())]);
    bench.queue.put_message(DEAD, Message { body: "a".into(), headers }, 1);
    bench.queue.put(DEAD, "b");
    bench.act("a", &[Act::Refuse, Act::Panic, Act::Panic, Act::Panic, Act::Panic]);
    let report = bench.run().await;
    assert_eq!(report, HostReport { done: 2, ..HostReport::default() });
    assert_eq!(bench.queue.bodies(Queue::Work(Work::Merge, 7)), ["a!"]);
    assert_eq!(bench.queue.bodies(Queue::Work(Work::Merge, 0)), ["b!"]);
}
