//! The decoders a worker keeps open.

use detektor_contract::{Codec, Digest};

use super::{DecodeError, Decoder};

/// A worker's open decoders, the latest used first. A camera's segments share their parameter sets, so the decoder that
/// took the last one takes the next; opening one costs more than decoding a quiet segment.
pub struct Decoders {
    open: Vec<(Key, Decoder)>,
    capacity: usize,
}

type Key = (Codec, Digest);

impl Decoders {
    /// Keeps up to `capacity` decoders open, at least one. An idle 1080p decoder holds some 20 MB of pictures.
    pub fn new(capacity: usize) -> Self {
        Self { open: Vec::new(), capacity: capacity.max(1) }
    }

    /// The decoder for streams with these parameter sets (an `avcC` or `hvcC` record).
    ///
    /// # Errors
    /// See [`Decoder::open`].
    pub fn get(&mut self, codec: Codec, extradata: &[u8]) -> Result<&mut Decoder, DecodeError> {
        let key = (codec, Digest::of(extradata));
        let entry = match self.open.iter().position(|(k, _)| *k == key) {
            Some(at) => self.open.remove(at),
            None => (key, Decoder::open(codec, extradata)?),
        };
        self.open.truncate(self.capacity - 1);
        self.open.insert(0, entry);
        Ok(&mut self.open[0].1)
    }

    /// Closes the decoder that was got last: it has read parameter sets other than those it was opened with, and would
    /// take them for those of the next stream.
    pub fn close_latest(&mut self) {
        self.open.drain(..self.open.len().min(1));
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
