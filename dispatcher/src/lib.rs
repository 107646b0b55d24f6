//! Camera streams in, segment jobs out.
