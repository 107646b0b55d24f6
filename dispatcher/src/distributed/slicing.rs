//! The cameras of a dispatcher, as an agent runs them.

use std::sync::Arc;

use async_trait::async_trait;
use detektor_backends::coordination::{Coordination, WantedCamera};
use detektor_contract::EndReason;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use super::{Agent, AgentConfig, AgentError, Cameras, Claim, Duty, Ended, Manner, Measured, Order, Stop};
use crate::camera::{Camera, Shared};
use crate::{CameraConfig, Dispatcher};

/// Reads what a wanted camera is, and fetches its secrets; or says, without them, what is wrong.
pub type SpecReader = Arc<dyn Fn(&WantedCamera) -> Result<CameraConfig, String> + Send + Sync>;

impl Dispatcher {
    /// Watches the cameras that are placed on this dispatcher, until shutdown. Others may then take them over for a while;
    /// what is whole is published.
    ///
    /// # Errors
    /// If `agent` makes no sense, or another process has its name.
    pub async fn run_placed(
        self,
        agent: AgentConfig,
        coordination: Arc<dyn Coordination>,
        read: SpecReader,
        shutdown: CancellationToken,
    ) -> Result<(), AgentError> {
        let Self { config, outlets, numbers, spool } = self;
        let (spool, mut keeper) = spool.unzip();
        let (abort, drain) = (CancellationToken::new(), config.drain);
        let shared = Arc::new(Shared {
            config,
            outlets: outlets.clone(),
            numbers: numbers.clone(),
            spool,
            abort: abort.clone(),
        });
        let agent = Agent::new(agent, coordination, Arc::new(Slicing { shared, read, meter: Meter::default() }));
        let agent = agent.map_err(AgentError::Config)?;
        if let Some(keeper) = &mut keeper {
            keeper.begin(&outlets, &numbers);
        }
        let ended = agent.run(shutdown).await;
        if let Some(keeper) = keeper {
            let deadline = async {
                tokio::time::sleep(drain).await;
                abort.cancel();
                std::future::pending::<()>().await
            };
            // Half of the time is for the queue, the other for the bucket.
            tokio::select! {
                () = keeper.end(drain / 2, &*outlets.bucket, &abort) => {}
                () = deadline => {}
            }
        }
        ended
    }
}

struct Slicing {
    shared: Arc<Shared>,
    read: SpecReader,
    meter: Meter,
}

/// A camera's part of its duty.
pub(crate) struct Post {
    pub(crate) claim: Claim,
    pub(crate) stop: Stop,
    orders: watch::Receiver<Order>,
    read: SpecReader,
}

impl Post {
    /// What the camera is now.
    fn config(&mut self) -> Result<CameraConfig, String> {
        let order = self.orders.borrow_and_update().clone();
        let config = (self.read)(&order.wanted)?;
        Ok(CameraConfig { partition: order.partition, ..config })
    }

    /// Whether it is not for this camera to say what it does: it is not ours yet, or not any more.
    pub(crate) fn is_silent(&self) -> bool {
        let handed_over = self.stop.is_stopped() && self.stop.reason() == EndReason::HandedOver;
        self.claim.epoch().is_none() || handed_over
    }

    /// What the camera is from now on, if it changed.
    pub(crate) fn news(&mut self) -> Option<Result<CameraConfig, String>> {
        self.orders.has_changed().unwrap_or(false).then(|| self.config())
    }
}

#[async_trait]
impl Cameras for Slicing {
    fn manner(&self, wanted: &WantedCamera) -> Result<Manner, String> {
        let config = (self.read)(wanted)?;
        Ok(match (config.url.is_camera(), config.one_session) {
            (true, false) => Manner::MakeBeforeBreak,
            (true, true) => Manner::BreakBeforeMake,
            (false, _) => Manner::Replayable,
        })
    }

    fn needs_restart(&self, old: &WantedCamera, new: &WantedCamera) -> bool {
        match ((self.read)(old), (self.read)(new)) {
            (Ok(old), Ok(new)) => !old.reads_as(&new),
            _ => true,
        }
    }

    async fn run(&self, duty: Duty) -> Ended {
        let Duty { camera: id, orders, claim, stop } = duty;
        let mut post = Post { claim, orders, read: Arc::clone(&self.read), stop: stop.clone() };
        let config = match post.config() {
            Ok(config) => config,
            Err(error) => return Ended::Failed(error),
        };
        if post.claim.epoch().is_some() {
            self.shared.numbers.took();
        }
        let abort = self.shared.abort.child_token();
        let camera = Camera::posted(config, Arc::clone(&self.shared), post, abort.clone());
        let deadline = async {
            stop.token().cancelled().await;
            tokio::time::sleep(self.shared.config.drain).await;
            abort.cancel();
            std::future::pending().await
        };
        tokio::select! {
            ended = self.meter.around(&id, camera.serve()) => ended,
            never = deadline => never,
        }
    }

    fn measured(&self) -> Measured {
        self.meter.measured()
    }
}
