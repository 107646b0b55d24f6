//! Access units, parameter sets and MP4 boxes, without a decoder or I/O.
