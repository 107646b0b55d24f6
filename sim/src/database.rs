//! The database, as its host has it and as others reach it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use detektor_backends::coordination::{
    BalancerSeen, Changed, Coordination, Expected, Lease, LeaseName, Load, Member, MemberSeen, Placed, Placement,
    Sight, Take, WantedCamera,
};
use detektor_backends::memory::MemoryDatabase;
use detektor_backends::store::{
    CameraInfo, CameraState, CameraUpdate, EpochRequest, EventCursor, EventFilter, EventStore, Feed, FeedPosition,
    MergeTx, Order, PendingObject, Pruned, Put, StoreError, StoredEvent, StoredFloor, Waiting,
};
use detektor_contract::{CameraId, Epoch, EpochRecord, Event, EventId, Gap, Outcome, Position, Seam, TimeUs};
use tokio::sync::Mutex;

use crate::history::History;
use crate::hosts::Flaw;
use crate::post::{Line, Office};

/// The host's name.
pub const DATABASE: &str = "database";
/// How often a relay looks whether the feed has grown.
const LOOK: Duration = Duration::from_millis(300);

type Result<T> = std::result::Result<T, StoreError>;

/// What the database keeps of one connection. A transaction ends with it.
pub struct Session {
    database: Arc<MemoryDatabase>,
    transaction: Mutex<Option<Box<dyn MergeTx>>>,
}

impl Session {
    /// No transaction is under way.
    pub fn new(database: Arc<MemoryDatabase>) -> Self {
        Self { database, transaction: Mutex::default() }
    }
}

/// The database as seen from another host.
pub struct RemoteDatabase {
    line: Line<Session>,
    history: History,
    flaw: Option<Flaw>,
}

impl RemoteDatabase {
    /// Reached when needed.
    pub fn new(office: &Office, history: History, flaw: Option<Flaw>) -> Arc<Self> {
        Arc::new(Self { line: Line::new(DATABASE, office.clone()), history, flaw })
    }
}

fn away() -> StoreError {
    StoreError::Unavailable { context: "no answer from the database".to_owned(), source: None }
}

/// Asks the database; what is named before the expression is cloned into the question.
macro_rules! ask {
    ($self:ident, [$($owned:ident = $of:expr),*], |$db:ident| $question:expr) => {{
        $(let $owned = $of;)*
        let asked = $self.line.call(move |session: Arc<Session>| async move {
            let $db = &session.database;
            $question.await
        });
        asked.await.unwrap_or_else(|| Err(away()))
    }};
}

#[async_trait]
impl EventStore for RemoteDatabase {
    async fn register_camera(&self, camera: &CameraId, redacted_url: &str) -> Result<()> {
        ask!(self, [camera = camera.clone(), url = redacted_url.to_owned()], |db| db.register_camera(&camera, &url))
    }

    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()> {
        ask!(self, [camera = camera.clone(), state = state.clone()], |db| db.set_camera_state(&camera, &state))
    }

    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        ask!(self, [camera = camera.clone()], |db| db.begin_epoch(&camera, request))
    }

    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64> {
        ask!(self, [camera = camera.clone()], |db| db.published(&camera, epoch))
    }

    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
        ask!(self, [camera = camera.clone()], |db| db.set_published(&camera, epoch, next))
    }

    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>> {
        let (line, cameras) = (self.line.another(), cameras.to_vec());
        let begun = line.call(move |session| async move {
            let begun = session.database.begin_merge(&cameras).await?;
            *session.transaction.lock().await = Some(begun);
            Ok(())
        });
        begun.await.unwrap_or_else(|| Err(away()))?;
        Ok(Box::new(RemoteMerge { line, history: self.history.clone(), flaw: self.flaw }))
    }

    async fn waiting_cameras(&self, before: i64, now: i64) -> Result<Vec<CameraId>> {
        ask!(self, [], |db| db.waiting_cameras(before, now))
    }

    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>> {
        ask!(self, [], |db| db.pending_objects(limit))
    }

    async fn objects_done(&self, done: &[PendingObject]) -> Result<()> {
        ask!(self, [done = done.to_vec()], |db| db.objects_done(&done))
    }

    async fn reindex_pending(&self) -> Result<bool> {
        ask!(self, [], |db| db.reindex_pending())
    }

    async fn begin_reindex(&self) -> Result<()> {
        ask!(self, [], |db| db.begin_reindex())
    }

    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()> {
        ask!(self, [records = records.to_vec()], |db| db.restore_epochs(&records))
    }

    async fn end_reindex(&self) -> Result<()> {
        ask!(self, [], |db| db.end_reindex())
    }

    async fn floors(&self) -> Result<BTreeMap<CameraId, Position>> {
        ask!(self, [], |db| db.floors())
    }

    async fn prune(&self, camera: &CameraId) -> Result<Pruned> {
        ask!(self, [camera = camera.clone()], |db| db.prune(&camera))
    }

    async fn prunable(&self, camera: &CameraId, floor: Position) -> Result<Pruned> {
        ask!(self, [camera = camera.clone()], |db| db.prunable(&camera, floor))
    }

    async fn prune_feed(&self, before_ms: i64) -> Result<u64> {
        ask!(self, [], |db| db.prune_feed(before_ms))
    }

    async fn prunable_feed(&self, before_ms: i64) -> Result<u64> {
        ask!(self, [], |db| db.prunable_feed(before_ms))
    }

    async fn cameras(&self) -> Result<Vec<CameraInfo>> {
        ask!(self, [], |db| db.cameras())
    }

    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        ask!(self, [filter = filter.clone(), after = after.cloned()], |db| {
            db.events(&filter, order, after.as_ref(), limit)
        })
    }

    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>> {
        ask!(self, [id = id.clone()], |db| db.event(&id))
    }

    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
        ask!(self, [camera = camera.clone()], |db| db.outcomes(&camera, from, limit))
    }

    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        ask!(self, [camera = camera.clone()], |db| db.outcomes_between(&camera, from, until, limit))
    }

    async fn gaps(&self, camera: &CameraId, before: Option<Position>, limit: u32) -> Result<Vec<(Position, Gap)>> {
        ask!(self, [camera = camera.clone()], |db| db.gaps(&camera, before, limit))
    }

    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        ask!(self, [camera = camera.clone()], |db| db.seams(&camera))
    }

    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>> {
        ask!(self, [camera = camera.clone()], |db| db.frontier(&camera))
    }

    async fn tombstones(&self) -> Result<Vec<Outcome>> {
        ask!(self, [], |db| db.tombstones())
    }

    async fn feed_head(&self) -> Result<FeedPosition> {
        ask!(self, [], |db| db.feed_head())
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed> {
        ask!(self, [], |db| db.feed(after, limit))
    }

    async fn feed_changed(&self) -> Result<()> {
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        ask!(self, [], |db| db.ping())
    }
}

#[async_trait]
impl Coordination for RemoteDatabase {
    async fn wanted(&self) -> Result<Vec<WantedCamera>> {
        ask!(self, [], |db| db.wanted())
    }

    async fn want(&self, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>> {
        ask!(self, [changes = changes.to_vec()], |db| db.want(&changes))
    }

    async fn want_if(&self, camera: &CameraId, spec: Option<&str>, expected: Expected) -> Result<Changed> {
        ask!(self, [camera = camera.clone(), spec = spec.map(str::to_owned)], |db| {
            db.want_if(&camera, spec.as_deref(), expected)
        })
    }

    async fn beat(&self, member: &Member, load: Load, first: bool) -> Result<Option<Sight>> {
        ask!(self, [member = member.clone()], |db| db.beat(&member, load, first))
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        ask!(self, [member = member.clone()], |db| db.leave(&member))
    }

    async fn members(&self) -> Result<Vec<MemberSeen>> {
        ask!(self, [], |db| db.members())
    }

    async fn forget(&self, seen: &MemberSeen) -> Result<()> {
        ask!(self, [seen = seen.clone()], |db| db.forget(&seen))
    }

    async fn set_costs(&self, costs: &[(CameraId, u32)]) -> Result<()> {
        ask!(self, [costs = costs.to_vec()], |db| db.set_costs(&costs))
    }

    async fn lease(&self, name: &LeaseName) -> Result<Option<Lease>> {
        ask!(self, [name = name.clone()], |db| db.lease(&name))
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        ask!(self, [], |db| db.leases())
    }

    async fn take(&self, take: &Take) -> Result<Option<Epoch>> {
        ask!(self, [take = take.clone(), history = self.history.clone(), flaw = self.flaw], |db| async {
            let mut taken = db.take(&take).await;
            if let (Ok(Some(epoch)), Some(seen), Some(Flaw::RepeatsEpochs)) = (&mut taken, take.seen, flaw) {
                *epoch = seen;
            }
            if let Ok(Some(epoch)) = taken {
                // Here, where it happens: the answer may be lost.
                history.taken(&take, epoch);
            }
            taken
        })
    }

    async fn give_back(&self, name: &LeaseName, epoch: Epoch) -> Result<()> {
        ask!(self, [name = name.clone()], |db| db.give_back(&name, epoch))
    }

    async fn balancer(&self) -> Result<Option<BalancerSeen>> {
        ask!(self, [], |db| db.balancer())
    }

    async fn renew_balancer(&self, epoch: Epoch) -> Result<bool> {
        ask!(self, [], |db| db.renew_balancer(epoch))
    }

    async fn placement(&self) -> Result<Placement> {
        ask!(self, [], |db| db.placement())
    }

    async fn place(&self, epoch: Epoch, moves: &[Placed], gone: &[CameraId]) -> Result<bool> {
        ask!(self, [moves = moves.to_vec(), gone = gone.to_vec()], |db| db.place(epoch, &moves, &gone))
    }

    async fn set_partitions(&self, partitions: u16) -> Result<()> {
        ask!(self, [], |db| db.set_partitions(partitions))
    }
}

/// A transaction over a connection of its own: dropping it hangs up.
struct RemoteMerge {
    line: Line<Session>,
    history: History,
    flaw: Option<Flaw>,
}

/// Asks the transaction; what is named before the expression is cloned into the question.
macro_rules! ask_merge {
    ($self:ident, [$($owned:ident = $of:expr),*], |$tx:ident| $question:expr) => {{
        $(let $owned = $of;)*
        let asked = $self.line.call(move |session: Arc<Session>| async move {
            let mut transaction = session.transaction.lock().await;
            // On another connection than it began there is none.
            let Some($tx) = transaction.as_mut() else { return Err(away()) };
            $question.await
        });
        asked.await.unwrap_or_else(|| Err(away()))
    }};
}

#[async_trait]
impl MergeTx for RemoteMerge {
    async fn put_all(&mut self, outcomes: &[&Outcome]) -> Result<Vec<Put>> {
        let outcomes: Vec<Outcome> = outcomes.iter().map(|outcome| (*outcome).clone()).collect();
        ask_merge!(self, [], |tx| tx.put_all(&outcomes.iter().collect::<Vec<_>>()))
    }

    async fn frontier(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.frontier(&camera))
    }

    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.head(&camera))
    }

    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.waiting(&camera))
    }

    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.last_outcome(&camera))
    }

    async fn checkpoint_before(
        &mut self,
        camera: &CameraId,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.checkpoint_before(&camera, position))
    }

    async fn old_checkpoint(
        &mut self,
        camera: &CameraId,
        ended: TimeUs,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.old_checkpoint(&camera, ended, position))
    }

    async fn floor(&mut self, camera: &CameraId) -> Result<Option<StoredFloor>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.floor(&camera))
    }

    async fn raise_floor(&mut self, camera: &CameraId, floor: &StoredFloor) -> Result<()> {
        ask_merge!(self, [camera = camera.clone(), floor = floor.clone()], |tx| tx.raise_floor(&camera, &floor))
    }

    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.outcomes_after(&camera, after, limit))
    }

    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.first_behind_seam(&camera, epoch, seam))
    }

    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.seams(&camera))
    }

    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>> {
        ask_merge!(self, [camera = camera.clone()], |tx| tx.events_touched_after(&camera, after))
    }

    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()> {
        self.history.updated(&update);
        ask_merge!(self, [], |tx| tx.update(update, tell))
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let flaw = self.flaw;
        let committed = self.line.call(move |session| async move {
            let Some(transaction) = session.transaction.lock().await.take() else { return Err(away()) };
            if flaw == Some(Flaw::ForgetsMerges) && fastrand::u8(..) == 0 {
                return Ok(());
            }
            transaction.commit().await
        });
        committed.await.unwrap_or_else(|| Err(away()))
    }
}
