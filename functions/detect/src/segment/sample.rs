//! Which frames it is the turn of.

use detektor_contract::{Sampling, Span, TimeUs};

use super::Slot;

/// Presentation indices of the frames to look at, rising. Second fields are never among them.
///
/// With [`Sampling::PerSecond`] a frame's turn is when a multiple of 1/n s lies in the time since the frame before it,
/// its own instant included. Segments know nothing of one another, so the time before a segment's first frame is taken
/// to be as long as that behind it: right where the frame rate is steady, and one look more or less where it is not.
pub fn sampled(frames: &[Slot], span: &Span, sampling: Sampling) -> Vec<u32> {
    let whole = |slot: &&Slot| !slot.second_field;
    match sampling {
        Sampling::All => (0..).zip(frames).filter(|(_, slot)| whole(slot)).map(|(index, _)| index).collect(),
        Sampling::PerSecond(rate) => {
            let turn = |at: TimeUs| (i128::from(at.0) * i128::from(rate.max(1))).div_euclid(1_000_000);
            let mut pictures = frames.iter().filter(whole).map(|slot| slot.at);
            let first = pictures.next().unwrap_or(span.start);
            let step = pictures.next().unwrap_or(span.end).since(first).max(0);
            let mut before = turn(first.plus(-step));
            let mut chosen = Vec::new();
            for (index, slot) in (0..).zip(frames).filter(|(_, slot)| whole(slot)) {
                let now = turn(slot.at);
                if now > before {
                    chosen.push(index);
                }
                before = now;
            }
            chosen
        }
    }
}

#[cfg(test)]
mod tests {
    use detektor_contract::Clock;
    use proptest::prelude::*;

    use super::*;

    fn span(start: i64, end: i64) -> Span {
        let (start, end) = (TimeUs(start), TimeUs(end));
        Span { first_frame: 0, frames: 0, start, end, clock: Clock::Media, key_frame: None }
    }

    fn slots(times: impl IntoIterator<Item = i64>) -> Vec<Slot> {
        (0..).zip(times).map(|(ordinal, at)| Slot { ordinal, at: TimeUs(at), second_field: false }).collect()
    }

    #[test]
    fn five_a_second_of_twenty_five() {
        let frames = slots((0..25).map(|i| i * 40_000));
        assert_eq!(sampled(&frames, &span(0, 1_000_000), Sampling::PerSecond(5)), [0, 5, 10, 15, 20]);
        assert_eq!(sampled(&frames, &span(0, 1_000_000), Sampling::All).len(), 25);
    }

    #[test]
    fn a_slow_camera_gives_every_frame() {
        let frames = slots([0, 500_000]);
        assert_eq!(sampled(&frames, &span(0, 1_000_000), Sampling::PerSecond(5)), [0, 1]);
    }

    #[test]
    fn second_fields_have_no_turn() {
        let mut frames = slots((0..8).map(|i| i * 20_000));
        frames.iter_mut().skip(1).step_by(2).for_each(|slot| slot.second_field = true);
        assert_eq!(sampled(&frames, &span(0, 160_000), Sampling::All), [0, 2, 4, 6]);
        assert_eq!(sampled(&frames, &span(0, 160_000), Sampling::PerSecond(240)), [0, 2, 4, 6]);
    }

    proptest! {
        /// However a steady stream is cut, the same frames have their turn.
        #[test]
        fn cutting_changes_nothing(rate in 1u16..61, step in 8_000i64..200_000, cut in 1usize..99, start in 0i64..1_000_000) {
            let times: Vec<i64> = (0..100).map(|i| start + i * step).collect();
            let end = start + 100 * step;
            let whole = sampled(&slots(times.clone()), &span(start, end), Sampling::PerSecond(rate));
            let (left, right) = times.split_at(cut);
            let mut parts = sampled(&slots(left.to_vec()), &span(start, right[0]), Sampling::PerSecond(rate));
            let later = sampled(&slots(right.to_vec()), &span(right[0], end), Sampling::PerSecond(rate));
            parts.extend(later.into_iter().map(|i| i + cut as u32));
            prop_assert_eq!(whole, parts);
        }
    }
}
