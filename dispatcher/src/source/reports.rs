//! What a camera's RTCP sender reports say of when its frames were captured (RFC 3550, section 6.4.1).

/// From NTP's beginning, 1900, to Unix's, in seconds.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// A camera whose clock says that a frame was captured further from its arrival than this has another time than we do.
const NEAR_US: i64 = 1_000_000;

/// A camera's own clock, as its newest report pairs it with the stream's times.
pub(super) struct SenderClock {
    time_scale: i64,
    /// Stream time in ticks, and Unix time in microseconds.
    report: Option<(i64, i64)>,
}

impl SenderClock {
    /// Before any report. `time_scale`: ticks a second, above 0.
    pub(super) fn new(time_scale: u32) -> Self {
        Self { time_scale: i64::from(time_scale.max(1)), report: None }
    }

    /// Takes a report: a stream time in ticks, and the camera's clock then as an NTP timestamp.
    pub(super) fn take(&mut self, ticks: i64, ntp: u64) {
        let seconds = (ntp >> 32) as i64 - NTP_TO_UNIX_S;
        let fraction_us = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
        // All zeros says that the sender has no clock.
        self.report = (ntp != 0).then_some((ticks, seconds * 1_000_000 + fraction_us as i64));
    }

    /// When a frame was captured, in Unix microseconds: what the camera's clock says while that is near our own, else when
    /// the frame arrived.
    pub(super) fn captured(&self, ticks: i64, arrived_us: i64) -> i64 {
        let by_camera = self.report.map(|(at, unix_us)| {
            let since = i128::from(ticks.saturating_sub(at)) * 1_000_000 / i128::from(self.time_scale);
            unix_us.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
        });
        by_camera.filter(|captured| captured.saturating_sub(arrived_us).abs() <= NEAR_US).unwrap_or(arrived_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_795_000_000;

    fn ntp(unix_s: i64, half: bool) -> u64 {
        (((unix_s + NTP_TO_UNIX_S) as u64) << 32) | u64::from(half) << 31
    }

    #[test]
    fn a_frame_was_captured_when_the_cameras_clock_says() {
        let mut clock = SenderClock::new(90_000);
        let arrived = NOW_S * 1_000_000 + 900_000;
        assert_eq!(clock.captured(45_000, arrived), arrived);
        clock.take(0, ntp(NOW_S, true));
        assert_eq!(clock.captured(0, arrived), NOW_S * 1_000_000 + 500_000);
        assert_eq!(clock.captured(9_000, arrived), NOW_S * 1_000_000 + 600_000);
        // A frame from before the report.
        assert_eq!(clock.captured(-9_000, arrived), NOW_S * 1_000_000 + 400_000);
    }

    #[test]
    fn a_clock_that_is_not_ours_does_not_count() {
        let mut clock = SenderClock::new(90_000);
        let arrived = NOW_S * 1_000_000;
        for elsewhere in [0, NOW_S - 3_600, NOW_S + 2, i64::from(u32::MAX) - NTP_TO_UNIX_S] {
            clock.take(0, ntp(elsewhere, false));
            assert_eq!(clock.captured(0, arrived), arrived, "{elsewhere}");
        }
        clock.take(0, ntp(NOW_S, false));
        assert_eq!(clock.captured(i64::MAX, arrived), arrived);
        clock.take(0, 0);
        assert_eq!(clock.captured(0, arrived), arrived);
    }
}
