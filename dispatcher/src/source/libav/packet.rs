//! A packet's bytes, shared with libav, and what is in them.

use bytes::Bytes;
use detektor_media::Framing;
use detektor_media::nal::{self, AnnexB, LengthPrefixed};
use ffmpeg::ffi;

/// A packet's memory, shared with libav and given back when the last `Bytes` of it goes.
pub(super) struct Packet(*mut ffi::AVPacket);

// SAFETY: a packet's data is not changed by anybody once it was read, and its count of references is atomic.
unsafe impl Send for Packet {}
// SAFETY: as above.
unsafe impl Sync for Packet {}

impl Packet {
    /// An empty one; none without memory.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: libav gives a packet or null.
        let packet = unsafe { ffi::av_packet_alloc() };
        (!packet.is_null()).then_some(Self(packet))
    }

    /// For libav to read into, and to look at.
    pub(super) fn as_ptr(&self) -> *mut ffi::AVPacket {
        self.0
    }

    /// Another configuration record that holds from this packet on.
    pub(super) fn new_extradata(&self) -> Option<&[u8]> {
        let mut size = 0;
        // SAFETY: the packet is ours; its side data is as long as libav says and lives as long.
        unsafe {
            let data = ffi::av_packet_get_side_data(self.0, ffi::AVPacketSideDataType::NEW_EXTRADATA, &mut size);
            (!data.is_null() && size > 0).then(|| std::slice::from_raw_parts(data, size as _))
        }
    }
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: libav says that so many bytes are there; they live as long as the packet.
        unsafe {
            let packet = &*self.0;
            if packet.data.is_null() || packet.size <= 0 {
                return &[];
            }
            std::slice::from_raw_parts(packet.data, packet.size as usize)
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { ffi::av_packet_free(&mut self.0) }
    }
}

/// The access unit behind 4-byte lengths; what is damaged is kept as far as it goes. None if there is nothing.
pub(super) fn framed(packet: Bytes, framing: Framing) -> Option<Bytes> {
    if let Ok(data) = nal::to_length_prefixed(&packet, framing) {
        return Some(data);
    }
    let mut out = Vec::with_capacity(packet.len() + 64);
    let mut add = |unit: &[u8]| {
        if let Ok(length) = u32::try_from(unit.len()) {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(unit);
        }
    };
    match framing {
        Framing::AnnexB => AnnexB::new(&packet).for_each(&mut add),
        Framing::LengthPrefixed(bytes) => {
            let mut whole = 0;
            for unit in LengthPrefixed::new(&packet, bytes).filter(|unit| !unit.is_empty()) {
                add(unit);
                whole += usize::from(bytes) + unit.len();
            }
            if let Some(rest) = packet.get(whole + usize::from(bytes)..).filter(|rest| !rest.is_empty()) {
                add(rest);
            }
        }
    }
    (!out.is_empty()).then(|| out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_kept_as_far_as_it_goes() {
        let packet = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let framing = Framing::LengthPrefixed(4);
        assert_eq!(
            framed(packet(&[0, 0, 0, 1, 7, 0, 0, 0, 9, 8, 8]), framing),
            Some(packet(&[0, 0, 0, 1, 7, 0, 0, 0, 2, 8, 8]))
        );
        assert_eq!(framed(packet(&[0, 0, 0, 9]), framing), None);
        assert_eq!(framed(packet(&[1, 2, 3]), Framing::AnnexB), None);
        assert_eq!(framed(packet(&[0, 0, 1, 5]), Framing::AnnexB), Some(packet(&[0, 0, 0, 1, 5])));
        assert_eq!(framed(packet(&[]), framing), None);
    }
}
