//! Whether a file that ends was cut off, as far as its bytes tell. libavformat takes most such ends for a file's own.

use ffmpeg::ffi;

use super::{Demuxer, log};

/// How much of a file's beginning says how long it must be. libav holds more of it when it has found out what it is.
const HEAD: usize = 1 << 10;
/// How much of a transport stream's end says where its packets lie.
const TAIL: usize = 12 * 204;

const EBML_SEGMENT: u32 = 0x1853_8067;

impl Demuxer {
    /// Where the file must end by what stands at its beginning; none where that does not say.
    pub(super) fn declared_end(&mut self) -> Option<u64> {
        let end = match self.container.as_str() {
            "matroska" => matroska_end,
            "avi" => avi_end,
            _ => return None,
        };
        let head = self.read_at(0, HEAD)?;
        self.read_at(0, 0)?;
        end(&head)
    }

    /// Why the end that was reached is none, if that can be told.
    pub(super) fn cut_off(&mut self) -> Option<String> {
        // SAFETY: `io` is open.
        let length = u64::try_from(unsafe { ffi::avio_size(self.io) }).ok().filter(|length| *length > 0)?;
        if let Some(end) = self.must_end_at.filter(|end| *end > length) {
            return Some(format!("it is cut off: {length} of {end} bytes are there; copy it again"));
        }
        if self.index_outruns(length) {
            return Some("it is cut off: its index names pictures behind its end; copy it again".to_owned());
        }
        if log::take_premature_end() {
            return Some("it is cut off: it ends inside an element; copy it again".to_owned());
        }
        if self.container == "mpegts" {
            let tail = self.read_at(length.saturating_sub(TAIL as u64), TAIL)?;
            return ends_inside_packet(&tail)
                .then(|| "it is cut off: it ends inside a packet; copy it again".to_owned());
        }
        None
    }

    /// So many bytes from there on, or those that there are. None if there is no way there.
    fn read_at(&mut self, position: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        // SAFETY: `io` is open, and the bytes are as many as said.
        let read = unsafe {
            if ffi::avio_seek(self.io, i64::try_from(position).ok()?, 0) < 0 {
                return None;
            }
            if length == 0 { 0 } else { ffi::avio_read(self.io, bytes.as_mut_ptr(), length as i32) }
        };
        bytes.truncate(usize::try_from(read).ok()?);
        Some(bytes)
    }

    /// Whether the index names pictures behind the file's end.
    fn index_outruns(&self, length: u64) -> bool {
        // SAFETY: the context and its streams are open, `stream` is one of them, and entries are read below their count.
        unsafe {
            let stream = *(*self.context).streams.add(self.stream as usize);
            let entries = ffi::avformat_index_get_entries_count(stream);
            (0..entries).filter_map(|n| ffi::avformat_index_get_entry(stream, n).as_ref()).any(|entry| {
                let end = entry.pos.saturating_add(i64::from(entry.size()));
                u64::try_from(end).is_ok_and(|end| end > length)
            })
        }
    }
}

/// Where the one element ends that holds everything; none if it was written without knowing, as live recordings are.
fn matroska_end(head: &[u8]) -> Option<u64> {
    let mut at = 0;
    loop {
        let rest = head.get(at..)?;
        let (id, id_bytes) = ebml_number(rest, true)?;
        let (size, size_bytes) = ebml_number(rest.get(id_bytes..)?, false)?;
        let unknown = size == (1 << (7 * size_bytes)) - 1;
        let body = at + id_bytes + size_bytes;
        let end = (body as u64).checked_add(size).filter(|_| !unknown)?;
        if id == u64::from(EBML_SEGMENT) {
            return Some(end);
        }
        at = usize::try_from(end).ok()?;
    }
}

/// A number whose length its first byte says, and that length. Identifiers keep the mark of their length.
fn ebml_number(bytes: &[u8], marked: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let digits = bytes.get(1..length).filter(|_| length <= 8)?;
    let first = if marked { u64::from(first) } else { u64::from(first) & ((1 << (8 - length)) - 1) };
    Some((digits.iter().fold(first, |number, digit| number << 8 | u64::from(*digit)), length))
}

/// Where the first `RIFF` ends; none if it was never completed.
fn avi_end(head: &[u8]) -> Option<u64> {
    let size = head.strip_prefix(b"RIFF")?.first_chunk::<4>().map(|size| u32::from_le_bytes(*size))?;
    (size != 0 && size != u32::MAX).then(|| 8 + u64::from(size))
}

/// Whether a transport stream that ends like this ends inside a packet. Not where it cannot be told.
fn ends_inside_packet(tail: &[u8]) -> bool {
    const SYNC: u8 = 0x47;
    const RUN: usize = 8;
    // The distance of packets: bare, behind a time stamp, before a check sum; and how much must follow a sync byte.
    [(188, 188), (192, 188), (204, 204)].into_iter().any(|(distance, whole)| {
        let last = tail.len().saturating_sub(distance)..tail.len();
        let in_step = |at: &usize| (0..RUN).all(|n| at.checked_sub(n * distance).is_some_and(|at| tail[at] == SYNC));
        last.into_iter().rev().find(in_step).is_some_and(|at| tail.len() - at < whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matroska_file_ends_where_its_segment_does() {
        let head = [0x1a, 0x45, 0xdf, 0xa3, 0x82, 1, 2, 0x18, 0x53, 0x80, 0x67];
        let with = |size: &[u8]| matroska_end(&[&head[..], size, &[0; 9]].concat());
        assert_eq!(with(&[0x85]), Some(12 + 5));
        assert_eq!(with(&[0x01, 0, 0, 0, 0, 0, 0x10, 0]), Some(19 + 0x1000));
        assert_eq!(with(&[0xff]), None, "unknown");
        assert_eq!(with(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None, "unknown");
        assert_eq!([matroska_end(&head), matroska_end(&[]), matroska_end(&[0; 20])], [None; 3]);
    }

    #[test]
    fn an_avi_file_ends_where_its_riff_does() {
        assert_eq!(avi_end(b"RIFF\x00\x01\x00\x00AVI "), Some(264));
        assert_eq!([avi_end(b"RIFF\0\0\0\0AVI "), avi_end(b"RIFF\x01"), avi_end(b"")], [None; 3]);
    }

    #[test]
    fn a_transport_stream_ends_behind_a_whole_packet() {
        for (before, after) in [(0, 187), (4, 187), (0, 203)] {
            let packet = [vec![0; before], vec![0x47], vec![0xff; after]].concat();
            let stream = packet.repeat(11);
            assert!(!ends_inside_packet(&stream), "{before} {after}");
            for cut in [1, 100, 180] {
                assert!(ends_inside_packet(&stream[..stream.len() - cut]), "{before} {after} {cut}");
            }
            assert!(!ends_inside_packet(&[&stream[..], &[0; 500]].concat()), "something else follows");
        }
        assert!(!ends_inside_packet(&[0x47; 100]) && !ends_inside_packet(&[]));
    }
}
