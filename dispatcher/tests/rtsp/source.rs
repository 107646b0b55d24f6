//! What comes out of a source, and what ends it.

use std::time::{Duration, Instant};

use detektor_contract::{Fault, Faulty, GapCause};
use detektor_dispatcher::source::{
    AccessUnit, Item, OpenOptions, RtspTransport, Source, SourceError, StreamInfo, open,
};
use detektor_media::{ParameterSets, classify};
use tokio::time::timeout;

use crate::support::{Server, log};

const BOTH: [RtspTransport; 2] = [RtspTransport::Tcp, RtspTransport::Udp];
/// Far beyond what anything here takes: reached only if it never comes.
const NEVER: Duration = Duration::from_secs(60);

fn patient(rtsp_transport: RtspTransport) -> OpenOptions {
    OpenOptions { timeout: Duration::from_secs(30), rtsp_transport }
}

fn impatient(rtsp_transport: RtspTransport) -> OpenOptions {
    OpenOptions { timeout: Duration::from_secs(1), rtsp_transport }
}

async fn connect(url: &str, options: OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    let opened = timeout(NEVER, open(&url.parse().unwrap(), options)).await.expect("in bounded time")?;
    assert!(opened.content.is_none(), "a camera has no content of its own");
    Ok(opened.source)
}

async fn refusal(url: &str, options: OpenOptions) -> SourceError {
    connect(url, options).await.err().expect("a refusal")
}

async fn next(source: &mut dyn Source) -> Result<Item, SourceError> {
    let item = timeout(NEVER, source.next()).await.expect("in bounded time")?;
    Ok(item.expect("a camera never ends well"))
}

/// The stream's form, and its first access units.
async fn units(source: &mut dyn Source, count: usize) -> (StreamInfo, Vec<AccessUnit>) {
    let Item::Stream(mut info) = next(source).await.unwrap() else { panic!("no form") };
    let mut units = Vec::new();
    while units.len() < count {
        match next(source).await.unwrap() {
            Item::Stream(newer) => info = newer,
            Item::Unit(unit) => units.push(unit),
            Item::Lost { .. } => {}
        }
    }
    (info, units)
}

/// What ends the source.
async fn end(source: &mut dyn Source) -> SourceError {
    loop {
        if let Err(error) = next(source).await {
            assert!(timeout(NEVER, source.next()).await.unwrap().unwrap().is_none(), "nothing follows an error");
            return error;
        }
    }
}

#[tokio::test]
async fn frames_come_from_every_codec_over_every_transport() {
    for codec in ["h264", "h265"] {
        let server = Server::start(&["--codec", codec]).unwrap();
        for transport in BOTH {
            let mut source = connect(&server.url(""), patient(transport)).await.unwrap();
            let (info, units) = units(source.as_mut(), 35).await;
            let mut sets: ParameterSets = info.sets;
            let mut borders = 0;
            for unit in &units {
                sets.update(&unit.data).unwrap();
                let seen = classify(&sets, &unit.data);
                assert!(seen.picture, "{codec} over {transport:?}");
                borders += usize::from(seen.border.is_some());
            }
            assert_eq!((info.time_scale, sets.size()), (90_000, Some((320, 240))), "{codec} over {transport:?}");
            assert!(borders >= 2, "{codec} over {transport:?}: {borders} key frames");
            let times: Vec<i64> = units.iter().map(|unit| unit.pts.unwrap()).collect();
            assert!(times.is_sorted_by(|a, b| a < b), "{codec} over {transport:?}: {times:?}");
            assert!(units.iter().all(|unit| unit.dts.is_none() && unit.arrival.is_some() && !unit.hidden));
        }
    }
}

#[tokio::test]
async fn passwords_open_and_show_nowhere() {
    const SECRETS: [&str; 4] = ["s:cr@t/1", "s%3Acr%40t%2F1", "operator", "wr0ng"];
    log();
    for method in ["basic", "digest"] {
        let server = Server::start(&["--auth", method, "--user", "operator", "--password", SECRETS[0]]).unwrap();
        for transport in BOTH {
            let mut source = connect(&server.url("operator:s%3Acr%40t%2F1@"), patient(transport)).await.unwrap();
            assert_eq!(units(source.as_mut(), 1).await.1.len(), 1);
            for user in ["operator:wr0ng@", ""] {
                let error = refusal(&server.url(user), patient(transport)).await;
                assert_eq!(error.fault(), Fault::Permanent, "{error}");
                let text = format!("{error} {error:?} {}", detektor_runtime::chain(&error));
                assert!(text.contains(&server.url("")), "{text}");
                assert!(text.contains(if user.is_empty() { "wants a user name" } else { "wrong user name" }), "{text}");
                assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
            }
        }
    }
    let log = log();
    assert!(log.contains("SETUP response"), "what is searched is not the log");
    for line in log.lines() {
        assert!(SECRETS.iter().all(|secret| !line.contains(secret)), "{line}");
    }
}

#[tokio::test]
async fn packets_that_are_lost_on_the_way_are_told() {
    let server = Server::start_lossy().unwrap();
    for transport in BOTH {
        let mut source = connect(&server.url(""), patient(transport)).await.unwrap();
        let (cause, detail) = loop {
            if let Item::Lost { cause, detail } = next(source.as_mut()).await.unwrap() {
                break (cause, detail);
            }
        };
        assert_eq!(cause, GapCause::PacketLoss);
        let lost: Option<u32> = detail.strip_suffix(" RTP packets are missing").and_then(|n| n.parse().ok());
        assert!(lost.is_some_and(|n| n > 0), "{transport:?}: {detail}");
    }
}

#[tokio::test]
async fn other_codecs_are_refused_by_name() {
    let server = Server::start(&["--codec", "mjpeg"]).unwrap();
    for transport in BOTH {
        // The server answers 503 while it takes down the stream of the client before: as a camera does that restarts.
        let given_up = Instant::now() + Duration::from_secs(30);
        let error = loop {
            let error = refusal(&server.url(""), patient(transport)).await;
            if error.fault() == Fault::Permanent || Instant::now() > given_up {
                break error;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert!(matches!(&error, SourceError::Unsupported { codec, .. } if codec == "MJPEG"), "{error}");
    }
}

#[tokio::test]
async fn a_camera_that_does_not_have_the_stream_may_have_it_later() {
    let server = Server::start(&[]).unwrap();
    for transport in BOTH {
        let error = refusal(&format!("{}s", server.url("")), patient(transport)).await;
        assert!(matches!(error, SourceError::Open { .. }), "{error}");
        assert!(error.to_string().contains("404"), "{error}");
        assert_eq!(error.fault(), Fault::Transient);
    }
}

#[tokio::test]
async fn a_camera_that_never_answers_is_silent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/camera", listener.local_addr().unwrap());
    for transport in BOTH {
        let error = refusal(&url, impatient(transport)).await;
        assert!(matches!(error, SourceError::Silent { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_camera_that_hangs_is_silent() {
    for transport in BOTH {
        let server = Server::start(&[]).unwrap();
        // Patient enough for a busy machine's first frame.
        let options = OpenOptions { timeout: Duration::from_secs(5), rtsp_transport: transport };
        let mut source = connect(&server.url(""), options).await.unwrap();
        units(source.as_mut(), 3).await;
        server.freeze();
        let frozen = Instant::now();
        // Cancelled waits count as well.
        let error = loop {
            match timeout(Duration::from_millis(300), source.next()).await {
                Ok(Err(error)) => break error,
                Ok(Ok(item)) => assert!(item.is_some()),
                Err(_) => assert!(frozen.elapsed() < NEVER, "{transport:?}: it waits for ever"),
            }
        };
        assert!(matches!(error, SourceError::Silent { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_camera_that_goes_away_breaks_off() {
    for transport in BOTH {
        let server = Server::start(&[]).unwrap();
        let mut source = connect(&server.url(""), patient(transport)).await.unwrap();
        units(source.as_mut(), 3).await;
        drop(server);
        let error = end(source.as_mut()).await;
        assert!(matches!(error, SourceError::Broken { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Transient);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/camera", listener.local_addr().unwrap());
    drop(listener);
    for transport in BOTH {
        let error = refusal(&url, patient(transport)).await;
        assert_eq!(error.fault(), Fault::Transient, "{error}");
    }
}

#[tokio::test]
async fn tls_is_refused() {
    for transport in BOTH {
        let error = refusal("rtsps://127.0.0.1/camera", patient(transport)).await;
        assert!(error.to_string().contains("TLS"), "{error}");
        assert_eq!(error.fault(), Fault::Permanent);
    }
}
