//! Suppression of overlapping boxes.

use std::cmp::Ordering;

use super::RawBox;

/// How many of a look's boxes are compared at most, the best ones: comparing is quadratic, and noise at a low
/// threshold can yield tens of thousands.
const MAX_COMPARED: usize = 1000;

impl RawBox {
    /// Best first. Total, and by value alone, so that the order boxes come in does not matter.
    fn order(&self, other: &Self) -> Ordering {
        let edges = |b: &Self| [b.x0, b.y0, b.x1, b.y1];
        let by_edges = || edges(self).iter().zip(edges(other)).map(|(a, b)| a.total_cmp(&b)).find(|o| o.is_ne());
        other
            .score
            .total_cmp(&self.score)
            .then_with(|| self.class.cmp(&other.class))
            .then_with(|| by_edges().unwrap_or(Ordering::Equal))
    }

    fn area(&self) -> f32 {
        (self.x1 - self.x0) * (self.y1 - self.y0)
    }

    /// Intersection over union, 0 to 1; 0 where both are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let w = self.x1.min(other.x1) - self.x0.max(other.x0);
        let h = self.y1.min(other.y1) - self.y0.max(other.y0);
        let both = w.max(0.0) * h.max(0.0);
        let union = self.area() + other.area() - both;
        if union > 0.0 { both / union } else { 0.0 }
    }

    fn covers(&self, other: &Self, iou: f32) -> bool {
        self.class == other.class && self.iou(other) > iou
    }
}

/// Sorts boxes best first and drops each that overlaps a better one of its class by more than `iou`; of more than a
/// thousand, the best thousand are considered.
pub fn suppress(boxes: &mut Vec<RawBox>, iou: f32) {
    boxes.sort_unstable_by(RawBox::order);
    boxes.truncate(MAX_COMPARED);
    retain_uncovered(boxes, |kept, candidate| kept.covers(candidate, iou));
}

/// The boxes of all looks at one picture, best first, without those that overlap a better one of another look by more
/// than `iou`. Within a look that has been done already, before its boxes were cut off at its border: there, doing it
/// again would take more.
pub fn combine(looks: &[Vec<RawBox>], iou: f32) -> Vec<RawBox> {
    let mut boxes: Vec<(usize, RawBox)> =
        looks.iter().enumerate().flat_map(|(look, boxes)| boxes.iter().map(move |b| (look, *b))).collect();
    boxes.sort_by(|(_, a), (_, b)| a.order(b));
    boxes.truncate(MAX_COMPARED);
    retain_uncovered(&mut boxes, |(look, kept), (other, candidate)| look != other && kept.covers(candidate, iou));
    boxes.into_iter().map(|(_, b)| b).collect()
}

/// Keeps, from first to last, what nothing kept before it covers.
fn retain_uncovered<T: Copy>(boxes: &mut Vec<T>, covers: impl Fn(&T, &T) -> bool) {
    let mut kept = 0;
    for i in 0..boxes.len() {
        let candidate = boxes[i];
        if !boxes[..kept].iter().any(|b| covers(b, &candidate)) {
            boxes[kept] = candidate;
            kept += 1;
        }
    }
    boxes.truncate(kept);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxes() -> impl Strategy<Value = Vec<RawBox>> {
        // Few distinct values, so that ties and exact repetitions are common.
        let one = (0..3u16, 1..6u8, 0..12u8, 0..12u8, 0..8u8, 0..8u8).prop_map(|(class, score, x, y, w, h)| {
            let [x0, y0, w, h] = [x, y, w, h].map(f32::from);
            RawBox { class, score: f32::from(score) / 8.0, x0, y0, x1: x0 + w, y1: y0 + h }
        });
        prop::collection::vec(one, 0..60)
    }

    fn suppressed(mut boxes: Vec<RawBox>, iou: f32) -> Vec<RawBox> {
        suppress(&mut boxes, iou);
        boxes
    }

    proptest! {
        #[test]
        fn doing_it_twice_changes_nothing(boxes in boxes(), iou in 0.0f32..1.0) {
            let once = suppressed(boxes, iou);
            prop_assert_eq!(&suppressed(once.clone(), iou), &once);
        }

        #[test]
        fn the_order_they_come_in_does_not_matter(
            (boxes, shuffled) in boxes().prop_flat_map(|b| (Just(b.clone()), Just(b).prop_shuffle())),
            iou in 0.0f32..1.0,
        ) {
            prop_assert_eq!(suppressed(boxes, iou), suppressed(shuffled, iou));
        }

        #[test]
        fn survivors_are_apart_and_the_rest_is_covered(boxes in boxes(), iou in 0.0f32..1.0) {
            let kept = suppressed(boxes.clone(), iou);
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[..i] {
                    prop_assert!(a.class != b.class || a.iou(b) <= iou);
                    prop_assert!(b.score >= a.score);
                }
            }
            for b in boxes.iter().filter(|b| !kept.contains(b)) {
                prop_assert!(kept.iter().any(|k| k.class == b.class && k.score >= b.score && k.iou(b) > iou));
            }
        }
    }

    #[test]
    fn looks_suppress_each_other_and_not_themselves() {
        let a = RawBox { class: 0, score: 0.5, x0: 0.0, y0: 0.0, x1: 10.0, y1: 10.0 };
        let b = RawBox { score: 0.4, x1: 9.0, ..a };
        assert_eq!(combine(&[vec![a, b]], 0.5), [a, b]);
        assert_eq!(combine(&[vec![b], vec![a]], 0.5), [a]);
        assert_eq!(combine(&[vec![a], vec![a]], 0.5), [a]);
        assert_eq!(combine(&[], 0.5), []);
    }

    #[test]
    fn overlap_is_that_of_the_areas() {
        let unit = RawBox { class: 0, score: 0.5, x0: 0.0, y0: 0.0, x1: 10.0, y1: 10.0 };
        assert_eq!(unit.iou(&RawBox { x0: 5.0, x1: 15.0, ..unit }), 50.0 / 150.0);
        assert_eq!(unit.iou(&RawBox { x0: 10.0, x1: 20.0, ..unit }), 0.0);
        assert_eq!(RawBox { x1: 0.0, ..unit }.iou(&RawBox { x1: 0.0, ..unit }), 0.0);
    }
}
