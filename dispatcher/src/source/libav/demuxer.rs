//! libavformat's demuxer behind a safe face: opens, refuses what is not taken, gives packets of the first video stream.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use detektor_contract::{Codec, Digest, Fault};
use detektor_media::nal::{self, AnnexB, LengthPrefixed};
use detektor_media::{Framing, MediaError, ParameterSets};
use ffmpeg::ffi;

use super::log;
use crate::source::url::Kind;
use crate::source::{AccessUnit, Arrival, SourceError, SourceUrl, StreamInfo, unix_us};

mod rtsp;

/// Containers that are taken, by the first of libavformat's names for each.
const CONTAINERS: [&str; 4] = ["mov", "matroska", "mpegts", "avi"];
/// Damaged packets in a row after which a file is given up.
const MAX_DAMAGED: u32 = 1_000;
/// How much of a remote file's beginning tells it from others.
const IDENTITY_BYTES: i64 = 1 << 20;
/// Linux's numbers of these errors.
const EAGAIN: c_int = 11;
const ETIMEDOUT: c_int = 110;

pub(super) enum Event {
    Stream(StreamInfo),
    Unit(AccessUnit),
    /// Packets on the way; how many.
    Lost(String),
}

/// What libav asks while it waits.
struct Patience {
    cancelled: Arc<AtomicBool>,
    deadline: Instant,
}

pub(super) struct Demuxer {
    context: *mut ffi::AVFormatContext,
    io: *mut ffi::AVIOContext,
    patience: Box<Patience>,
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
}

// SAFETY: the pointers are ours alone, and libavformat ties nothing to a thread.
unsafe impl Send for Demuxer {}

/// A packet's memory, shared with libav and given back when the last `Bytes` of it goes.
struct Packet(*mut ffi::AVPacket);

// SAFETY: a packet's data is not changed by anybody once it was read, and its count of references is atomic.
unsafe impl Send for Packet {}
// SAFETY: as above.
unsafe impl Sync for Packet {}

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

extern "C" fn interrupt(patience: *mut c_void) -> c_int {
    // SAFETY: the demuxer boxes it and outlives every call into libav.
    let patience = unsafe { &*patience.cast::<Patience>() };
    c_int::from(patience.cancelled.load(Ordering::Relaxed) || Instant::now() > patience.deadline)
}

impl Demuxer {
    pub(super) fn open(url: &SourceUrl, timeout: Duration, cancelled: Arc<AtomicBool>) -> Result<Self, SourceError> {
        log::listen();
        let mut demuxer = Self {
            context: ptr::null_mut(),
            io: ptr::null_mut(),
            patience: Box::new(Patience { cancelled, deadline: Instant::now() + timeout }),
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
        match self.container.as_str() {
            known if CONTAINERS.contains(&known) => Ok(format),
            "hls" => Err(self.unsupported("HLS")),
            "mjpeg" | "mpjpeg" | "jpeg_pipe" => Err(self.unsupported("MJPEG")),
            other => Err(self.unsupported(other)),
        }
    }

    fn open_bytes(&mut self) -> Result<*mut ffi::AVIOContext, SourceError> {
        let location = match self.url.kind() {
            Kind::File(path) => format!("file:{}", path.display()),
            Kind::Http | Kind::Rtsp => self.url.expose().to_owned(),
        };
        let protocols = if self.url.is_file() { c"file" } else { c"http,https,httpproxy,tcp,tls" };
        let location = CString::new(location).map_err(|_| self.refused("a zero byte in its name", Fault::Permanent))?;
        let (mut io, mut options) = (ptr::null_mut(), ptr::null_mut());
        let patience: *mut Patience = &mut *self.patience;
        let callback = ffi::AVIOInterruptCB { callback: Some(interrupt), opaque: patience.cast() };
        // SAFETY: every string outlives its call; the callback's argument is boxed and outlives what is opened.
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

    /// Reads the container's header.
    fn begin(&mut self, format: *const ffi::AVInputFormat) -> Result<(), SourceError> {
        self.renew_patience();
        let patience: *mut Patience = &mut *self.patience;
        // SAFETY: the context takes `io` as its own input and leaves closing it to us; on an error it frees itself.
        unsafe {
            self.context = ffi::avformat_alloc_context();
            if self.context.is_null() {
                return Err(self.refused("out of memory", Fault::Transient));
            }
            (*self.context).pb = self.io;
            (*self.context).interrupt_callback =
                ffi::AVIOInterruptCB { callback: Some(interrupt), opaque: patience.cast() };
            let code = ffi::avformat_open_input(&mut self.context, ptr::null(), format, ptr::null_mut());
            if code < 0 {
                self.check_patience()?;
                return Err(self.refused(
                    &format!("the {} file cannot be read: {}", self.container, error(code)),
                    Fault::Permanent,
                ));
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
        // SAFETY: libav keeps `nb_streams` valid pointers there.
        let streams =
            unsafe { std::slice::from_raw_parts((*self.context).streams, (*self.context).nb_streams as usize) };
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
            // SAFETY: a packet that is allocated here and freed by its `Drop`; the context is open.
            let (packet, code) = unsafe {
                let packet = Packet(ffi::av_packet_alloc());
                if packet.0.is_null() {
                    return Err(self.broken("out of memory"));
                }
                let code = ffi::av_read_frame(self.context, packet.0);
                (packet, code)
            };
            if code < 0 {
                if self.goes_on_after(code)? {
                    continue;
                }
                return Ok(None);
            }
            // SAFETY: it was read.
            let (index, pts, dts, flags) =
                unsafe { ((*packet.0).stream_index, (*packet.0).pts, (*packet.0).dts, (*packet.0).flags) };
            if index != self.stream {
                continue;
            }
            let lost = log::take_lost_packets();
            if lost > 0 {
                self.pending.push_back(Event::Lost(format!("{lost} RTP packets are missing")));
            } else if self.url.is_camera() && flags & ffi::AV_PKT_FLAG_CORRUPT as c_int != 0 {
                self.pending.push_back(Event::Lost("the picture is incomplete".to_owned()));
            }
            let changed = self.new_extradata(&packet)?;
            let data = self.framed(Bytes::from_owner(packet));
            let Some(data) = data else {
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
        let io_error = unsafe { (*self.io).error };
        if code == ffi::AVERROR_EOF {
            if io_error < 0 && io_error != ffi::AVERROR_EOF {
                return Err(self.broken(&error(io_error)));
            }
            if self.damaged > 0 {
                return Err(self.broken("it ends in the middle of a picture"));
            }
            return if self.index_outruns_file() {
                Err(self.broken("it ends before its index says"))
            } else {
                Ok(false)
            };
        }
        self.damaged += 1;
        // SAFETY: as above.
        let at_end = unsafe { ffi::avio_feof(self.io) } != 0;
        let skippable = code == ffi::AVERROR_INVALIDDATA || code == ffi::AVERROR(EAGAIN);
        if skippable && !at_end && self.damaged < MAX_DAMAGED {
            return Ok(true);
        }
        Err(self.broken(&if at_end { "it ends before its index says".to_owned() } else { error(code) }))
    }

    /// Whether the index names pictures behind the file's end: the file was cut off. libavformat takes that for its end.
    fn index_outruns_file(&self) -> bool {
        // SAFETY: the context and its streams are open, `stream` is one of them, and entries are read below their count.
        unsafe {
            let length = ffi::avio_size(self.io);
            let stream = *(*self.context).streams.add(self.stream as usize);
            let entries = ffi::avformat_index_get_entries_count(stream);
            length > 0
                && (0..entries).map(|n| ffi::avformat_index_get_entry(stream, n)).any(|entry| {
                    entry.as_ref().is_some_and(|entry| entry.pos.saturating_add(i64::from(entry.size())) > length)
                })
        }
    }

    fn new_extradata(&mut self, packet: &Packet) -> Result<bool, SourceError> {
        let mut size = 0;
        // SAFETY: the packet is ours; libav says how long its side data is.
        let extradata = unsafe {
            let data = ffi::av_packet_get_side_data(packet.0, ffi::AVPacketSideDataType::NEW_EXTRADATA, &mut size);
            if data.is_null() || size == 0 {
                return Ok(false);
            }
            std::slice::from_raw_parts(data, size as _)
        };
        let codec = self.info.sets.codec();
        let (sets, framing) = ParameterSets::from_extradata(codec, extradata).map_err(|e| self.unreadable(&e))?;
        let changed = sets != self.info.sets;
        self.framing = framing;
        self.info.sets = sets;
        Ok(changed)
    }

    /// The access unit behind 4-byte lengths; what is damaged is kept as far as it goes. None if there is nothing.
    fn framed(&self, packet: Bytes) -> Option<Bytes> {
        if let Ok(data) = nal::to_length_prefixed(&packet, self.framing) {
            return Some(data);
        }
        let mut out = Vec::with_capacity(packet.len() + 64);
        let mut add = |unit: &[u8]| {
            if let Ok(length) = u32::try_from(unit.len()) {
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(unit);
            }
        };
        match self.framing {
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

    pub(super) fn sets(&self) -> &ParameterSets {
        &self.info.sets
    }

    /// The container keeps no presentation times, and none came so far.
    pub(super) fn never_shows_times(&self) -> bool {
        self.container == "avi" && !self.saw_pts
    }

    /// What tells a remote file from others: its length and its first bytes. None for what has no length: it is live.
    pub(super) fn remote_content(&mut self) -> Result<Option<Digest>, SourceError> {
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

    fn renew_patience(&mut self) {
        self.patience.deadline = Instant::now() + self.timeout;
    }

    fn check_patience(&self) -> Result<(), SourceError> {
        if Instant::now() > self.patience.deadline {
            return Err(self.silent());
        }
        Ok(())
    }

    fn cannot_open(&self, code: c_int) -> SourceError {
        if let Err(silent) = self.check_patience() {
            return silent;
        }
        if code == ffi::AVERROR(ETIMEDOUT) {
            return self.silent();
        }
        let answers = [ffi::AVERROR_HTTP_UNAUTHORIZED, ffi::AVERROR_HTTP_FORBIDDEN, ffi::AVERROR_HTTP_NOT_FOUND];
        let permanent = self.url.is_file() || answers.contains(&code);
        self.refused(&error(code), if permanent { Fault::Permanent } else { Fault::Transient })
    }

    fn silent(&self) -> SourceError {
        SourceError::Silent { url: self.url.redacted(), waited: self.timeout }
    }

    fn refused(&self, reason: &str, fault: Fault) -> SourceError {
        SourceError::Open { url: self.url.redacted(), reason: self.url.scrub(reason), fault }
    }

    fn broken(&self, reason: &str) -> SourceError {
        SourceError::Broken { url: self.url.redacted(), reason: self.url.scrub(reason) }
    }

    fn unreadable(&self, error: &MediaError) -> SourceError {
        self.refused(&error.to_string(), Fault::Permanent)
    }

    fn unsupported(&self, codec: &str) -> SourceError {
        SourceError::Unsupported { url: self.url.redacted(), codec: codec.to_owned() }
    }

    fn no_video(&self) -> SourceError {
        SourceError::Empty { url: self.url.redacted(), reason: "no video in it (mp4, mov, mkv, ts and avi are known)" }
    }

    /// The stream ended without a picture.
    pub(super) fn empty(&self) -> SourceError {
        SourceError::Empty { url: self.url.redacted(), reason: "no picture in it" }
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
