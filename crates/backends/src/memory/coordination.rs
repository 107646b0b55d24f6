//! Coordination.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch};

use super::database::{Begun, MemoryDatabase, Tables, above};
use crate::coordination::{
    BalancerSeen, CameraSeen, Changed, Coordination, Expected, Lease, LeaseName, Load, Member, MemberSeen, Placed,
    Placement, Sight, Take, WantedCamera,
};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Clone, Default)]
pub(super) struct State {
    wanted: BTreeMap<CameraId, WantedCamera>,
    last_revision: u64,
    members: BTreeMap<String, MemberSeen>,
    leases: BTreeMap<LeaseName, Lease>,
    balancer_renewal: u64,
    placed: BTreeMap<CameraId, Placed>,
    placement_revision: u64,
    partitions: u16,
}

impl State {
    /// Wants a camera as it is, or no longer; whether that changed anything.
    fn want(&mut self, id: &CameraId, spec: Option<&str>) -> bool {
        if self.wanted.get(id).map(|wanted| wanted.spec.as_str()) == spec {
            return false;
        }
        match spec {
            Some(spec) => {
                self.last_revision += 1;
                let wanted = WantedCamera { id: id.clone(), revision: self.last_revision, spec: spec.to_owned() };
                self.wanted.insert(id.clone(), wanted);
            }
            None => drop(self.wanted.remove(id)),
        }
        true
    }

    fn holds(&self, name: &LeaseName, epoch: Epoch) -> bool {
        self.leases.get(name).is_some_and(|lease| lease.epoch == epoch && lease.holder.is_some())
    }

    fn sight(&self, member: &Member) -> Sight {
        let placed = self.placed.values().filter(|row| row.dispatcher.as_ref() == Some(&member.name));
        let held = self.leases.values().filter(|lease| lease.holder.as_ref() == Some(member));
        let held = held.filter_map(|lease| match &lease.name {
            LeaseName::Camera(camera) => Some(camera),
            LeaseName::Balancer => None,
        });
        let mut ids: Vec<&CameraId> = placed.map(|row| &row.camera).chain(held).collect();
        ids.sort();
        ids.dedup();
        let seen = |id: &CameraId| CameraSeen {
            id: id.clone(),
            wanted: self.wanted.get(id).cloned(),
            placed: self.placed.get(id).cloned(),
            lease: self.leases.get(&LeaseName::Camera(id.clone())).cloned(),
        };
        Sight {
            members: self.members.values().cloned().collect(),
            partitions: self.partitions,
            cameras: ids.into_iter().map(seen).collect(),
        }
    }
}

/// The coordination's part of the locked tables.
struct Locked<'a>(MutexGuard<'a, Tables>);

impl Deref for Locked<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0.coordination
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0.coordination
    }
}

impl MemoryDatabase {
    fn coordination(&self) -> Locked<'_> {
        Locked(self.tables())
    }
}

#[async_trait]
impl Coordination for MemoryDatabase {
    async fn wanted(&self) -> Result<Vec<WantedCamera>> {
        Ok(self.coordination().wanted.values().cloned().collect())
    }

    async fn want(&self, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>> {
        let mut state = self.coordination();
        let changed = changes.iter().filter(|(id, spec)| state.want(id, spec.as_deref()));
        Ok(changed.map(|(id, _)| id.clone()).collect())
    }

    async fn want_if(&self, camera: &CameraId, spec: Option<&str>, expected: Expected) -> Result<Changed> {
        let mut state = self.coordination();
        let found = state.wanted.get(camera).map(|wanted| wanted.revision);
        if !expected.holds(found) {
            return Ok(Changed::Unexpected(found));
        }
        state.want(camera, spec);
        Ok(Changed::Done(state.wanted.get(camera).map(|wanted| wanted.revision)))
    }

    async fn beat(&self, member: &Member, load: Load, first: bool) -> Result<Option<Sight>> {
        let mut state = self.coordination();
        let renewal = match state.members.get(&member.name) {
            Some(seen) if seen.member == *member => seen.renewal + 1,
            Some(_) if !first => return Ok(None),
            _ => 1,
        };
        state.members.insert(member.name.clone(), MemberSeen { member: member.clone(), renewal, load });
        Ok(Some(state.sight(member)))
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        let mut state = self.coordination();
        state.members.retain(|_, seen| seen.member != *member);
        for lease in state.leases.values_mut().filter(|lease| lease.holder.as_ref() == Some(member)) {
            lease.holder = None;
        }
        Ok(())
    }

    async fn members(&self) -> Result<Vec<MemberSeen>> {
        Ok(self.coordination().members.values().cloned().collect())
    }

    async fn forget(&self, seen: &MemberSeen) -> Result<()> {
        let as_seen = |now: &MemberSeen| now.member == seen.member && now.renewal == seen.renewal;
        self.coordination().members.retain(|_, now| !as_seen(now));
        Ok(())
    }

    async fn set_costs(&self, costs: &[(CameraId, u32)]) -> Result<()> {
        let mut state = self.coordination();
        for (camera, cost_millis) in costs {
            if let Some(row) = state.placed.get_mut(camera) {
                row.cost_millis = *cost_millis;
            }
        }
        Ok(())
    }

    async fn lease(&self, name: &LeaseName) -> Result<Option<Lease>> {
        Ok(self.coordination().leases.get(name).cloned())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Ok(self.coordination().leases.values().cloned().collect())
    }

    async fn take(&self, take: &Take) -> Result<Option<Epoch>> {
        let mut tables = self.tables();
        let seen = tables.coordination.leases.get(&take.name).map(|lease| lease.epoch);
        if seen != take.seen {
            return Ok(None);
        }
        let known = match &take.name {
            LeaseName::Camera(camera) => tables.newest_epoch(camera),
            LeaseName::Balancer => None,
        };
        let epoch = Epoch(take.now_ms).max(seen.max(known).unwrap_or_default());
        let epoch = Epoch(above(epoch.0, 1)?);
        if let LeaseName::Camera(camera) = &take.name
            && take.live
        {
            tables.begin(camera, epoch, Begun { base: epoch.0, content: None });
        }
        let (name, holder, seam) = (take.name.clone(), Some(take.holder.clone()), take.seam);
        tables.coordination.leases.insert(name.clone(), Lease { name, holder, epoch, seam });
        Ok(Some(epoch))
    }

    async fn give_back(&self, name: &LeaseName, epoch: Epoch) -> Result<()> {
        if let Some(lease) = self.coordination().leases.get_mut(name).filter(|lease| lease.epoch == epoch) {
            lease.holder = None;
        }
        Ok(())
    }

    async fn balancer(&self) -> Result<Option<BalancerSeen>> {
        let state = self.coordination();
        let lease = state.leases.get(&LeaseName::Balancer).cloned();
        Ok(lease.map(|lease| BalancerSeen { lease, renewal: state.balancer_renewal }))
    }

    async fn renew_balancer(&self, epoch: Epoch) -> Result<bool> {
        let mut state = self.coordination();
        let holds = state.holds(&LeaseName::Balancer, epoch);
        state.balancer_renewal += u64::from(holds);
        Ok(holds)
    }

    async fn placement(&self) -> Result<Placement> {
        let state = self.coordination();
        Ok(Placement {
            revision: state.placement_revision,
            partitions: state.partitions,
            cameras: state.placed.values().cloned().collect(),
        })
    }

    async fn place(&self, epoch: Epoch, moves: &[Placed], gone: &[CameraId]) -> Result<bool> {
        let mut state = self.coordination();
        if !state.holds(&LeaseName::Balancer, epoch) {
            return Ok(false);
        }
        for camera in gone {
            state.placed.remove(camera);
        }
        for row in moves {
            let cost_millis = state.placed.get(&row.camera).map_or(0, |known| known.cost_millis);
            state.placed.insert(row.camera.clone(), Placed { cost_millis, ..row.clone() });
        }
        state.placement_revision += 1;
        Ok(true)
    }

    async fn set_partitions(&self, partitions: u16) -> Result<()> {
        let mut state = self.coordination();
        if state.partitions != partitions.max(1) {
            state.partitions = partitions.max(1);
            state.placement_revision += 1;
        }
        Ok(())
    }
}
