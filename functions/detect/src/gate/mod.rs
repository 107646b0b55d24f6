//! The gate: whether there is anything to look at, as cheaply as that can be told.
//!
//! It knows one segment and nothing of those before, so any worker judges a segment alike. First packet sizes, for
//! which nothing is decoded ([`still`]); then what moved between decoded pictures ([`Watch`]). Where neither can tell,
//! it is open. A quiet segment is looked at now and then all the same ([`due`]).

mod crops;
mod motion;
mod sizes;
mod thumb;

pub use crops::crops;
pub use motion::{Moved, Watch};
pub use sizes::still;

use detektor_contract::{CameraId, Digest, Span};

/// How often a quiet camera is looked at, in microseconds.
const QUIET_LOOK_US: i128 = 10_000_000;

/// Whether a quiet segment is looked at nevertheless: when capture time plus a shift of the camera's own, so that not
/// all cameras have their turn together, crosses a multiple of ten seconds within it.
pub fn due(camera: &CameraId, span: &Span) -> bool {
    let [a, b, c, d, ..] = Digest::of(camera.as_str().as_bytes()).0;
    let shift = i128::from(u32::from_le_bytes([a, b, c, d])) % QUIET_LOOK_US;
    // The last multiple before a time belongs to whoever ends there.
    let before = |us: i64| (i128::from(us) + shift - 1).div_euclid(QUIET_LOOK_US);
    before(span.end.0) > before(span.start.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use detektor_contract::{Clock, TimeUs};
    use proptest::prelude::*;

    use super::*;

    fn span(start: i64, end: i64) -> Span {
        let (start, end) = (TimeUs(start), TimeUs(end));
        Span { first_frame: 0, frames: 1, start, end, clock: Clock::Media, key_frame: None }
    }

    proptest! {
        /// However ten seconds are cut into segments, exactly one of them is due.
        #[test]
        fn once_in_ten_seconds(start in -20_000_000i64..2_000_000_000_000_000, mut cuts in prop::collection::vec(1i64..10_000_000, 0..12)) {
            let camera = CameraId::new("gate").unwrap();
            cuts.extend([0, 10_000_000]);
            cuts.sort_unstable();
            cuts.dedup();
            let count = cuts.windows(2).filter(|pair| due(&camera, &span(start + pair[0], start + pair[1]))).count();
            prop_assert_eq!(count, 1);
        }
    }

    #[test]
    fn cameras_have_their_turns_apart() {
        let turn = |name: &str| {
            (0..10).position(|s| due(&CameraId::new(name).unwrap(), &span(s * 1_000_000, (s + 1) * 1_000_000)))
        };
        let turns: std::collections::BTreeSet<_> =
            ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().map(turn).collect();
        assert!(turns.len() > 3, "{turns:?}");
    }
}
