//! The bytes of files and remote files, by libavformat's protocols, and what tells a remote file from others.

use std::ffi::{CString, c_int};
use std::ptr;

use detektor_contract::{Digest, Fault};
use detektor_runtime::camera::Kind;
use ffmpeg::ffi;

use super::{Demuxer, set};
use crate::source::SourceError;

/// How much of a remote file's beginning tells it from others.
const IDENTITY_BYTES: i64 = 1 << 20;

impl Demuxer {
    pub(super) fn open_bytes(&mut self) -> Result<*mut ffi::AVIOContext, SourceError> {
        let location = match self.url.kind() {
            Kind::File(path) => {
                let kind =
                    std::fs::metadata(path).map_err(|error| self.refused(&error.to_string(), Fault::Permanent))?;
                if !kind.is_file() {
                    // A pipe would give its bytes only once, and perhaps never.
                    return Err(self.refused("it is not a regular file", Fault::Permanent));
                }
                format!("file:{}", path.display())
            }
            Kind::Http | Kind::Rtsp => self.url.expose().to_owned(),
        };
        let protocols = if self.url.is_file() { c"file" } else { c"http,https,httpproxy,tcp,tls" };
        let location = CString::new(location).map_err(|_| self.refused("a zero byte in its name", Fault::Permanent))?;
        let (mut io, mut options) = (ptr::null_mut(), ptr::null_mut());
        let callback = self.patience.callback();
        // SAFETY: every string outlives its call; the callback's argument outlives what is opened.
        let code = unsafe {
            set(&mut options, c"protocol_whitelist", protocols);
            if !self.url.is_file() {
                let microseconds = CString::new(self.timeout.as_micros().to_string()).unwrap_or_default();
                set(&mut options, c"rw_timeout", &microseconds);
            }
            let read = ffi::AVIO_FLAG_READ as c_int;
            let code = ffi::avio_open2(&mut io, location.as_ptr(), read, &callback, &mut options);
            ffi::av_dict_free(&mut options);
            code
        };
        if code < 0 { Err(self.cannot_open(code)) } else { Ok(io) }
    }

    /// What tells a remote file from others: its length and its first bytes. None for what has no length: it is live.
    pub(in crate::source::libav) fn remote_content(&mut self) -> Result<Option<Digest>, SourceError> {
        if self.io.is_null() {
            return Ok(None);
        }
        self.renew_patience();
        // SAFETY: `io` is open.
        let length = unsafe { ffi::avio_size(self.io) };
        if length <= 0 {
            return Ok(None);
        }
        // A connection of its own: not every server lets us go back to the beginning.
        let mut io = self.open_bytes()?;
        let mut piece = vec![0_u8; IDENTITY_BYTES.min(length) as usize];
        // SAFETY: it was opened; the piece is as long as said; it is closed on every way.
        let read = unsafe {
            let read = ffi::avio_read(io, piece.as_mut_ptr(), piece.len() as c_int);
            ffi::avio_closep(&mut io);
            read
        };
        if read != piece.len() as c_int {
            self.check_patience()?;
            return Err(self.broken("it gives less than the length it names"));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&length.to_be_bytes()).update(&piece);
        Ok(Some(Digest::of_hash(&hasher.finalize())))
    }
}
