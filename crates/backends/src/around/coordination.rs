use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch};

use super::Around;
use crate::coordination::{
    BalancerSeen, Changed, Coordination, Expected, Lease, LeaseName, Load, Member, MemberSeen, Placed, Placement,
    Sight, Take, WantedCamera,
};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// A coordination behind something. Calls are named as the methods of [`Coordination`].
pub struct AroundCoordination<A> {
    inner: Arc<dyn Coordination>,
    around: Arc<A>,
}

impl<A: Around> AroundCoordination<A> {
    /// Wraps a coordination.
    pub fn new(inner: Arc<dyn Coordination>, around: Arc<A>) -> Arc<Self> {
        Arc::new(Self { inner, around })
    }
}

#[async_trait]
impl<A: Around> Coordination for AroundCoordination<A> {
    async fn wanted(&self) -> Result<Vec<WantedCamera>> {
        self.around.call("wanted", self.inner.wanted()).await
    }

    async fn want(&self, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>> {
        self.around.call("want", self.inner.want(changes)).await
    }

    async fn want_if(&self, camera: &CameraId, spec: Option<&str>, expected: Expected) -> Result<Changed> {
        self.around.call("want_if", self.inner.want_if(camera, spec, expected)).await
    }

    async fn beat(&self, member: &Member, load: Load, first: bool) -> Result<Option<Sight>> {
        self.around.call("beat", self.inner.beat(member, load, first)).await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        self.around.call("leave", self.inner.leave(member)).await
    }

    async fn members(&self) -> Result<Vec<MemberSeen>> {
        self.around.call("members", self.inner.members()).await
    }

    async fn forget(&self, seen: &MemberSeen) -> Result<()> {
        self.around.call("forget", self.inner.forget(seen)).await
    }

    async fn set_costs(&self, costs: &[(CameraId, u32)]) -> Result<()> {
        self.around.call("set_costs", self.inner.set_costs(costs)).await
    }

    async fn lease(&self, name: &LeaseName) -> Result<Option<Lease>> {
        self.around.call("lease", self.inner.lease(name)).await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.around.call("leases", self.inner.leases()).await
    }

    async fn take(&self, take: &Take) -> Result<Option<Epoch>> {
        self.around.call("take", self.inner.take(take)).await
    }

    async fn give_back(&self, name: &LeaseName, epoch: Epoch) -> Result<()> {
        self.around.call("give_back", self.inner.give_back(name, epoch)).await
    }

    async fn balancer(&self) -> Result<Option<BalancerSeen>> {
        self.around.call("balancer", self.inner.balancer()).await
    }

    async fn renew_balancer(&self, epoch: Epoch) -> Result<bool> {
        self.around.call("renew_balancer", self.inner.renew_balancer(epoch)).await
    }

    async fn placement(&self) -> Result<Placement> {
        self.around.call("placement", self.inner.placement()).await
    }

    async fn place(&self, epoch: Epoch, moves: &[Placed], gone: &[CameraId]) -> Result<bool> {
        self.around.call("place", self.inner.place(epoch, moves, gone)).await
    }

    async fn set_partitions(&self, partitions: u16) -> Result<()> {
        self.around.call("set_partitions", self.inner.set_partitions(partitions)).await
    }
}
