//! Named checks: what readiness is made of.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every check of a process. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, State>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Passes,
    /// Worth knowing, and no reason to be taken out of service.
    Noted(String),
    Fails(String),
}

/// One part's check. Dropping it leaves the last word said.
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    health: Health,
}

/// What all checks say.
pub(super) struct Report {
    pub(super) ready: bool,
    /// One line a check, as Kubernetes's components print them.
    pub(super) lines: String,
}

impl Health {
    /// No checks yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// A check that fails, as `starting`, until it is told otherwise. A name taken twice is one check.
    pub fn check(&self, name: impl Into<String>) -> Check {
        let check = Check { name: name.into(), health: self.clone() };
        check.fail("starting");
        check
    }

    /// Whether every check passes.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|state| !matches!(state, State::Fails(_)))
    }

    pub(super) fn report(&self) -> Report {
        let checks = self.lock();
        let mut lines = String::new();
        for (name, state) in &*checks {
            // Writing to a String cannot fail.
            let _ = match state {
                State::Passes => writeln!(lines, "[+]{name} ok"),
                State::Noted(note) => writeln!(lines, "[~]{name}: {note}"),
                State::Fails(reason) => writeln!(lines, "[-]{name} failed: {reason}"),
            };
        }
        drop(checks);
        Report { ready: self.is_ready(), lines }
    }

    /// Each check as a gauge in Prometheus's text format: 1 where it fails. Names come from the program, never from a request.
    pub(super) fn text(&self) -> String {
        const NAME: &str = "detektor_health_failed_checks";
        let mut text =
            format!("# HELP {NAME} Whether a check keeps this process from being ready.\n# TYPE {NAME} gauge\n");
        for (name, state) in &*self.lock() {
            let failed = u8::from(matches!(state, State::Fails(_)));
            let _ = writeln!(text, "{NAME}{{check=\"{name}\"}} {failed}");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    /// All is well.
    pub fn pass(&self) {
        self.set(State::Passes);
    }

    /// It is not, for a reason in a line for people, without secrets.
    pub fn fail(&self, reason: impl Into<String>) {
        self.set(State::Fails(reason.into()));
    }

    /// Something is worth knowing that does not keep this process from its work.
    pub fn note(&self, note: impl Into<String>) {
        self.set(State::Noted(note.into()));
    }

    fn set(&self, state: State) {
        self.health.lock().insert(self.name.clone(), state);
    }
}
