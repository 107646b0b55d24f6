use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch};

use super::{OnPurpose, Plan};
use crate::coordination::{
    BalancerSeen, Coordination, Lease, LeaseName, Load, Member, MemberSeen, Placed, Placement, Sight, Take,
    WantedCamera,
};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// A coordination under a plan. Calls are named as the methods of [`Coordination`].
pub struct FailingCoordination {
    inner: Arc<dyn Coordination>,
    plan: Arc<Plan>,
}

impl FailingCoordination {
    /// Wraps a coordination.
    pub fn new(inner: Arc<dyn Coordination>, plan: Arc<Plan>) -> Arc<Self> {
        Arc::new(Self { inner, plan })
    }
}

fn error(error: OnPurpose) -> StoreError {
    StoreError::Unavailable { context: error.to_string(), source: Some(error.into()) }
}

#[async_trait]
impl Coordination for FailingCoordination {
    async fn wanted(&self) -> Result<Vec<WantedCamera>> {
        self.plan.around("wanted", error, self.inner.wanted()).await
    }

    async fn want(&self, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>> {
        self.plan.around("want", error, self.inner.want(changes)).await
    }

    async fn beat(&self, member: &Member, load: Load, first: bool) -> Result<Option<Sight>> {
        self.plan.around("beat", error, self.inner.beat(member, load, first)).await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        self.plan.around("leave", error, self.inner.leave(member)).await
    }

    async fn members(&self) -> Result<Vec<MemberSeen>> {
        self.plan.around("members", error, self.inner.members()).await
    }

    async fn forget(&self, seen: &MemberSeen) -> Result<()> {
        self.plan.around("forget", error, self.inner.forget(seen)).await
    }

    async fn set_costs(&self, costs: &[(CameraId, u32)]) -> Result<()> {
        self.plan.around("set_costs", error, self.inner.set_costs(costs)).await
    }

    async fn lease(&self, name: &LeaseName) -> Result<Option<Lease>> {
        self.plan.around("lease", error, self.inner.lease(name)).await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.plan.around("leases", error, self.inner.leases()).await
    }

    async fn take(&self, take: &Take) -> Result<Option<Epoch>> {
        self.plan.around("take", error, self.inner.take(take)).await
    }

    async fn give_back(&self, name: &LeaseName, epoch: Epoch) -> Result<()> {
        self.plan.around("give_back", error, self.inner.give_back(name, epoch)).await
    }

    async fn balancer(&self) -> Result<Option<BalancerSeen>> {
        self.plan.around("balancer", error, self.inner.balancer()).await
    }

    async fn renew_balancer(&self, epoch: Epoch) -> Result<bool> {
        self.plan.around("renew_balancer", error, self.inner.renew_balancer(epoch)).await
    }

    async fn placement(&self) -> Result<Placement> {
        self.plan.around("placement", error, self.inner.placement()).await
    }

    async fn place(&self, epoch: Epoch, moves: &[Placed], gone: &[CameraId]) -> Result<bool> {
        self.plan.around("place", error, self.inner.place(epoch, moves, gone)).await
    }

    async fn set_partitions(&self, partitions: u16) -> Result<()> {
        self.plan.around("set_partitions", error, self.inner.set_partitions(partitions)).await
    }
}
