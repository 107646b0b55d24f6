//! What goes wrong, in the source's words and without its secrets.

use std::ffi::c_int;

use detektor_contract::Fault;
use detektor_media::MediaError;
use ffmpeg::ffi;

use super::{Demuxer, ETIMEDOUT, error};
use crate::source::{SourceError, unauthorized};

impl Demuxer {
    pub(super) fn cannot_open(&self, code: c_int) -> SourceError {
        if let Err(silent) = self.check_patience() {
            return silent;
        }
        if code == ffi::AVERROR(ETIMEDOUT) {
            return self.silent();
        }
        if code == ffi::AVERROR_HTTP_UNAUTHORIZED {
            return self.refused(unauthorized(self.url.has_credentials()), Fault::Permanent);
        }
        let answers = [ffi::AVERROR_HTTP_FORBIDDEN, ffi::AVERROR_HTTP_NOT_FOUND];
        let permanent = self.url.is_file() || answers.contains(&code);
        self.refused(&error(code), if permanent { Fault::Permanent } else { Fault::Transient })
    }

    pub(super) fn silent(&self) -> SourceError {
        SourceError::Silent { url: self.url.redacted(), waited: self.timeout }
    }

    pub(super) fn refused(&self, reason: &str, fault: Fault) -> SourceError {
        SourceError::Open { url: self.url.redacted(), reason: self.url.scrub(reason), fault }
    }

    pub(super) fn broken(&self, reason: &str) -> SourceError {
        SourceError::Broken { url: self.url.redacted(), reason: self.url.scrub(reason) }
    }

    pub(super) fn unreadable(&self, error: &MediaError) -> SourceError {
        self.refused(&error.to_string(), Fault::Permanent)
    }

    pub(super) fn unsupported(&self, codec: &str) -> SourceError {
        SourceError::Unsupported { url: self.url.redacted(), codec: codec.to_owned() }
    }

    pub(super) fn no_video(&self) -> SourceError {
        SourceError::Empty {
            url: self.url.redacted(),
            reason: "no video in it: mp4, mov, mkv, ts or avi with H.264 or H.265 is needed",
        }
    }

    /// The stream ended without a picture.
    pub(in crate::source::libav) fn empty(&self) -> SourceError {
        SourceError::Empty { url: self.url.redacted(), reason: "no picture in it: nothing was recorded" }
    }
}
