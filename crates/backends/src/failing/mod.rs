//! Backends that fail on purpose, for tests of what happens then.
//!
//! A [`Plan`] says which call fails and when; wrappers ask it around every call. A call that fails *after* its effect is
//! what a lost answer looks like: the work is done, and the caller does not know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::around::{Around, AroundBucket, AroundCoordination, AroundQueues, AroundStore, Away};
use crate::queue::{Consumer, Delivery, QueueError, Settle};

/// A bucket under a plan.
pub type FailingBucket = AroundBucket<Plan>;
/// A coordination under a plan.
pub type FailingCoordination = AroundCoordination<Plan>;
/// Queues under a plan.
pub type FailingQueues = AroundQueues<Plan>;
/// An event store under a plan.
pub type FailingStore = AroundStore<Plan>;

/// Whether a call that fails has had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has not.
    Before,
    /// It has.
    After,
}

#[derive(Debug)]
struct Rule {
    call: Option<&'static str>,
    moment: Moment,
    /// How many calls it still lets pass.
    passes: u64,
    /// How many it then fails.
    fails: u64,
}

/// Which calls fail. Shared by the wrappers that a test makes with it, so that "the fifth call" counts over all of them.
#[derive(Debug, Default)]
pub struct Plan {
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<&'static str>>,
}

/// A call that failed on purpose.
#[derive(Debug, thiserror::Error)]
#[error("{0} fails on purpose")]
pub struct OnPurpose(pub &'static str);

impl Plan {
    /// Nothing fails yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Fails the `nth` call from now on (0 is the next), whichever it is.
    pub fn fail_nth(&self, nth: u64, moment: Moment) {
        self.rules().push(Rule { call: None, moment, passes: nth, fails: 1 });
    }

    /// Fails `times` calls of one name, such as `"commit"` or `"put"`, after letting `nth` of them pass.
    pub fn fail_call(&self, call: &'static str, nth: u64, moment: Moment, times: u64) {
        self.rules().push(Rule { call: Some(call), moment, passes: nth, fails: times });
    }

    /// Fails every call from now on, without effect: the backend is away.
    pub fn fail_all(&self) {
        self.rules().push(Rule { call: None, moment: Moment::Before, passes: 0, fails: u64::MAX });
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.rules().clear();
    }

    /// The names of all calls so far, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. Says when it fails, if it does.
    fn next(&self, call: &'static str) -> Option<Moment> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        let mut failing = None;
        for rule in self.rules().iter_mut().filter(|rule| rule.call.is_none_or(|name| name == call)) {
            if rule.passes > 0 {
                rule.passes -= 1;
            } else if rule.fails > 0 && failing.is_none() {
                rule.fails = rule.fails.saturating_sub(u64::from(rule.fails != u64::MAX));
                failing = Some(rule.moment);
            }
        }
        failing
    }
}

#[async_trait]
impl Around for Plan {
    async fn call<T: Send, E: Away>(
        &self,
        call: &'static str,
        made: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        match self.next(call) {
            None => made.await,
            Some(Moment::Before) => Err(E::away(OnPurpose(call).into())),
            Some(Moment::After) => {
                made.await?;
                Err(E::away(OnPurpose(call).into()))
            }
        }
    }

    fn admit<E: Away>(&self, call: &'static str) -> Result<(), E> {
        self.next(call).map_or(Ok(()), |_| Err(E::away(OnPurpose(call).into())))
    }

    /// One that fails after its effect has given the delivery back.
    async fn receive(&self, consumer: &dyn Consumer) -> Result<Delivery, QueueError> {
        let failed = || Err(QueueError::away(OnPurpose("receive").into()));
        match self.next("receive") {
            None => consumer.receive().await,
            Some(Moment::Before) => failed(),
            Some(Moment::After) => {
                let lost = consumer.receive().await?;
                consumer.settle(lost.tag, Settle::Requeue).await?;
                failed()
            }
        }
    }
}

#[cfg(test)]
mod tests;
