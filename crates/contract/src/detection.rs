//! What a detector saw in one picture, in integers.

use serde::{Deserialize, Serialize};

/// A class name from the model's manifest, such as `car`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(pub std::sync::Arc<str>);

impl Label {
    /// The class name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Label {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A confidence in ten-thousandths, 0 to 10,000. Rounded once, by the detector, so that results repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Score(u16);

/// A score above 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("score {0}: expected 0 to 10000 (ten-thousandths)")]
pub struct InvalidScore(pub u16);

impl Score {
    /// Certainty.
    pub const ONE: Score = Score(10_000);

    /// Rounds a confidence; what is not within 0 to 1 is clamped, NaN is 0.
    pub fn from_f32(score: f32) -> Self {
        Self((score.clamp(0.0, 1.0) * 10_000.0).round() as u16)
    }

    /// A score in ten-thousandths.
    pub const fn from_ten_thousandths(score: u16) -> Result<Self, InvalidScore> {
        if score <= 10_000 { Ok(Self(score)) } else { Err(InvalidScore(score)) }
    }

    /// The score in ten-thousandths.
    pub fn ten_thousandths(self) -> u16 {
        self.0
    }

    /// The score as a number from 0 to 1.
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for Score {
    type Error = InvalidScore;
    fn try_from(score: u16) -> Result<Self, InvalidScore> {
        Self::from_ten_thousandths(score)
    }
}

impl From<Score> for u16 {
    fn from(score: Score) -> u16 {
        score.0
    }
}

/// A rectangle in tenths of a source pixel: left, top, width, height. Width and height are at least 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "[i32; 4]", into = "[i32; 4]")]
pub struct Box2 {
    /// Left edge.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Width.
    pub w: i32,
    /// Height.
    pub h: i32,
}

impl Box2 {
    /// Rounds a rectangle given in pixels.
    pub fn from_pixels(x: f32, y: f32, w: f32, h: f32) -> Self {
        let tenths = |v: f32| (v * 10.0).round() as i32;
        Self { x: tenths(x), y: tenths(y), w: tenths(w).max(0), h: tenths(h).max(0) }
    }

    /// `[x, y, w, h]` in pixels.
    pub fn pixels(self) -> [f64; 4] {
        [self.x, self.y, self.w, self.h].map(|v| f64::from(v) / 10.0)
    }

    /// The area, in hundredths of a square pixel.
    pub fn area(self) -> i64 {
        i64::from(self.w) * i64::from(self.h)
    }

    /// The area that both cover, in hundredths of a square pixel.
    pub fn intersection(self, other: Box2) -> i64 {
        let right = |b: Box2| i64::from(b.x) + i64::from(b.w);
        let bottom = |b: Box2| i64::from(b.y) + i64::from(b.h);
        let w = right(self).min(right(other)) - i64::from(self.x.max(other.x));
        let h = bottom(self).min(bottom(other)) - i64::from(self.y.max(other.y));
        w.max(0) * h.max(0)
    }

    /// Intersection over union in ten-thousandths, 0 to 10,000; 0 where both are empty.
    pub fn iou(self, other: Box2) -> u16 {
        let both = self.intersection(other);
        let union = self.area() + other.area() - both;
        if union <= 0 {
            return 0;
        }
        (i128::from(both) * 10_000 / i128::from(union)) as u16
    }
}

impl From<[i32; 4]> for Box2 {
    fn from([x, y, w, h]: [i32; 4]) -> Self {
        Self { x, y, w: w.max(0), h: h.max(0) }
    }
}

impl From<Box2> for [i32; 4] {
    fn from(b: Box2) -> Self {
        [b.x, b.y, b.w, b.h]
    }
}

/// One object in one picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Detection {
    /// Its class.
    pub label: Label,
    /// The detector's confidence.
    pub score: Score,
    /// Where it is, in tenths of a source pixel.
    #[serde(rename = "box")]
    pub bounds: Box2,
}

/// What touches the picture's border, or comes within this share of a side to it, is taken to be cut off.
const BORDER_PERCENT: i64 = 1;
/// A look at what is cut off counts this much.
const BORDER_QUALITY: f64 = 0.5;

impl Detection {
    /// How well it can be seen: score x sqrt(area in tenths of a pixel squared), half of that at the border of the
    /// `picture` (width and height in pixels).
    pub fn quality(&self, picture: [u32; 2]) -> f64 {
        let Box2 { x, y, w, h } = self.bounds;
        let whole = |from: i32, length: i32, side: u32| {
            let (from, side) = (i64::from(from), i64::from(side) * 10);
            let end = from + i64::from(length);
            from * 100 > side * BORDER_PERCENT && end * 100 < side * (100 - BORDER_PERCENT)
        };
        let factor = if whole(x, w, picture[0]) && whole(y, h, picture[1]) { 1.0 } else { BORDER_QUALITY };
        self.score.to_f64() * (self.bounds.area() as f64).sqrt() * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_clamped_and_rounded() {
        assert_eq!(Score::from_f32(f32::NAN).ten_thousandths(), 0);
        assert_eq!(Score::from_f32(1.5), Score::ONE);
        assert_eq!(Score::from_f32(0.123_46).ten_thousandths(), 1235);
        assert!(serde_json::from_str::<Score>("10001").is_err());
    }

    #[test]
    fn overlap_is_symmetric_and_bounded() {
        let a = Box2 { x: 0, y: 0, w: 100, h: 100 };
        let b = Box2 { x: 50, y: 0, w: 100, h: 100 };
        assert_eq!(a.iou(b), 3333);
        assert_eq!(b.iou(a), 3333);
        assert_eq!(a.iou(a), 10_000);
        assert_eq!(Box2::default().iou(Box2::default()), 0);
        let far = Box2 { x: i32::MAX - 1, y: i32::MIN, w: i32::MAX, h: i32::MAX };
        assert_eq!(a.iou(far), 0);
    }
}
