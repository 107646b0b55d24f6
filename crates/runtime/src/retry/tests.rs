#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("away")]
struct Away {
    fault: Fault,
    hint: Option<Duration>,
}

impl Faulty for Away {
    fn fault(&self) -> Fault {
        self.fault
    }
    fn retry_after(&self) -> Option<Duration> {
        self.hint
    }
}

const TRANSIENT: Away = Away { fault: Fault::Transient, hint: None };

async fn patiently<T, F: Future<Output = Result<T, Away>>>(
    operation: impl FnMut() -> F,
) -> Result<T, RetryError<Away>> {
    retry("test", &Policy::default(), &CancellationToken::new(), operation).await
}

proptest! {
    #[test]
    fn waits_stay_within_bounds(first_ms in 0u64..10_000, cap_ms in 0u64..100_000, n in 0u32..200, draw in 0.0..1.0) {
        let policy = Policy {
            first: Duration::from_millis(first_ms), cap: Duration::from_millis(cap_ms), give_up_after: None,
        };
        prop_assert!(policy.ceiling(n) <= policy.cap);
        prop_assert!(policy.ceiling(n) <= policy.ceiling(n + 1));
        prop_assert!(policy.wait(n, None, draw) <= policy.ceiling(n));
    }

    #[test]
    fn a_hint_is_a_lower_bound_up_to_its_own_cap(hint_s in 0u64..u64::MAX, n in 0u32..50, draw in 0.0..1.0) {
        let policy = Policy::default();
        let hint = Duration::from_secs(hint_s);
        let wait = policy.wait(n, Some(hint), draw);
        prop_assert!(wait >= hint.min(HINT_MAX));
        prop_assert!(wait <= HINT_MAX + policy.cap);
    }
}

#[tokio::test(start_paused = true)]
async fn tries_until_it_works_and_no_longer() {
    let tries = AtomicU32::new(0);
    let result =
        patiently(|| async { if tries.fetch_add(1, Ordering::Relaxed) < 20 { Err(TRANSIENT) } else { Ok(7) } });
    assert_eq!(result.await.unwrap(), 7);
    assert_eq!(tries.into_inner(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_not_tried_again() {
    let tries = AtomicU32::new(0);
    let result: Result<(), _> = patiently(|| async {
        tries.fetch_add(1, Ordering::Relaxed);
        Err(Away { fault: Fault::Permanent, hint: None })
    })
    .await;
    assert_eq!(result.unwrap_err().fault(), Fault::Permanent);
    assert_eq!(tries.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn gives_up_before_the_limit_not_after() {
    let policy = Policy { give_up_after: Some(Duration::from_secs(5)), ..Policy::default() };
    let begin = Instant::now();
    let result: Result<(), _> = retry("test", &policy, &CancellationToken::new(), || async { Err(TRANSIENT) }).await;
    assert!(matches!(result, Err(RetryError::Failed(_))));
    assert!(begin.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_hint_holds_the_next_try_back() {
    let begin = Instant::now();
    let tries = AtomicU32::new(0);
    let result = patiently(|| async {
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Away { fault: Fault::Transient, hint: Some(Duration::from_secs(30)) }),
            _ => Ok(begin.elapsed()),
        }
    });
    assert!(result.await.unwrap() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn cancellation_ends_a_wait_and_a_hanging_try() {
    for hang in [false, true] {
        let cancel = CancellationToken::new();
        let policy = Policy { first: Duration::from_secs(600), cap: Duration::from_secs(600), give_up_after: None };
        let operation = || async move {
            if hang {
                std::future::pending::<()>().await;
            }
            Err::<(), _>(TRANSIENT)
        };
        let begin = Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            cancel.cancel();
        };
        let (result, ()) = tokio::join!(retry("test", &policy, &cancel, operation), stop);
        if let Err(RetryError::Cancelled) = result {
            assert!(begin.elapsed() < Duration::from_secs(1));
        } else {
            panic!("{result:?}");
        }
    }
}
