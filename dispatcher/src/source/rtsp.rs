//! RTSP with its video inside the same TCP connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::{Codec, Fault, GapCause};
use detektor_media::ParameterSets;
use detektor_runtime::unix_us;
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use retina::client::{
    Credentials, Demuxed, Described, InitialTimestampPolicy, PlayOptions, Session, SessionOptions, SetupOptions,
    Stream, TeardownPolicy,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame};
use tokio::time::timeout;
use url::Url;

use super::names;
use super::reports::SenderClock;
use super::{AccessUnit, Arrival, Item, OpenOptions, Opened, Source, SourceError, SourceUrl, StreamInfo, unauthorized};

/// Status codes after which the same request cannot succeed. Others pass: a camera that starts answers 404 and 503.
const REFUSALS: [u16; 2] = [UNAUTHORIZED, 403];
const UNAUTHORIZED: u16 = 401;

struct RtspSource {
    url: SourceUrl,
    timeout: Duration,
    /// None after an error.
    session: Option<Demuxed>,
    stream: usize,
    info: StreamInfo,
    clock: SenderClock,
    ready: VecDeque<Item>,
    /// Since when a frame is waited for, over waits that were cancelled.
    waiting_since: Option<Instant>,
    /// A frame came.
    began: bool,
}

pub(super) async fn open(url: &SourceUrl, options: OpenOptions) -> Result<Opened, SourceError> {
    let silent = || SourceError::Silent { url: url.redacted(), waited: options.timeout };
    let source = timeout(options.timeout, RtspSource::connect(url, options.timeout)).await.map_err(|_| silent())??;
    Ok(Opened { source: Box::new(source), content: None })
}

impl RtspSource {
    async fn connect(url: &SourceUrl, timeout: Duration) -> Result<Self, SourceError> {
        let (mut address, credentials) = address(url)?;
        // Half of the time stays for the system's own way.
        names::resolve(&mut address, timeout / 2).await;
        let anonymous = credentials.is_none();
        let refused = |error| refused(url, &error, anonymous);
        // The connection's end is the session's end; a request of its own would outlive us.
        let options = SessionOptions::default()
            .creds(credentials)
            .user_agent(concat!("detektor/", env!("CARGO_PKG_VERSION")).to_owned())
            .teardown(TeardownPolicy::Never);
        let mut session = Session::describe(address, options).await.map_err(refused)?;
        let (stream, codec) = choose_stream(url, &session)?;
        // Parameter sets are asked for, so that those outside key frames are seen as well.
        let setup = SetupOptions::default().frame_format(FrameFormat::MP4);
        session.setup(stream, setup).await.map_err(refused)?;
        // With one stream there is nothing that its first timestamp has to fit, and many cameras do not tell it.
        let play = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Ignore);
        let session = session.play(play).await.map_err(refused)?.demuxed().map_err(refused)?;
        let time_scale = session.streams()[stream].clock_rate_hz();
        if time_scale == 0 {
            return Err(open_error(url, "it has no time scale", Fault::Permanent));
        }
        let frame = frame_ticks(&session.streams()[stream], time_scale);
        let mut source = Self {
            url: url.clone(),
            timeout,
            session: Some(session),
            stream,
            info: StreamInfo { sets: ParameterSets::new(codec), time_scale, frame },
            clock: SenderClock::new(time_scale),
            ready: VecDeque::new(),
            waiting_since: None,
            began: false,
        };
        source.read_sets()?;
        source.ready.push_back(Item::Stream(source.info.clone()));
        Ok(source)
    }

    /// Takes over the parameter sets that are in force, and says whether they are others than before.
    fn read_sets(&mut self) -> Result<bool, SourceError> {
        let stream = self.session.as_ref().and_then(|session| session.streams().get(self.stream));
        let Some(ParametersRef::Video(parameters)) = stream.and_then(Stream::parameters) else { return Ok(false) };
        let (sets, _) = ParameterSets::from_extradata(self.info.sets.codec(), parameters.extra_data())
            .map_err(|error| broken(&self.url, &error.to_string()))?;
        let changed = sets != self.info.sets;
        self.info.sets = sets;
        Ok(changed)
    }

    async fn frame(&mut self) -> Result<VideoFrame, SourceError> {
        let Some(session) = &mut self.session else { return Err(broken(&self.url, "it has ended")) };
        loop {
            match session.next().await {
                Some(Ok(CodecItem::VideoFrame(frame))) => return Ok(frame),
                Some(Ok(CodecItem::Rtcp(packets))) if packets.stream_id() == self.stream => {
                    let reports = packets.pkts().filter_map(|packet| packet.as_sender_report().ok().flatten());
                    if let (Some(report), Some(at)) = (reports.last(), packets.rtp_timestamp()) {
                        self.clock.take(at.timestamp(), report.ntp_timestamp().0);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(&self.url, &first_line(&error))),
                None => return Err(broken(&self.url, "the camera closed the connection")),
            }
        }
    }

    fn take(&mut self, frame: VideoFrame) -> Result<(), SourceError> {
        if frame.loss() > 0 && self.began {
            let detail = format!("{} RTP packets are missing", frame.loss());
            self.ready.push_back(Item::Lost { cause: GapCause::PacketLoss, detail });
        }
        self.began = true;
        if frame.has_new_parameters() && self.read_sets()? {
            self.ready.push_back(Item::Stream(self.info.clone()));
        }
        let monotonic = frame.start_ctx().received();
        let age = i64::try_from(monotonic.elapsed().as_micros()).unwrap_or(0);
        let pts = frame.timestamp().timestamp();
        let captured = self.clock.captured(pts, unix_us().saturating_sub(age));
        self.ready.push_back(Item::Unit(AccessUnit {
            pts: Some(pts),
            dts: None,
            arrival: Some(Arrival { monotonic, unix_us: captured }),
            hidden: false,
            data: Bytes::from(frame.into_data()),
        }));
        Ok(())
    }
}

#[async_trait]
impl Source for RtspSource {
    async fn next(&mut self) -> Result<Option<Item>, SourceError> {
        if let Some(item) = self.ready.pop_front() {
            return Ok(Some(item));
        }
        if self.session.is_none() {
            return Ok(None);
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let left = self.timeout.saturating_sub(since.elapsed());
        let frame = match timeout(left, self.frame()).await {
            Ok(frame) => frame,
            Err(_) => Err(SourceError::Silent { url: self.url.redacted(), waited: self.timeout }),
        };
        self.waiting_since = None;
        if let Err(error) = frame.and_then(|frame| self.take(frame)) {
            self.session = None;
            return Err(error);
        }
        Ok(self.ready.pop_front())
    }
}

/// The URL without credentials, and the credentials.
fn address(url: &SourceUrl) -> Result<(Url, Option<Credentials>), SourceError> {
    let unusable = || open_error(url, "its URL cannot be used", Fault::Permanent);
    let mut address = Url::parse(url.expose()).map_err(|_| unusable())?;
    if address.scheme() != "rtsp" {
        return Err(open_error(url, "RTSP over TLS is not supported", Fault::Permanent));
    }
    let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let (username, password) = (text(address.username()), text(address.password().unwrap_or_default()));
    let credentials = (!username.is_empty() || !password.is_empty()).then_some(Credentials { username, password });
    address.set_username("").and_then(|()| address.set_password(None)).map_err(|()| unusable())?;
    Ok((address, credentials))
}

/// The first stream of video that is taken.
fn choose_stream(url: &SourceUrl, session: &Session<Described>) -> Result<(usize, Codec), SourceError> {
    let mut refused = None;
    for (n, stream) in session.streams().iter().enumerate().filter(|(_, stream)| stream.media() == "video") {
        match stream.encoding_name() {
            "h264" => return Ok((n, Codec::H264)),
            "h265" => return Ok((n, Codec::H265)),
            "jpeg" => refused = Some("MJPEG".to_owned()),
            "mp4v-es" => refused = Some("MPEG-4 Part 2".to_owned()),
            other => refused = Some(other.to_ascii_uppercase()),
        }
    }
    Err(match refused {
        Some(codec) => SourceError::Unsupported { url: url.redacted(), codec },
        None => SourceError::Empty { url: url.redacted(), reason: "no video in it" },
    })
}

/// The length of a frame by the session description.
fn frame_ticks(stream: &Stream, time_scale: u32) -> Option<i64> {
    let rate = f64::from(stream.framerate()?);
    (1.0..=1_000.0).contains(&rate).then(|| (f64::from(time_scale) / rate).round() as i64)
}

fn refused(url: &SourceUrl, error: &retina::Error, anonymous: bool) -> SourceError {
    let status = error.status_code();
    let fault = if status.is_some_and(|code| REFUSALS.contains(&code)) { Fault::Permanent } else { Fault::Transient };
    match status {
        Some(UNAUTHORIZED) => open_error(url, unauthorized(!anonymous), fault),
        _ => open_error(url, &first_line(error), fault),
    }
}

fn open_error(url: &SourceUrl, reason: &str, fault: Fault) -> SourceError {
    SourceError::Open { url: url.redacted(), reason: url.scrub(reason), fault }
}

fn broken(url: &SourceUrl, reason: &str) -> SourceError {
    SourceError::Broken { url: url.redacted(), reason: url.scrub(reason) }
}

/// What went wrong; where in the stream of bytes it did follows in further lines.
fn first_line(error: &retina::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
