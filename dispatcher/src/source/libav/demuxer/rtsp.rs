//! RTSP with its video in UDP packets, which libavformat puts back in order.

use std::ffi::CString;
use std::ptr;

use detektor_contract::Fault;
use ffmpeg::ffi;

use super::{Demuxer, ETIMEDOUT, Event, error, set};
use crate::source::{AccessUnit, SourceError, unauthorized};

/// Bytes that the kernel holds while we are busy, as far as it allows: a key frame of 4K comes at once.
const SOCKET_BYTES: &str = "4194304";

/// Pictures without a time after which no time is waited for.
const MOST_UNDATED: usize = 16;

impl Demuxer {
    /// Asks the camera for its video streams.
    pub(super) fn begin_rtsp(&mut self) -> Result<(), SourceError> {
        if !self.url.expose().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtsp://")) {
            return Err(self.refused("RTSP over TLS is not supported", Fault::Permanent));
        }
        self.container = "rtsp".to_owned();
        let unusable = || self.refused("its URL cannot be used", Fault::Permanent);
        let location = CString::new(self.url.expose()).map_err(|_| unusable())?;
        let microseconds = CString::new(self.timeout.as_micros().to_string()).unwrap_or_default();
        let socket_bytes = CString::new(SOCKET_BYTES).unwrap_or_default();
        let mut options = ptr::null_mut();
        // SAFETY: every string outlives its call; the callback's argument outlives the context; on an error
        // the context frees itself.
        unsafe {
            self.context = ffi::avformat_alloc_context();
            if self.context.is_null() {
                return Err(self.refused("out of memory", Fault::Transient));
            }
            (*self.context).interrupt_callback = self.patience.callback();
            set(&mut options, c"protocol_whitelist", c"rtsp,rtp,tcp,udp");
            set(&mut options, c"rtsp_transport", c"udp");
            set(&mut options, c"allowed_media_types", c"video");
            set(&mut options, c"timeout", &microseconds);
            set(&mut options, c"buffer_size", &socket_bytes);
            let format = ffi::av_find_input_format(c"rtsp".as_ptr());
            let code = ffi::avformat_open_input(&mut self.context, location.as_ptr(), format, &mut options);
            ffi::av_dict_free(&mut options);
            if code < 0 { Err(self.cannot_begin(code)) } else { Ok(()) }
        }
    }

    fn cannot_begin(&self, code: i32) -> SourceError {
        if let Err(silent) = self.check_patience() {
            return silent;
        }
        match code {
            ffi::AVERROR_HTTP_UNAUTHORIZED => self.refused(unauthorized(self.url.has_credentials()), Fault::Permanent),
            ffi::AVERROR_HTTP_FORBIDDEN => self.refused(&error(code), Fault::Permanent),
            _ if code == ffi::AVERROR(ETIMEDOUT) => self.silent(),
            _ => self.refused(&error(code), Fault::Transient),
        }
    }

    /// libavformat's parser forgets the time of the first picture, so that is held back until a picture has one.
    pub(super) fn awaits_times(&self) -> bool {
        self.url.is_camera() && !self.saw_pts && self.pending.len() < MOST_UNDATED
    }

    /// Gives what is held back the times that its arrival before `next` suggests.
    pub(super) fn date_earlier(&mut self, next: &AccessUnit) {
        let (Some(mut pts), Some(mut arrival)) = (next.pts, next.arrival) else { return };
        for event in self.pending.iter_mut().rev() {
            if let Event::Unit(AccessUnit { pts: time, arrival: Some(came), .. }) = event {
                let before = (arrival.monotonic - came.monotonic).as_secs_f64() * f64::from(self.info.time_scale);
                (pts, arrival) = (pts - (before as i64).max(1), *came);
                *time = Some(pts);
            }
        }
    }

    /// Why there is nothing more.
    pub(super) fn camera_ended(&self, code: i32) -> SourceError {
        match code {
            ffi::AVERROR_EOF => self.broken("the camera closed the connection"),
            _ if code == ffi::AVERROR(ETIMEDOUT) => self.silent(),
            _ => self.broken(&error(code)),
        }
    }
}
