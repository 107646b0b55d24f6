//! The distributed parts, run in simulated time and network.
