//! The parts, wired to embedded backends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::queue::{Depth, QueueError, Queues};
use detektor_backends::store::EventStore;
use detektor_contract::names::{Queue, Work};
use detektor_dispatcher::CameraReport;
use detektor_merge::{DeadLetters, EventObjects, Merge, MergeConfig};
use detektor_runtime::http::Server;
use detektor_runtime::task::Supervisor;
use detektor_runtime::{Health, Host, HostConfig, Listen, Metrics};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::progress;
use super::summary::{CameraSummary, LatencySummary, Summary, rounded};
use crate::config::Config;

/// One process needs no more.
const PARTITION: u16 = 0;
/// Outcomes that one transaction takes in.
const MERGE_BATCH: u32 = 64;
/// How long a batch of outcomes waits for more: long enough to share a transaction, too short to be noticed.
const MERGE_LINGER: Duration = Duration::from_millis(5);
/// How often to look for cameras that waited too long behind a hole.
const SWEEP: Duration = Duration::from_secs(1);
/// How often to look whether everything is merged.
const POLL: Duration = Duration::from_millis(50);
