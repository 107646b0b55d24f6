//! libavformat's demuxer behind a safe face: opens, refuses what is not taken, gives packets of the first video stream.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use detektor_contract::{Codec, Fault};
use detektor_media::{Framing, ParameterSets};
use detektor_runtime::unix_us;
use ffmpeg::ffi;

use super::log;
use super::packet::{Packet, framed};
use crate::source::{AccessUnit, Arrival, SourceError, SourceUrl, StreamInfo};

mod faults;
mod length;
mod patience;
mod remote;
mod rtsp;

use patience::Patience;

/// Containers that are taken, by the first of libavformat's names for each.
const CONTAINERS: [&str; 4] = ["mov", "matroska", "mpegts", "avi"];
/// Damaged packets in a row after which a file is given up.
const MAX_DAMAGED: u32 = 1_000;
/// Linux's numbers of these errors.
const EAGAIN: c_int = 11;
const EIO: c_int = 5;
const ETIMEDOUT: c_int = 110;

pub(super) enum Event {
    Stream(StreamInfo),
    Unit(AccessUnit),
    /// Packets on the way; how many.
    Lost(String),
}

pub(super) struct Demuxer {
    context: *mut ffi::AVFormatContext,
    io: *mut ffi::AVIOContext,
    patience: Arc<Patience>,
    timeout: Duration,
    stream: c_int,
    url: SourceUrl,
    container: String,
    info: StreamInfo,
    framing: Framing,
    ticks: i64,
    announced: bool,
    pending: VecDeque<Event>,
    saw_pts: bool,
    damaged: u32,
    /// The file's length by its own beginning.
    must_end_at: Option<u64>,
}

// SAFETY: the pointers are ours alone, and libavformat ties nothing to a thread.
unsafe impl Send for Demuxer {}

impl Demuxer {
    pub(super) fn open(url: &SourceUrl, timeout: Duration, cancelled: Arc<AtomicBool>) -> Result<Self, SourceError> {
        log::listen();
        log::forget();
        let mut demuxer = Self {
            context: ptr::null_mut(),
            io: ptr::null_mut(),
            patience: Arc::new(Patience::new(cancelled, timeout)),
            timeout,
            stream: -1,
            url: url.clone(),
            container: String::new(),
            info: StreamInfo { sets: ParameterSets::new(Codec::H264), time_scale: 1, frame: None },
            framing: Framing::AnnexB,
            ticks: 1,
            announced: false,
            pending: VecDeque::new(),
            saw_pts: false,
            damaged: 0,
            must_end_at: None,
        };
        if url.is_camera() {
            demuxer.begin_rtsp()?;
        } else {
            let format = demuxer.connect()?;
            demuxer.begin(format)?;
        }
        demuxer.choose_stream()?;
        Ok(demuxer)
    }

    /// Opens the bytes and says which container they are.
    fn connect(&mut self) -> Result<*const ffi::AVInputFormat, SourceError> {
        self.io = self.open_bytes()?;
        let mut format = ptr::null();
        // SAFETY: `io` is open; the name is libav's own static text.
        unsafe {
            let code = ffi::av_probe_input_buffer2(self.io, &mut format, ptr::null(), ptr::null_mut(), 0, 0);
            if code < 0 || format.is_null() {
                self.check_patience()?;
                return Err(self.no_video());
            }
            self.container = text((*format).name).split(',').next().unwrap_or_default().to_owned();
        }
        self.must_end_at = self.declared_end();
        match self.container.as_str() {
            known if CONTAINERS.contains(&known) => Ok(format),
            "hls" => Err(self.unsupported("HLS")),
            "mjpeg" | "mpjpeg" | "jpeg_pipe" => Err(self.unsupported("MJPEG")),
            other => Err(self.unsupported(other)),
        }
    }

    /// Reads the container's header.
    fn begin(&mut self, format: *const ffi::AVInputFormat) -> Result<(), SourceError> {
        self.renew_patience();
        // SAFETY: the context takes `io` as its own input and leaves closing it to us; on an error it frees itself.
        unsafe {
            self.context = ffi::avformat_alloc_context();
            if self.context.is_null() {
                return Err(self.refused("out of memory", Fault::Transient));
            }
            (*self.context).pb = self.io;
            (*self.context).interrupt_callback = self.patience.callback();
            let code = ffi::avformat_open_input(&mut self.context, ptr::null(), format, ptr::null_mut());
            if code < 0 {
                self.check_patience()?;
                let hint = match (self.container.as_str(), code) {
                    ("mov", ffi::AVERROR_INVALIDDATA | ffi::AVERROR_EOF) => {
                        "; its index is missing or damaged, as where a recording was cut off: copy it again, or repair it"
                    }
                    _ if code == ffi::AVERROR_EOF || log::take_premature_end() => "; it is cut off: copy it again",
                    _ => "",
                };
                let reason = format!("the {} file cannot be read: {}{hint}", self.container, error(code));
                return Err(self.refused(&reason, Fault::Permanent));
            }
            // The others say everything in their headers. This decodes a few pictures to learn what only they tell.
            if matches!(self.container.as_str(), "mpegts" | "avi") {
                let code = ffi::avformat_find_stream_info(self.context, ptr::null_mut());
                if code < 0 {
                    self.check_patience()?;
                    return Err(self.no_video());
                }
            }
        }
        Ok(())
    }

    fn choose_stream(&mut self) -> Result<(), SourceError> {
        // SAFETY: libav keeps `nb_streams` valid pointers there, or none at all.
        let streams = unsafe {
            let context = &*self.context;
            if context.streams.is_null() {
                return Err(self.no_video());
            }
            std::slice::from_raw_parts(context.streams, context.nb_streams as usize)
        };
        let mut refused = None;
        for (index, &stream) in streams.iter().enumerate() {
            // SAFETY: as above.
            let parameters = unsafe { &*(*stream).codecpar };
            let cover = unsafe { (*stream).disposition } & ffi::AV_DISPOSITION_ATTACHED_PIC as c_int != 0;
            if parameters.codec_type != ffi::AVMediaType::VIDEO || cover || self.stream >= 0 {
                // SAFETY: as above.
                unsafe { (*stream).discard = ffi::AVDiscard::ALL };
                continue;
            }
            match parameters.codec_id {
                ffi::AVCodecID::H264 => self.take_stream(index, stream, Codec::H264)?,
                ffi::AVCodecID::HEVC => self.take_stream(index, stream, Codec::H265)?,
                other => refused = Some(codec_name(other)),
            }
        }
        match (self.stream >= 0, refused) {
            (true, _) => Ok(()),
            (false, Some(codec)) => Err(self.unsupported(&codec)),
            (false, None) => Err(self.no_video()),
        }
    }

    fn take_stream(&mut self, index: usize, stream: *mut ffi::AVStream, codec: Codec) -> Result<(), SourceError> {
        // SAFETY: the caller took it out of the context; extradata is as long as libav says.
        let (base, rate, extradata) = unsafe {
            let parameters = &*(*stream).codecpar;
            let (data, length) = (parameters.extradata, parameters.extradata_size.max(0) as usize);
            let extradata = if data.is_null() { &[] } else { std::slice::from_raw_parts(data, length) };
            ((*stream).time_base, (*stream).avg_frame_rate, extradata)
        };
        let (sets, framing) = ParameterSets::from_extradata(codec, extradata).map_err(|e| self.unreadable(&e))?;
        if base.num <= 0 || base.den <= 0 {
            return Err(self.refused("it has no time scale", Fault::Permanent));
        }
        self.ticks = i64::from(base.num);
        self.framing = framing;
        let time_scale = base.den as u32;
        let frame = (rate.num > 0 && rate.den > 0)
            .then(|| i64::from(time_scale) * i64::from(rate.den) / i64::from(rate.num))
            .filter(|frame| *frame > 0);
        self.info = StreamInfo { sets, time_scale, frame };
        self.stream = index as c_int;
        Ok(())
    }

    /// The next thing in the stream; none at its end.
    pub(super) fn next(&mut self, live: bool) -> Result<Option<Event>, SourceError> {
        if !self.announced {
            self.announced = true;
            return Ok(Some(Event::Stream(self.info.clone())));
        }
        loop {
            if !self.awaits_times()
                && let Some(event) = self.pending.pop_front()
            {
                return Ok(Some(event));
            }
            self.renew_patience();
            let packet = Packet::new().ok_or_else(|| self.broken("out of memory"))?;
            // SAFETY: both are open and ours.
            let code = unsafe { ffi::av_read_frame(self.context, packet.as_ptr()) };
            if code < 0 {
                if self.goes_on_after(code)? {
                    continue;
                }
                return Ok(None);
            }
            // SAFETY: it was read.
            let (index, pts, dts, flags) = unsafe {
                let packet = &*packet.as_ptr();
                (packet.stream_index, packet.pts, packet.dts, packet.flags)
            };
            if index != self.stream {
                continue;
            }
            let lost = log::take_lost_packets();
            if lost > 0 {
                self.pending.push_back(Event::Lost(format!("{lost} RTP packets are missing")));
            } else if self.url.is_camera() && flags & ffi::AV_PKT_FLAG_CORRUPT as c_int != 0 {
                self.pending.push_back(Event::Lost("the picture is incomplete".to_owned()));
            }
            let changed = packet.new_extradata().map_or(Ok(false), |extradata| self.describe_anew(extradata))?;
            let Some(data) = framed(Bytes::from_owner(packet), self.framing) else {
                self.damaged += 1;
                continue;
            };
            self.damaged = 0;
            let time = |stamp: i64| (stamp != ffi::AV_NOPTS_VALUE).then(|| stamp.saturating_mul(self.ticks));
            let unit = AccessUnit {
                data,
                pts: time(pts),
                // Matroska and RTP have none; libav guesses.
                dts: time(dts).filter(|_| !matches!(self.container.as_str(), "matroska" | "rtsp")),
                arrival: live.then(now),
                hidden: flags & ffi::AV_PKT_FLAG_DISCARD as c_int != 0,
            };
            if self.awaits_times() {
                self.date_earlier(&unit);
            }
            self.saw_pts |= unit.pts.is_some();
            if changed {
                self.pending.push_back(Event::Stream(self.info.clone()));
            }
            self.pending.push_back(Event::Unit(unit));
        }
    }

    /// Whether to read on after an error; an error if the source broke off; no at its end.
    fn goes_on_after(&mut self, code: c_int) -> Result<bool, SourceError> {
        self.check_patience()?;
        if self.io.is_null() {
            return Err(self.camera_ended(code));
        }
        // SAFETY: `io` is open as long as the demuxer is.
        let (io_error, length) = unsafe { ((*self.io).error, ffi::avio_size(self.io)) };
        // Interrupted: we had waited long enough, perhaps already while an earlier picture was read.
        if [code, io_error].iter().any(|code| [ffi::AVERROR(ETIMEDOUT), ffi::AVERROR_EXIT].contains(code)) {
            return Err(self.silent());
        }
        // libav calls the end of an HTTP stream that has no length premature.
        let ends_anywhere = !self.url.is_file() && length <= 0;
        if ends_anywhere && [code, io_error].contains(&ffi::AVERROR(EIO)) {
            return Ok(false);
        }
        if code == ffi::AVERROR_EOF {
            if io_error < 0 && io_error != ffi::AVERROR_EOF {
                return Err(self.broken(&error(io_error)));
            }
            if self.damaged > 0 {
                return Err(self.broken("it is cut off: it ends inside a picture; copy it again"));
            }
            return match self.cut_off() {
                Some(reason) => Err(self.broken(&reason)),
                None => Ok(false),
            };
        }
        self.damaged += 1;
        // SAFETY: as above.
        let at_end = unsafe { ffi::avio_feof(self.io) } != 0;
        let skippable = code == ffi::AVERROR_INVALIDDATA || code == ffi::AVERROR(EAGAIN);
        if skippable && !at_end && self.damaged < MAX_DAMAGED {
            return Ok(true);
        }
        Err(self.broken(&if at_end {
            "it is cut off: it ends before its index says; copy it again".to_owned()
        } else {
            error(code)
        }))
    }

    /// Takes over another configuration record; says whether it is news.
    fn describe_anew(&mut self, extradata: &[u8]) -> Result<bool, SourceError> {
        let codec = self.info.sets.codec();
        let (sets, framing) = ParameterSets::from_extradata(codec, extradata).map_err(|e| self.unreadable(&e))?;
        let changed = sets != self.info.sets;
        self.framing = framing;
        self.info.sets = sets;
        Ok(changed)
    }

    pub(super) fn sets(&self) -> &ParameterSets {
        &self.info.sets
    }

    /// The container keeps no presentation times, and none came so far.
    pub(super) fn never_shows_times(&self) -> bool {
        self.container == "avi" && !self.saw_pts
    }

    fn renew_patience(&mut self) {
        self.patience.renew();
    }

    fn check_patience(&self) -> Result<(), SourceError> {
        if self.patience.is_over() {
            return Err(self.silent());
        }
        Ok(())
    }
}

impl Drop for Demuxer {
    fn drop(&mut self) {
        // SAFETY: both are ours or null, and both functions take null. The context does not close `io`, which it was given.
        unsafe {
            ffi::avformat_close_input(&mut self.context);
            ffi::avio_closep(&mut self.io);
        }
    }
}

fn now() -> Arrival {
    Arrival { monotonic: Instant::now(), unix_us: unix_us() }
}

/// # Safety
/// `options` must be null or a dictionary of libav's.
unsafe fn set(options: &mut *mut ffi::AVDictionary, key: &CStr, value: &CStr) {
    // SAFETY: libav copies both.
    unsafe { ffi::av_dict_set(options, key.as_ptr(), value.as_ptr(), 0) };
}

/// # Safety
/// `text` must be null or end in a zero byte.
unsafe fn text<'a>(text: *const c_char) -> &'a str {
    // SAFETY: by the caller.
    if text.is_null() { "" } else { unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default() }
}

fn codec_name(id: ffi::AVCodecID) -> String {
    match id {
        ffi::AVCodecID::MJPEG => "MJPEG".to_owned(),
        ffi::AVCodecID::MPEG4 => "MPEG-4 Part 2".to_owned(),
        ffi::AVCodecID::AV1 => "AV1".to_owned(),
        ffi::AVCodecID::NONE => "an unknown codec".to_owned(),
        // SAFETY: it answers with a static text for every number.
        other => unsafe { text(ffi::avcodec_get_name(other)) }.to_owned(),
    }
}

fn error(code: c_int) -> String {
    ffmpeg::Error::from(code).to_string()
}
