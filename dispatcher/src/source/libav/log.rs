//! What libav says in its log and nowhere else.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Once;

use ffmpeg::ffi;

#[cfg(target_arch = "x86_64")]
type Arguments = *mut ffi::__va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type Arguments = ffi::va_list;

/// How libavformat's RTP reader begins to say that packets are missing. It says so on the thread that reads.
const MISSED: &[u8] = b"RTP: missed ";
/// How its Matroska reader begins to say that a file is cut off, which its answers call the end.
const PREMATURE: &[u8] = b"File ended prematurely";

thread_local! {
    static LOST_PACKETS: Cell<u32> = const { Cell::new(0) };
    static ENDED_PREMATURELY: Cell<bool> = const { Cell::new(false) };
}

/// Takes libav's log from here on. What it would print is in our errors, or says nothing about what becomes of the video.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    // SAFETY: the function stays; libav may call it from any thread.
    ONCE.call_once(|| unsafe { ffi::av_log_set_callback(Some(note)) });
}

/// Another source is read on this thread from here on.
pub(super) fn forget() {
    LOST_PACKETS.set(0);
    ENDED_PREMATURELY.set(false);
}

/// Whether a file was found to be cut off on this thread since the last call.
pub(super) fn take_premature_end() -> bool {
    ENDED_PREMATURELY.take()
}

/// How many packets went missing on this thread since the last call.
pub(super) fn take_lost_packets() -> u32 {
    LOST_PACKETS.take()
}

unsafe extern "C" fn note(source: *mut c_void, level: c_int, format: *const c_char, arguments: Arguments) {
    // SAFETY: libav gives a text that ends in a zero byte.
    let text = if format.is_null() { b"" } else { unsafe { CStr::from_ptr(format) }.to_bytes() };
    if text.starts_with(PREMATURE) {
        ENDED_PREMATURELY.set(true);
    }
    if !text.starts_with(MISSED) {
        return;
    }
    let mut line: [c_char; 64] = [0; 64];
    let mut prefix = 0;
    // SAFETY: the format's own arguments; libav writes no more than it is told, a zero byte included.
    let line = unsafe {
        let length = line.len() as c_int;
        ffi::av_log_format_line2(source, level, format, arguments, line.as_mut_ptr(), length, &mut prefix);
        CStr::from_ptr(line.as_ptr())
    };
    let lost = count(line.to_bytes());
    LOST_PACKETS.set(LOST_PACKETS.get().saturating_add(lost));
}

/// The number in the line; 1 if there is none.
fn count(line: &[u8]) -> u32 {
    let digits = line.strip_prefix(MISSED).unwrap_or_default();
    let digits = digits.iter().take_while(|digit| digit.is_ascii_digit()).copied().collect();
    String::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn lost_packets_are_counted_on_the_thread_that_reads() {
        listen();
        let say = |format: &CStr, n: c_int| {
            // SAFETY: the format takes one int.
            unsafe { ffi::av_log(std::ptr::null_mut(), ffi::AV_LOG_WARNING, format.as_ptr(), n) }
        };
        say(c"RTP: missed %d packets\n", 7);
        say(c"max delay of %dus reached\n", 100_000);
        say(c"RTP: missed %d packets\n", 5);
        std::thread::spawn(|| assert_eq!(take_lost_packets(), 0)).join().unwrap();
        assert_eq!([take_lost_packets(), take_lost_packets()], [12, 0]);
        assert_eq!(count(b"RTP: missed a few"), 1);
        say(c"File ended prematurely at pos. %d\n", 5);
        assert_eq!([take_premature_end(), take_premature_end()], [true, false]);
    }
}
