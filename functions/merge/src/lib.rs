//! The merge function: outcomes in, tracks, events and the frame ledger out.
