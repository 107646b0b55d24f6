//! Who runs what: the cameras that are wanted, the dispatchers there are, the leases that they hold, and the placement of
//! cameras. It lives in the event store's database.
//!
//! No clock of one machine is compared with another's. A lease has no expiry: whoever wants one that is held watches its
//! holder, and takes it once the holder's `renewal` has not changed for a whole time-to-live of the watcher's own clock.
//! What makes that safe is not the watching but the epoch: it rises with every take, a take names the epoch that it saw, and
//! merge lets the newest epoch win.

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, Seam};
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// A process among those of its role. The name stays over restarts (a pod's name); the incarnation does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The name, unique among the processes that run: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Random at each start.
    pub incarnation: u64,
}

/// What a member does, for placement and for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The share of its processor time that it uses, in thousandths of one core.
    pub cpu_millis: u32,
    /// How many processor cores it may use, in thousandths. 0 if unknown.
    pub capacity_millis: u32,
    /// It is about to stop: nothing more is to be placed on it.
    pub leaving: bool,
}

/// A member as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberSeen {
    /// Who.
    pub member: Member,
    /// Rises with every beat of this incarnation.
    pub renewal: u64,
    /// What it said last.
    pub load: Load,
}

/// What a lease is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseName {
    /// To slice a camera.
    Camera(CameraId),
    /// To place cameras.
    Balancer,
}

/// A lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: LeaseName,
    /// Who has it; none if it was given back.
    pub holder: Option<Member>,
    /// Rises with every take. A live camera's segments have it as their epoch.
    pub epoch: Epoch,
    /// The seam that the taker named.
    pub seam: Option<Seam>,
}

/// To take a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Which.
    pub name: LeaseName,
    /// The epoch that the lease was seen with; none if there was no such lease. With another it is not taken.
    pub seen: Option<Epoch>,
    /// Who takes it.
    pub holder: Member,
    /// The Unix time in milliseconds. The new epoch is above it, above the lease's last, and above every epoch that the
    /// camera's outcomes and epochs have.
    pub now_ms: u64,
    /// Whether the camera is live: the new epoch is then noted as one of its epochs.
    pub live: bool,
    /// Where the new epoch begins, if that is known already.
    pub seam: Option<Seam>,
}

/// A camera that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCamera {
    /// Its name.
    pub id: CameraId,
    /// Rises with every change of it, also where it was not wanted in between.
    pub revision: u64,
    /// What it is, as one JSON object. Names secrets, holds none.
    pub spec: String,
}

/// What a change of one camera takes for granted. It changes nothing where that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is not wanted.
    Absent,
    /// It is wanted, however.
    Present,
    /// It is wanted with this revision.
    Revision(u64),
}

impl Expected {
    /// Whether a camera with this revision, or one that is not wanted, is as expected.
    pub fn holds(self, revision: Option<u64>) -> bool {
        match self {
            Self::Absent => revision.is_none(),
            Self::Present => revision.is_some(),
            Self::Revision(expected) => revision == Some(expected),
        }
    }
}

/// What became of the change of one camera. A revision is none where the camera is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is as it was asked for, with this revision; perhaps it was before.
    Done(Option<u64>),
    /// It has this revision, which was not expected; nothing is changed.
    Unexpected(Option<u64>),
}

/// Where a camera's work is done, and since which change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Which camera.
    pub camera: CameraId,
    /// The name of the dispatcher that slices it; none while there is none.
    pub dispatcher: Option<String>,
    /// The partition of its queues.
    pub partition: u16,
    /// What it costs to slice, in thousandths of a core, as last measured; 0 if it never was.
    pub cost_millis: u32,
    /// Why it is where it is, for people.
    pub reason: String,
    /// When it was last moved, in Unix milliseconds. For people only.
    pub moved_ms: u64,
}

/// The placement as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Rises with every change, but not with costs.
    pub revision: u64,
    /// How many partitions there are to be, 0 until somebody says so. New work goes to those below this number.
    pub partitions: u16,
    /// Every camera that is placed, in id order.
    pub cameras: Vec<Placed>,
}

/// A camera that concerns a dispatcher.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSeen {
    /// Which.
    pub id: CameraId,
    /// What it is; none if it is wanted no longer.
    pub wanted: Option<WantedCamera>,
    /// Where it is placed; none if it is not in the placement.
    pub placed: Option<Placed>,
    /// Its lease; none if it was never taken.
    pub lease: Option<Lease>,
}

/// What a dispatcher needs to know at each beat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// All dispatchers, in the order of their names.
    pub members: Vec<MemberSeen>,
    /// How many partitions there are to be, 0 until somebody says so.
    pub partitions: u16,
    /// Every camera that is placed on this dispatcher or whose lease this incarnation holds, in id order.
    pub cameras: Vec<CameraSeen>,
}

/// The balancer's lease, and its holder's sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerSeen {
    /// The lease.
    pub lease: Lease,
    /// Rises each time that the holder says that it lives.
    pub renewal: u64,
}

/// Who runs what.
#[async_trait]
pub trait Coordination: Send + Sync + 'static {
    // --- cameras ---

    /// All cameras that are wanted, in id order.
    async fn wanted(&self) -> Result<Vec<WantedCamera>>;
    /// Wants these as they are (`Some`), or no longer (`None`), all at once. One that is as it was keeps its revision.
    /// Returns those that changed.
    async fn want(&self, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>>;

    /// Wants one camera as it is (`Some`), or no longer (`None`), if it is as `expected`.
    async fn want_if(&self, camera: &CameraId, spec: Option<&str>, expected: Expected) -> Result<Changed>;

    // --- dispatchers ---

    /// Says that a member lives and what it does; returns what concerns it. None if another incarnation has its name since:
    /// then this process has to stop. The first beat of an incarnation takes the name over from the one before; a later one
    /// brings back a member that was forgotten.
    async fn beat(&self, member: &Member, load: Load, first: bool) -> Result<Option<Sight>>;
    /// Says that a member is gone, and gives back all leases that this incarnation holds.
    async fn leave(&self, member: &Member) -> Result<()>;
    /// All members, in the order of their names.
    async fn members(&self) -> Result<Vec<MemberSeen>>;
    /// Forgets a member that is dead as seen: with another renewal since, nothing happens. Its leases stay as they are.
    async fn forget(&self, seen: &MemberSeen) -> Result<()>;
    /// Notes what cameras cost, in thousandths of a core. Of a camera that is not in the placement, nothing.
    async fn set_costs(&self, costs: &[(CameraId, u32)]) -> Result<()>;

    // --- leases ---

    /// A lease; none if it was never taken.
    async fn lease(&self, name: &LeaseName) -> Result<Option<Lease>>;
    /// Every lease, in the order of their names.
    async fn leases(&self) -> Result<Vec<Lease>>;
    /// Takes a lease; its new epoch, or none where it is not as it was seen.
    async fn take(&self, take: &Take) -> Result<Option<Epoch>>;
    /// Gives a lease back; nothing if it has another epoch meanwhile.
    async fn give_back(&self, name: &LeaseName, epoch: Epoch) -> Result<()>;

    // --- the balancer ---

    /// The balancer's lease; none if it was never taken.
    async fn balancer(&self) -> Result<Option<BalancerSeen>>;
    /// Says that the balancer with this epoch lives; false if it holds the lease no longer.
    async fn renew_balancer(&self, epoch: Epoch) -> Result<bool>;
    /// The placement.
    async fn placement(&self) -> Result<Placement>;
    /// Writes rows of the placement (`moves`) and removes rows (`gone`), as the balancer with this epoch; false, and nothing is
    /// written, if it holds the lease no longer. A row's cost stays as it is, and is 0 in a new one.
    async fn place(&self, epoch: Epoch, moves: &[Placed], gone: &[CameraId]) -> Result<bool>;
    /// Sets how many partitions there are to be. 0 counts as 1.
    async fn set_partitions(&self, partitions: u16) -> Result<()>;
}
