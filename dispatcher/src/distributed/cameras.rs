//! What an agent asks of the cameras that it runs. No more than this, so that agents are tested without video.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use detektor_backends::coordination::{Load, WantedCamera};
use detektor_contract::{CameraId, Digest, EndReason};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Claim;

/// How a camera goes from one dispatcher to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Live, and it serves several at once: the new one has the stream before the old one lets go.
    MakeBeforeBreak,
    /// Live, and it serves one at a time: the old one lets go first, and a gap is left.
    BreakBeforeMake,
    /// It gives the same each time: the old one lets go first, and nothing is lost. It has epochs of its own.
    Replayable,
}

/// What a camera is to do. May change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it is.
    pub wanted: WantedCamera,
    /// Where its work goes, from the next segment on.
    pub partition: u16,
}

/// When to stop, and why.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<EndReason>>,
    seam: Arc<OnceLock<Digest>>,
}

impl Stop {
    /// Stops it. The first reason counts.
    pub fn stop(&self, reason: EndReason) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Stops it because another dispatcher has the camera, from a key frame on if it says so.
    pub fn hand_over(&self, key_frame: Option<Digest>) {
        if let Some(key_frame) = key_frame {
            self.seam.get_or_init(|| key_frame);
        }
        self.stop(EndReason::HandedOver);
    }

    /// The key frame at which another dispatcher took over; what comes before it is still ours.
    pub fn seam(&self) -> Option<Digest> {
        self.seam.get().copied()
    }

    /// Whether it has to stop.
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// What is cancelled when it has to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why it had to stop.
    pub fn reason(&self) -> EndReason {
        self.reason.get().copied().unwrap_or(EndReason::Stopped)
    }
}

/// A camera to be run.
pub struct Duty {
    /// Which.
    pub camera: CameraId,
    /// Its order as it is, and as it will be.
    pub orders: watch::Receiver<Order>,
    /// The right to it. A live camera publishes nothing before it has begun its claim.
    pub claim: Claim,
    /// When to stop.
    pub stop: Stop,
}

/// How a duty ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// Nothing more will come: a file is through.
    Over,
    /// It cannot be run as it is wanted. For people, without credentials.
    Failed(String),
    /// Its claim was lost to another.
    Lost,
}

/// What running cameras costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// What the process uses. Whether it is about to stop is not for it to say.
    pub load: Load,
    /// What cameras cost, in thousandths of a core; those that were measured.
    pub costs: Vec<(CameraId, u32)>,
}

/// Runs cameras.
#[async_trait]
pub trait Cameras: Send + Sync + 'static {
    /// How a camera is handed over, or what is wrong with its specification.
    fn manner(&self, wanted: &WantedCamera) -> Result<Manner, String>;

    /// Whether a camera that runs as `old` has to begin again to be as `new`.
    fn needs_restart(&self, old: &WantedCamera, new: &WantedCamera) -> bool;

    /// Runs a camera until it ends, or is stopped and all that it had is published.
    async fn run(&self, duty: Duty) -> Ended;

    /// What it costs.
    fn measured(&self) -> Measured;
}
