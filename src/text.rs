//! Records as lines for people.

use detektor_contract::Clock;
use detektor_events::views::{DetectionView, EventView, LedgerView, ObjectView};

/// An event: when, where, what, and how it ended.
pub fn event(event: &EventView) -> String {
    let end = match event.reason {
        None if event.stationary => "is there, standing".to_owned(),
        None => "is there".to_owned(),
        Some(reason) => format!("until {}, {}", time(event.end_s, event.clock), reason_text(reason)),
    };
    format!(
        "{}  {}  {} {:.2}  {end}  [{}]",
        time(event.start_s, event.clock),
        event.camera,
        event.label,
        event.best_score,
        event.id
    )
}

/// A frame that was looked at, and what was seen.
pub fn detections(frame: &DetectionView) -> String {
    let objects: Vec<String> = frame.objects.iter().map(object).collect();
    let seen = if objects.is_empty() { "nothing".to_owned() } else { objects.join(", ") };
    format!("{}  {}  frame {}  {seen}", time(frame.time_s, frame.clock), frame.camera, frame.frame)
}

fn object(object: &ObjectView) -> String {
    let [x, y, w, h] = object.bounds;
    format!("{} {:.2} at {x:.0},{y:.0} {w:.0}x{h:.0}", object.label, object.score)
}

/// What became of a camera's frames.
pub fn ledger(ledger: &LedgerView) -> String {
    let reasons = |by: &mut dyn Iterator<Item = (String, u64)>| {
        let parts: Vec<String> = by.map(|(reason, frames)| format!("{frames} {reason}")).collect();
        if parts.is_empty() { "0".to_owned() } else { parts.join(", ") }
    };
    let skipped = reasons(&mut ledger.skipped.iter().map(|(reason, n)| (word(reason), *n)));
    let failed = reasons(&mut ledger.failed.iter().map(|(reason, n)| (word(reason), *n)));
    let closes = if ledger.closes { "closes" } else { "DOES NOT CLOSE" };
    format!(
        "{}: {} captured = {} detected + skipped ({skipped}) + failed ({failed}); {} segments, {} gaps; {closes}",
        ledger.camera,
        ledger.captured,
        ledger.detected,
        ledger.segments,
        ledger.gaps.len()
    )
}

/// A word of the JSON form, as people read it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => "?".to_owned(),
    }
}

fn reason_text(reason: detektor_contract::CloseReason) -> String {
    word(&reason)
}

/// `mm:ss.t` of footage, or a moment in UTC.
pub fn time(seconds: f64, clock: Clock) -> String {
    match clock {
        Clock::Media => {
            let tenths = (seconds * 10.0).round() as i64;
            format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
        }
        Clock::Unix => match jiff::Timestamp::from_millisecond((seconds * 1000.0) as i64) {
            Ok(moment) => format!("{moment:.1}"),
            Err(_) => format!("{seconds}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footage_counts_minutes() {
        assert_eq!(time(0.0, Clock::Media), "00:00.0");
        assert_eq!(time(61.26, Clock::Media), "01:01.3");
        assert_eq!(time(59.96, Clock::Media), "01:00.0");
    }

    #[test]
    fn cameras_have_dates() {
        assert_eq!(time(0.0, Clock::Unix), "1970-01-01T00:00:00.0Z");
    }
}
