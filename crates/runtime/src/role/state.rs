//! What a process holds in memory beside its code, declared: no process is to be the only one that knows something.

use serde::Serialize;

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldKind {
    /// Something that is elsewhere as well, or is made anew at each start.
    Cache,
    /// Work that was taken and is not settled.
    #[serde(rename = "in flight")]
    InFlight,
    /// Numbers for people, and what limits go by.
    Counters,
    /// What it may do, and others may not meanwhile.
    Lease,
    /// A way to somebody else.
    Connection,
}

/// Where the truth of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// The broker gives it to another, if it is not settled.
    Broker,
    /// The bucket.
    Bucket,
    /// The database.
    Database,
    /// The camera: a file is read again; what is lost of a live one is a gap in the ledger, with its times.
    Camera,
    /// Nobody misses it.
    #[serde(rename = "none needed")]
    NoneNeeded,
    /// This process, and nobody else: with it, something is lost. There is to be none such.
    Process,
}

/// Something that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name.
    pub name: &'static str,
    /// What kind of thing it is.
    pub kind: HeldKind,
    /// What it holds.
    pub holds: &'static str,
    /// Where the truth of it is.
    pub truth: Truth,
    /// The globals that it is in, each as `path/of/file.rs:NAME`.
    pub globals: &'static [&'static str],
}

impl Held {
    /// What is in no global.
    pub const fn new(name: &'static str, kind: HeldKind, truth: Truth, holds: &'static str) -> Self {
        Self { name, kind, holds, truth, globals: &[] }
    }

    /// What is in these globals.
    pub const fn in_globals(self, globals: &'static [&'static str]) -> Self {
        Self { globals, ..self }
    }
}

/// What every role holds.
pub const COMMON: &[Held] = &[
    Held::new(
        "connections",
        HeldKind::Connection,
        Truth::NoneNeeded,
        "to the servers, and of those who ask over HTTP; opened anew where they break",
    ),
    Held::new("numbers", HeldKind::Counters, Truth::NoneNeeded, "what /metrics shows, counted from each start"),
    Held::new("checks", HeldKind::Counters, Truth::NoneNeeded, "what /readyz says of this process"),
    Held::new(
        "breakers",
        HeldKind::Counters,
        Truth::NoneNeeded,
        "how many of the last calls to each server failed, so that it is left alone for a moment",
    ),
];
