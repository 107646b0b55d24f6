//! A camera's lease, as the camera sees it: to be taken at the first key frame, or held already.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use detektor_backends::coordination::{Coordination, LeaseName, Member, Take};
use detektor_backends::store::StoreError;
use detektor_contract::{CameraId, Epoch, Seam};
use detektor_runtime::chain;

/// How long to try to take a lease at one key frame. Frames wait meanwhile, and the older holder has them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The Unix time in milliseconds. Only for epochs and for people; a simulation has its own.
pub type UnixMillis = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock.
pub fn system_millis() -> UnixMillis {
    Arc::new(|| u64::try_from(detektor_runtime::unix_us() / 1_000).unwrap_or_default())
}

/// The right to slice a camera.
#[derive(Clone)]
pub struct Claim {
    pub(super) coordination: Arc<dyn Coordination>,
    pub(super) camera: CameraId,
    pub(super) member: Member,
    pub(super) now_ms: UnixMillis,
    /// The epoch that the lease was seen with.
    pub(super) seen: Option<Epoch>,
    /// A living dispatcher holds it, and goes on until it sees the newer epoch.
    pub(super) hand_over: bool,
    /// Whether the lease's epoch is the camera's.
    pub(super) live: bool,
    pub(super) epoch: Arc<OnceLock<Epoch>>,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The camera is ours from this seam on, in this epoch.
    Ours(Epoch, Seam),
    /// The database is away: try again at the next key frame.
    NotNow,
    /// Another took it, or may have.
    Lost,
}

impl Claim {
    /// The epoch, once the camera is ours.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch.get().copied()
    }

    /// Makes the camera ours from a seam on: the first key frame that was received. Does nothing if it is ours already; then
    /// nobody else has that key frame, and the seam is by time alone.
    pub async fn begin(&self, seam: Seam) -> Claimed {
        if let Some(epoch) = self.epoch() {
            return Claimed::Ours(epoch, Seam { key_frame: None, ..seam });
        }
        let seam = if self.hand_over { seam } else { Seam { key_frame: None, ..seam } };
        match tokio::time::timeout(PATIENCE, self.try_on(Some(seam))).await {
            Ok(Some(epoch)) => Claimed::Ours(epoch, seam),
            Ok(None) => Claimed::Lost,
            Err(_) => Claimed::NotNow,
        }
    }

    /// Makes the camera ours before it is opened; false if another took it.
    pub(super) async fn take_now(&self) -> bool {
        self.try_on(None).await.is_some()
    }

    /// Gives the lease back, if it is ours.
    pub(super) async fn give_back(&self) {
        let Some(epoch) = self.epoch() else { return };
        let name = LeaseName::Camera(self.camera.clone());
        // If it fails, the next beat finds a lease that nobody here works under.
        match tokio::time::timeout(PATIENCE, self.coordination.give_back(&name, epoch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(camera = %self.camera, error = chain(&error), "the lease stays for now"),
            Err(_) => tracing::debug!(camera = %self.camera, "the lease stays for now"),
        }
    }

    /// Takes the lease, however often the database must be asked; none if another took it.
    async fn try_on(&self, seam: Option<Seam>) -> Option<Epoch> {
        let (name, holder) = (LeaseName::Camera(self.camera.clone()), self.member.clone());
        let mut take = Take { name, seen: self.seen, holder, now_ms: 0, live: self.live, seam };
        loop {
            // Anew at each try: a database that was put back after a take whose answer was lost would give out its epoch again.
            take.now_ms = (self.now_ms)();
            match self.try_once(&mut take).await {
                Ok(Try::Taken(epoch)) => return Some(*self.epoch.get_or_init(|| epoch)),
                Ok(Try::Lost) => return None,
                Ok(Try::Again) => {}
                Err(error) => {
                    tracing::debug!(camera = %self.camera, error = chain(&error), "the lease is not taken yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn try_once(&self, take: &mut Take) -> Result<Try, StoreError> {
        if let Some(epoch) = self.coordination.take(take).await? {
            return Ok(Try::Taken(epoch));
        }
        // Where an answer was lost, it is this member itself that was quicker: it takes the lease from itself.
        let lease = self.coordination.lease(&take.name).await?;
        match lease.filter(|lease| lease.holder.as_ref() == Some(&take.holder) && Some(lease.epoch) > take.seen) {
            Some(lease) => {
                take.seen = Some(lease.epoch);
                Ok(Try::Again)
            }
            None => Ok(Try::Lost),
        }
    }
}

enum Try {
    Taken(Epoch),
    Again,
    Lost,
}
