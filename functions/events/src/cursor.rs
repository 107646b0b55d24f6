//! Opaque cursors: base64url of a short text. Whoever keeps one holds a place in an order, not a number of rows, so that
//! pages neither repeat nor miss what is there throughout.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use detektor_backends::store::EventCursor;
use detektor_contract::{Epoch, Position, TimeUs};

/// What a cursor parameter must be, for error texts.
pub(crate) const EXPECTED: &str = "the 'next' of an earlier answer";

/// The place behind an event.
pub(crate) fn encode_event(cursor: &EventCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("e:{}:{}", cursor.start.0, cursor.id))
}

/// See [`encode_event`].
pub(crate) fn decode_event(text: &str) -> Option<EventCursor> {
    let text = decode(text)?;
    let (start, id) = text.strip_prefix("e:")?.split_once(':')?;
    Some(EventCursor { start: TimeUs(start.parse().ok()?), id: id.parse().ok()? })
}

/// A frame of a segment: the next one to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameCursor {
    /// The segment.
    pub(crate) at: Position,
    /// The frame's index within it.
    pub(crate) frame: u32,
}

/// The place before a frame.
pub(crate) fn encode_frame(cursor: FrameCursor) -> String {
    let FrameCursor { at, frame } = cursor;
    URL_SAFE_NO_PAD.encode(format!("f:{}:{}:{frame}", at.epoch, at.sequence))
}

/// See [`encode_frame`].
pub(crate) fn decode_frame(text: &str) -> Option<FrameCursor> {
    let text = decode(text)?;
    let mut numbers = text.strip_prefix("f:")?.split(':');
    let (epoch, sequence, frame) = (numbers.next()?, numbers.next()?, numbers.next()?);
    if numbers.next().is_some() {
        return None;
    }
    let at = Position { epoch: Epoch(epoch.parse().ok()?), sequence: sequence.parse().ok()? };
    Some(FrameCursor { at, frame: frame.parse().ok()? })
}

fn decode(text: &str) -> Option<String> {
    if text.len() > 512 {
        return None;
    }
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn cursors_read_back_and_refuse_the_rest() {
        let event = EventCursor { start: TimeUs(-5), id: "gate.1.2.3.4".parse().unwrap() };
        assert_eq!(decode_event(&encode_event(&event)), Some(event.clone()));
        let frame = FrameCursor { at: Position { epoch: Epoch(7), sequence: 9 }, frame: 3 };
        assert_eq!(decode_frame(&encode_frame(frame)), Some(frame));
        assert_eq!(decode_frame(&encode_event(&event)), None);
        for bad in ["", "!", "ZTo1", "ZjoxOjI6Mzo0", &"A".repeat(600)] {
            assert_eq!(decode_event(bad), None, "{bad}");
            assert_eq!(decode_frame(bad), None, "{bad}");
        }
    }
}
