//! The distributed parts, run in simulated time and network.
//!
//! - [`run`]: one seed: dispatchers, balancers, detect and merge hosts over a database, a broker and a bucket in memory.
//! - [`faults`]: crashes, partitions, held messages, latency, clocks that jump, an older database in the newer one's place.
//! - [`post`]: calls over the simulated network; [`database`], [`broker`], [`objects`]: what is called.
//! - [`cameras`]: cameras without video; [`hosts`]: what runs where; [`time`]: whose clock says what.
//! - [`history`] and [`checker`]: what happened, held against what is left.
//!
//! Invariant: a seed gives the same run each time. No clock but the simulation's, no chance but the seed's, one thread.

pub mod broker;
pub mod cameras;
pub mod checker;
pub mod database;
pub mod faults;
pub mod history;
pub mod hosts;
pub mod objects;
pub mod post;
pub mod run;
pub mod time;
