//! Many dispatchers: who slices which camera, and how a camera goes from one to another.
//!
//! The [`Balancer`] writes a [`placement`]; each dispatcher's [`Agent`] sees it at its beats and runs its [`Cameras`], each
//! under a [`Claim`]. Both find out by a [`Watch`] who is dead.
//!
//! Invariant: no clock of one machine is compared with another's, and nothing here is needed for correctness but that the
//! newest epoch wins.

mod agent;
mod balancer;
mod cameras;
mod claim;
#[cfg(test)]
mod double;
mod meter;
mod partitions;
pub mod placement;
mod slicing;
mod stopped;
mod timing;
mod watch;

pub use agent::{Agent, AgentConfig, AgentError};
pub use balancer::{Balancer, BalancerConfig, Stepped};
pub use cameras::{Cameras, Duty, Ended, Manner, Measured, Order, Stop};
pub use claim::{Claim, Claimed, UnixMillis, system_millis};
pub use partitions::KeeperConfig;
pub(crate) use slicing::Post;
pub use slicing::SpecReader;
pub use stopped::StoppedCameras;
pub use timing::InvalidTiming;
pub use watch::Watch;
