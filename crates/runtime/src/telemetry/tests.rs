#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn log(format: LogFormat, filter: &str, body: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, body);
    lines.text()
}

#[test]
fn a_json_line_within_a_segment_carries_its_trace() {
    let trace: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let text = log(LogFormat::Json, "info", || {
        let _entered = trace.segment_span(&"gate/1/7".parse().unwrap()).entered();
        tracing::info!(frames = 3, "detected");
    });
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["message"], "detected");
    assert_eq!(line["frames"], 3);
    assert_eq!(line["spans"][0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["spans"][0]["camera"], "gate");
    assert_eq!(line["spans"][0]["segment"], "gate/1/7");
}

#[test]
fn the_filter_filters_and_a_bad_one_is_refused() {
    let text = log(LogFormat::Text, "warn", || {
        tracing::info!("quiet");
        tracing::warn!("loud");
    });
    assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
    let error = subscriber(LogFormat::Text, "detektor=shout", false, io::sink).err().unwrap();
    assert!(error.to_string().contains("detektor=shout"), "{error}");
    assert!("xml".parse::<LogFormat>().is_err());
}

#[test]
fn secrets_do_not_show() {
    let secret = secrecy::SecretString::from("hunter2");
    let text = log(LogFormat::Text, "info", || tracing::info!(?secret, "connecting"));
    assert!(text.contains("connecting") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_chain_names_each_cause_once() {
    let inner = io::Error::other("disk full");
    let error = io::Error::other(inner);
    assert_eq!(chain(&error), "disk full");
    let error = TelemetryError::Filter { filter: "x=y".into(), source: EnvFilter::builder().parse("x=y").unwrap_err() };
    assert!(chain(&error).starts_with("log filter \"x=y\" cannot be read: "));
}

#[test]
fn a_step_stays_in_its_trace() {
    let trace = Trace::begin();
    let mut headers = BTreeMap::new();
    trace.write(&mut headers);
    let next = Trace::from_headers(&headers);
    assert_eq!(next.id().to_string(), trace.id().to_string());
    assert_ne!(next, trace);
    headers.insert("traceparent".into(), "nonsense".into());
    assert_ne!(Trace::from_headers(&headers).id().to_string(), trace.id().to_string());
}

#[test]
fn traceparents_of_the_specification() {
    for good in [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
    ] {
        assert!(good.parse::<Trace>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    ] {
        assert!(bad.parse::<Trace>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        if let Ok(trace) = text.parse::<Trace>() {
            prop_assert!(trace.to_string().parse::<Trace>().is_ok());
        }
    }

    #[test]
    fn traces_read_back(trace_id in 1u128.., span_id in 1u64.., flags: u8) {
        let text = format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}");
        prop_assert_eq!(text.parse::<Trace>().unwrap().to_string(), text);
    }
}
