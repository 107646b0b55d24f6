//! The host every function runs in.
