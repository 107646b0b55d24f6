//! Who runs what, in the event store's database.
//!
//! Rows are locked in one order, so that nobody waits in a circle: leases, placement, the one row of `coordination`,
//! wanted cameras.

mod leases;
mod members;
mod placement;
mod wanted;

use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch};

use super::dialect::{self, Database, Doing};
use crate::coordination::{
    BalancerSeen, Changed, Coordination, Expected, Lease, LeaseName, Load, Member, MemberSeen, Placed, Placement,
    Sight, Take, WantedCamera,
};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// The coordination of one database.
pub(crate) struct SqlCoordination {
    db: Arc<Database>,
}

impl SqlCoordination {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Coordination for SqlCoordination {
    async fn wanted(&self) -> Result<Vec<WantedCamera>> {
        wanted::list(&mut *self.db.read().await?).await
    }

    async fn want(&self, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>> {
        let mut writing = self.db.write().await?;
        let changed = wanted::change(writing.db(), changes).await?;
        // Otherwise it may as well not have been.
        if !changed.is_empty() {
            writing.commit("changing what is wanted").await?;
        }
        Ok(changed)
    }

    async fn want_if(&self, camera: &CameraId, spec: Option<&str>, expected: Expected) -> Result<Changed> {
        let mut writing = self.db.write().await?;
        let changed = wanted::change_if(writing.db(), camera, spec, expected).await?;
        if let Changed::Done(_) = changed {
            writing.commit("changing what is wanted").await?;
        }
        Ok(changed)
    }

    // Lazily: a renewal that a power cut takes back is no sign of death, only of one beat less.
    async fn beat(&self, member: &Member, load: Load, first: bool) -> Result<Option<Sight>> {
        let mut writing = self.db.write_lazily().await?;
        if !members::beat(writing.db(), member, load, first).await? {
            return Ok(None);
        }
        writing.commit("saying that we live").await?;
        let what = "reading what concerns us";
        let mut moment = self.db.moment().await?;
        let members = members::list(&mut moment).await?;
        let (_, partitions) = placement::state(&mut moment).await?;
        let cameras = placement::of(&mut moment, member).await?;
        moment.commit().doing(what).await?;
        Ok(Some(Sight { members, partitions, cameras }))
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        let mut writing = self.db.write().await?;
        leases::give_all_back(writing.db(), member).await?;
        members::remove(writing.db(), member).await?;
        writing.commit("leaving").await
    }

    async fn members(&self) -> Result<Vec<MemberSeen>> {
        members::list(&mut *self.db.read().await?).await
    }

    async fn forget(&self, seen: &MemberSeen) -> Result<()> {
        let mut writing = self.db.write().await?;
        members::forget(writing.db(), seen).await?;
        writing.commit("forgetting a member").await
    }

    async fn set_costs(&self, costs: &[(CameraId, u32)]) -> Result<()> {
        let mut writing = self.db.write_lazily().await?;
        placement::set_costs(writing.db(), costs).await?;
        writing.commit("noting costs").await
    }

    async fn lease(&self, name: &LeaseName) -> Result<Option<Lease>> {
        Ok(leases::get(&mut *self.db.read().await?, name).await?.map(|(lease, _)| lease))
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        leases::list(&mut *self.db.read().await?).await
    }

    async fn take(&self, take: &Take) -> Result<Option<Epoch>> {
        let mut writing = self.db.write().await?;
        dialect::lock_name(writing.db(), leases::name(&take.name)).await?;
        let epoch = leases::take(writing.db(), take).await?;
        if epoch.is_some() {
            writing.commit("taking a lease").await?;
        }
        Ok(epoch)
    }

    async fn give_back(&self, name: &LeaseName, epoch: Epoch) -> Result<()> {
        let mut writing = self.db.write().await?;
        leases::give_back(writing.db(), name, epoch).await?;
        writing.commit("giving a lease back").await
    }

    async fn balancer(&self) -> Result<Option<BalancerSeen>> {
        let seen = leases::get(&mut *self.db.read().await?, &LeaseName::Balancer).await?;
        Ok(seen.map(|(lease, renewal)| BalancerSeen { lease, renewal }))
    }

    async fn renew_balancer(&self, epoch: Epoch) -> Result<bool> {
        let mut writing = self.db.write_lazily().await?;
        let holds = leases::renew_balancer(writing.db(), epoch).await?;
        writing.commit("saying that the balancer lives").await?;
        Ok(holds)
    }

    async fn placement(&self) -> Result<Placement> {
        let mut moment = self.db.moment().await?;
        let (revision, partitions) = placement::state(&mut moment).await?;
        let cameras = placement::list(&mut moment).await?;
        moment.commit().doing("reading the placement").await?;
        Ok(Placement { revision, partitions, cameras })
    }

    async fn place(&self, epoch: Epoch, moves: &[Placed], gone: &[CameraId]) -> Result<bool> {
        let mut writing = self.db.write().await?;
        // The row is locked by that: who takes the lease now waits, and finds what is written here.
        if !leases::renew_balancer(writing.db(), epoch).await? {
            return Ok(false);
        }
        placement::change(writing.db(), moves, gone).await?;
        writing.commit("placing cameras").await?;
        Ok(true)
    }

    async fn set_partitions(&self, partitions: u16) -> Result<()> {
        let mut writing = self.db.write().await?;
        placement::set_partitions(writing.db(), partitions.max(1)).await?;
        writing.commit("setting the partitions").await
    }
}
