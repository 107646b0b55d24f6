//! Many dispatchers: who slices which camera, and how a camera goes from one to another.
//!
//! The balancer writes a [`placement`]; each dispatcher sees it at its beats.
//!
//! Invariant: no clock of one machine is compared with another's, and nothing here is needed for correctness but that the
//! newest epoch wins.

pub mod placement;
