//! Which frames of a segment to keep.

use detektor_contract::{Detection, Label, Score};
use ffmpeg::frame;

use super::jpeg_planes;
use crate::picture::Picture;

/// How many frames a segment keeps.
const MAX_SHOTS: usize = 3;
/// A frame shows an object well enough when it does so at this share of the best quality there was.
const WELL: f64 = 0.9;
/// Objects beyond so many in a segment are not followed: they are not worth a frame of their own.
const MAX_OBJECTS: usize = 256;

/// Gathers a segment's frames worth keeping while they go by.
///
/// A frame is copied only when it shows an object clearly better than the copies at hand, and a copy is dropped as soon
/// as the others show all that it does. So there are never more than four.
pub struct Shots {
    picture: [u32; 2],
    open_score: Score,
    objects: Vec<Object>,
    kept: Vec<Shot>,
}

/// Something that is taken for one thing from look to look.
struct Object {
    label: Label,
    latest: Detection,
    best: f64,
}

struct Shot {
    frame: u32,
    planes: frame::Video,
    /// How well it shows each object; those without an entry it does not show.
    shows: Vec<(usize, f64)>,
}

impl Shots {
    /// Nothing so far. Detections from `open_score` up are worth showing; `picture` is width and height in pixels.
    pub fn new(picture: [u32; 2], open_score: Score) -> Self {
        Self { picture, open_score, objects: Vec::new(), kept: Vec::new() }
    }

    /// Considers a frame and what was seen in it.
    pub fn offer(&mut self, frame: u32, picture: &Picture<'_>, seen: &[Detection]) {
        let mut shows: Vec<(usize, f64)> = Vec::new();
        let open_score = self.open_score;
        for detection in seen.iter().filter(|d| d.score >= open_score) {
            let taken: Vec<usize> = shows.iter().map(|(object, _)| *object).collect();
            let Some(object) = self.recognise(detection, &taken) else { continue };
            let quality = detection.quality(self.picture);
            self.objects[object].best = self.objects[object].best.max(quality);
            shows.push((object, quality));
        }
        if shows.iter().any(|(object, _)| !self.shown_well(*object, None)) {
            self.kept.push(Shot { frame, planes: jpeg_planes(picture), shows });
            self.prune();
        }
    }

    /// The frames kept, in presentation order, as planes for a JPEG.
    pub fn into_frames(mut self) -> Vec<(u32, frame::Video)> {
        self.kept.sort_by_key(|shot| shot.frame);
        self.kept.into_iter().map(|shot| (shot.frame, shot.planes)).collect()
    }

    /// The object that a detection is: the nearest one of its class, no further off than it is large.
    fn recognise(&mut self, detection: &Detection, taken: &[usize]) -> Option<usize> {
        let reach = i64::from(detection.bounds.w.max(detection.bounds.h));
        let nearest = (0..self.objects.len())
            .filter(|index| !taken.contains(index) && self.objects[*index].label == detection.label)
            .map(|index| (distance(&self.objects[index].latest, detection), index))
            .filter(|(distance, _)| *distance <= reach)
            .min();
        match nearest {
            Some((_, index)) => {
                self.objects[index].latest = detection.clone();
                Some(index)
            }
            None if self.objects.len() < MAX_OBJECTS => {
                self.objects.push(Object { label: detection.label.clone(), latest: detection.clone(), best: 0.0 });
                Some(self.objects.len() - 1)
            }
            None => None,
        }
    }

    /// Whether some kept frame other than `without` shows the object well.
    fn shown_well(&self, object: usize, without: Option<usize>) -> bool {
        let enough = self.objects[object].best * WELL;
        let others = self.kept.iter().enumerate().filter(|(index, _)| Some(*index) != without);
        others.flat_map(|(_, shot)| &shot.shows).any(|(shown, quality)| *shown == object && *quality >= enough)
    }

    /// Drops frames that nothing depends on, then those that least depends on until few enough are left.
    fn prune(&mut self) {
        loop {
            let losses = (0..self.kept.len()).map(|index| (self.loss(index), index));
            let least = losses.min_by(|(a, _), (b, _)| a.total_cmp(b));
            match least {
                Some((loss, index)) if loss == 0.0 || self.kept.len() > MAX_SHOTS => {
                    self.kept.remove(index);
                }
                _ => return,
            }
        }
    }

    /// The best quality of the objects that only this frame shows well, summed.
    fn loss(&self, index: usize) -> f64 {
        let enough = |object: usize, quality: f64| quality >= self.objects[object].best * WELL;
        let shown = self.kept[index].shows.iter().filter(|(object, quality)| enough(*object, *quality));
        shown
            .filter(|(object, _)| !self.shown_well(*object, Some(index)))
            .map(|(object, _)| self.objects[*object].best)
            .sum()
    }
}

/// Between the middles, along the axis where it is greater, in tenths of a pixel.
fn distance(a: &Detection, b: &Detection) -> i64 {
    let middle = |d: &Detection| {
        let Detection { bounds, .. } = d;
        [i64::from(bounds.x) + i64::from(bounds.w) / 2, i64::from(bounds.y) + i64::from(bounds.h) / 2]
    };
    let ([ax, ay], [bx, by]) = (middle(a), middle(b));
    (ax - bx).abs().max((ay - by).abs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use detektor_contract::Box2;
    use ffmpeg::format::Pixel;

    use super::*;

    fn seen(score: f32, x: f32, size: f32) -> Detection {
        Detection {
            label: Label::from("car"),
            score: Score::from_f32(score),
            bounds: Box2::from_pixels(x, 100.0, size, size),
        }
    }

    fn kept(looks: &[Vec<Detection>]) -> Vec<u32> {
        let picture = frame::Video::new(Pixel::YUV420P, 640, 480);
        let mut shots = Shots::new([640, 480], Score::from_f32(0.5));
        for (frame, seen) in (0..).zip(looks) {
            shots.offer(frame, &Picture::of(&picture).unwrap(), seen);
            assert!(shots.kept.len() <= MAX_SHOTS);
        }
        shots.into_frames().into_iter().map(|(frame, _)| frame).collect()
    }

    #[test]
    fn what_stays_the_same_needs_one_frame() {
        assert_eq!(kept(&vec![vec![seen(0.8, 50.0, 60.0)]; 9]), [0]);
        assert!(kept(&[vec![seen(0.4, 50.0, 60.0)], vec![]]).is_empty());
    }

    #[test]
    fn a_car_that_comes_closer_is_kept_where_it_is_seen_well() {
        let looks: Vec<_> = (0..10).map(|i| vec![seen(0.8, 200.0, 40.0 + 10.0 * i as f32)]).collect();
        let found = kept(&looks);
        assert_eq!(found.len(), 1);
        assert!(found[0] >= 8, "{found:?}");
    }

    #[test]
    fn what_is_cut_off_is_replaced_once_it_is_whole() {
        assert_eq!(kept(&[vec![seen(0.9, 0.0, 60.0)], vec![seen(0.8, 20.0, 60.0)], vec![seen(0.8, 40.0, 60.0)]]), [1]);
    }

    #[test]
    fn one_frame_is_enough_for_two_that_are_seen_together() {
        let both = vec![seen(0.9, 50.0, 60.0), seen(0.8, 400.0, 60.0)];
        assert_eq!(kept(&[vec![seen(0.9, 50.0, 60.0)], both, vec![seen(0.8, 400.0, 60.0)]]), [1]);
    }

    #[test]
    fn of_many_the_best_three_frames_stay() {
        let looks: Vec<_> = (0..6).map(|i| vec![seen(0.6 + 0.05 * i as f32, 10.0 + 100.0 * i as f32, 30.0)]).collect();
        assert_eq!(kept(&looks), [3, 4, 5]);
    }
}
