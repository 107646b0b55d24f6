//! Cameras that nobody runs any more, and of which nobody has said so.
//!
//! A dispatcher says what its cameras do, and at last that they stopped. One that died does not; nor does one that lost a camera to
//! another that never began, since the camera was wanted no longer by then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::coordination::{Coordination, LeaseName, Member};
use detektor_backends::store::{CameraState, EventStore, StoreError};
use detektor_contract::{CameraId, Epoch};
use detektor_runtime::chain;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Notes of cameras that they have stopped, where nobody else will.
pub struct StoppedCameras {
    store: Arc<dyn EventStore>,
    coordination: Arc<dyn Coordination>,
}

impl StoppedCameras {
    /// Looks into both.
    pub fn new(store: Arc<dyn EventStore>, coordination: Arc<dyn Coordination>) -> Self {
        Self { store, coordination }
    }

    /// Looks now and then while `leads` holds an epoch, until shutdown.
    pub async fn run(&self, leads: watch::Receiver<Option<Epoch>>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let leading = leads.borrow().is_some();
            if leading && let Err(error) = self.look().await {
                tracing::debug!(error = chain(&error), "which cameras have stopped is not known");
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// Where the database is away.
    pub async fn look(&self) -> Result<(), StoreError> {
        // What is wanted from here on comes into the second list.
        let cameras = self.store.cameras().await?;
        let wanted: BTreeSet<CameraId> = self.coordination.wanted().await?.into_iter().map(|it| it.id).collect();
        let members: BTreeSet<Member> =
            self.coordination.members().await?.into_iter().map(|seen| seen.member).collect();
        for camera in cameras {
            let at_work = match camera.state {
                CameraState::Connecting | CameraState::Running | CameraState::Lost { .. } => true,
                CameraState::Ended | CameraState::Failed { .. } | CameraState::Stopped => false,
            };
            if at_work && !wanted.contains(&camera.id) && !self.is_held(&camera.id, &members).await? {
                tracing::info!(camera = %camera.id, "nobody runs the camera any more");
                self.store.set_camera_state(&camera.id, &CameraState::Stopped).await?;
            }
        }
        Ok(())
    }

    /// Whether a dispatcher has the camera yet. It will say itself that it stopped it.
    async fn is_held(&self, camera: &CameraId, members: &BTreeSet<Member>) -> Result<bool, StoreError> {
        let lease = self.coordination.lease(&LeaseName::Camera(camera.clone())).await?;
        Ok(lease.and_then(|lease| lease.holder).is_some_and(|holder| members.contains(&holder)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use detektor_backends::coordination::{Load, Take};
    use detektor_backends::memory::MemoryDatabase;

    use super::*;
    use crate::distributed::double::camera;

    #[tokio::test]
    async fn what_nobody_runs_or_wants_has_stopped() {
        let database = MemoryDatabase::new();
        let [wanted, held, left, over, dead] = ["wanted", "held", "left", "over", "dead"].map(camera);
        let running = [&wanted, &held, &left, &dead].map(|id| (id.clone(), CameraState::Running));
        for (id, state) in running.into_iter().chain([(over.clone(), CameraState::Ended)]) {
            database.register_camera(&id, "file:x").await.unwrap();
            database.set_camera_state(&id, &state).await.unwrap();
        }
        database.want(&[(wanted.clone(), Some("{}".to_owned()))]).await.unwrap();
        for (name, of) in [("there", &held), ("gone", &dead)] {
            let holder = Member { name: name.to_owned(), incarnation: 1 };
            let take = Take {
                name: LeaseName::Camera(of.clone()),
                seen: None,
                holder: holder.clone(),
                now_ms: 1,
                live: false,
                seam: None,
            };
            database.take(&take).await.unwrap().unwrap();
            if name == "there" {
                database.beat(&holder, Load::default(), false).await.unwrap();
            }
        }
        StoppedCameras::new(Arc::new(database.clone()), database.clone()).look().await.unwrap();
        let states = database.cameras().await.unwrap().into_iter().map(|camera| (camera.id, camera.state));
        let expected = [
            (dead, CameraState::Stopped),
            (held, CameraState::Running),
            (left, CameraState::Stopped),
            (over, CameraState::Ended),
            (wanted, CameraState::Running),
        ];
        assert_eq!(states.collect::<Vec<_>>(), expected);
    }
}
