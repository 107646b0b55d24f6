//! A constant-velocity Kalman filter over a box's centre and size, in real time steps.
//!
//! Centre and size do not influence each other in the model, so the usual eight-dimensional filter (as in SORT and
//! ByteTrack) is exactly four filters of position and velocity, and needs no matrix. Units are tenths of a pixel and
//! seconds; noise is in proportion to the box's size (the square root of its area). Process noise is white noise of the
//! acceleration over the time step (Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking and
//! Navigation", 6.2.2).

use serde::{Deserialize, Serialize};

use crate::Box2;

/// Standard deviation of a measured edge, in sizes.
const MEASUREMENT: f64 = 0.05;
/// Standard deviation of a new track's velocity, in sizes a second.
const FIRST_VELOCITY: f64 = 3.0;
/// How much the centre's velocity wanders in a second, in sizes a second.
const CENTRE_WANDER: f64 = 0.8;
/// How much the size's velocity wanders in a second, in sizes a second.
const SIZE_WANDER: f64 = 0.4;
/// No box is taken for smaller than this, in tenths of a pixel.
const LEAST_SIZE: f64 = 20.0;

/// Squared distance that 95 % of true matches stay below: the chi-square quantile for four degrees of freedom.
pub(super) const GATE: f64 = 9.4877;

/// One coordinate: its value, its velocity, and their covariance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Coordinate {
    value: f64,
    velocity: f64,
    var_value: f64,
    covariance: f64,
    var_velocity: f64,
}

/// Where a track is and how it moves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kalman {
    centre_x: Coordinate,
    centre_y: Coordinate,
    width: Coordinate,
    height: Coordinate,
}

impl Coordinate {
    fn new(value: f64, size: f64) -> Self {
        let (value_dev, velocity_dev) = (MEASUREMENT * size, FIRST_VELOCITY * size);
        Self {
            value,
            velocity: 0.0,
            var_value: value_dev * value_dev,
            covariance: 0.0,
            var_velocity: velocity_dev * velocity_dev,
        }
    }

    fn predict(&mut self, dt: f64, wander: f64) {
        let q = wander * wander;
        self.value += self.velocity * dt;
        self.var_value += dt * (2.0 * self.covariance + dt * self.var_velocity) + q * dt * dt * dt / 3.0;
        self.covariance += dt * self.var_velocity + q * dt * dt / 2.0;
        self.var_velocity += q * dt;
    }

    fn correct(&mut self, measured: f64, noise: f64) {
        let innovation = measured - self.value;
        let variance = self.var_value + noise;
        let (gain, velocity_gain) = (self.var_value / variance, self.covariance / variance);
        self.value += gain * innovation;
        self.velocity += velocity_gain * innovation;
        self.var_velocity -= velocity_gain * self.covariance;
        self.covariance -= gain * self.covariance;
        self.var_value -= gain * self.var_value;
    }

    fn distance(&self, measured: f64, noise: f64) -> f64 {
        let innovation = measured - self.value;
        innovation * innovation / (self.var_value + noise)
    }
}

/// Centre x, centre y, width, height.
fn measure(bounds: Box2) -> [f64; 4] {
    let [x, y, w, h] = [bounds.x, bounds.y, bounds.w, bounds.h].map(f64::from);
    [x + w / 2.0, y + h / 2.0, w, h]
}

fn size(w: f64, h: f64) -> f64 {
    (w.max(0.0) * h.max(0.0)).sqrt().max(LEAST_SIZE)
}

impl Kalman {
    /// A track that was just seen for the first time.
    pub(super) fn new(bounds: Box2) -> Self {
        let [x, y, w, h] = measure(bounds);
        let coordinate = |value| Coordinate::new(value, size(w, h));
        Self { centre_x: coordinate(x), centre_y: coordinate(y), width: coordinate(w), height: coordinate(h) }
    }

    /// Moves on by `dt` seconds.
    pub(super) fn predict(&mut self, dt: f64) {
        let size = self.size();
        self.centre_x.predict(dt, CENTRE_WANDER * size);
        self.centre_y.predict(dt, CENTRE_WANDER * size);
        self.width.predict(dt, SIZE_WANDER * size);
        self.height.predict(dt, SIZE_WANDER * size);
    }

    /// Takes in where it was seen.
    pub(super) fn correct(&mut self, bounds: Box2) {
        let noise = self.noise();
        let [x, y, w, h] = measure(bounds);
        self.centre_x.correct(x, noise);
        self.centre_y.correct(y, noise);
        self.width.correct(w, noise);
        self.height.correct(h, noise);
    }

    /// Keeps its size from growing or shrinking while it is not seen.
    pub(super) fn hold_size(&mut self) {
        self.width.velocity = 0.0;
        self.height.velocity = 0.0;
    }

    /// Keeps it where it is.
    pub(super) fn hold(&mut self) {
        self.hold_size();
        self.centre_x.velocity = 0.0;
        self.centre_y.velocity = 0.0;
    }

    /// Squared Mahalanobis distance to a box.
    pub(super) fn distance(&self, bounds: Box2) -> f64 {
        let noise = self.noise();
        let [x, y, w, h] = measure(bounds);
        self.centre_x.distance(x, noise)
            + self.centre_y.distance(y, noise)
            + self.width.distance(w, noise)
            + self.height.distance(h, noise)
    }

    /// Where it is taken to be.
    pub(super) fn bounds(&self) -> Box2 {
        let (w, h) = (self.width.value.max(0.0), self.height.value.max(0.0));
        let round = |v: f64| v.round() as i32;
        Box2 {
            x: round(self.centre_x.value - w / 2.0),
            y: round(self.centre_y.value - h / 2.0),
            w: round(w),
            h: round(h),
        }
    }

    fn size(&self) -> f64 {
        size(self.width.value, self.height.value)
    }

    fn noise(&self) -> f64 {
        let deviation = MEASUREMENT * self.size();
        deviation * deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: i32) -> Box2 {
        Box2 { x, y: 100, w: 400, h: 900 }
    }

    #[test]
    fn it_learns_a_velocity_and_goes_on_with_it() {
        let mut kalman = Kalman::new(at(0));
        for step in 1..10 {
            kalman.predict(0.2);
            kalman.correct(at(step * 100));
        }
        kalman.predict(0.6);
        let predicted = kalman.bounds();
        assert!((predicted.x - 1_200).abs() < 40, "{predicted:?}");
        assert!(kalman.distance(at(1_200)) < GATE);
        assert!(kalman.distance(at(6_000)) > GATE);
    }

    #[test]
    fn a_new_track_may_have_any_speed_of_its_size() {
        let mut kalman = Kalman::new(at(0));
        kalman.predict(0.2);
        assert!(kalman.distance(at(500)) < GATE);
        assert!(kalman.distance(at(5_000)) > GATE);
    }

    #[test]
    fn empty_and_huge_boxes_stay_finite() {
        for bounds in [Box2::default(), Box2 { x: i32::MAX, y: i32::MIN, w: i32::MAX, h: i32::MAX }] {
            let mut kalman = Kalman::new(bounds);
            for _ in 0..1_000 {
                kalman.predict(1.0);
                kalman.correct(bounds);
            }
            assert!(kalman.distance(bounds).is_finite());
            kalman.bounds();
        }
    }
}
