//! From Y'CbCr to RGB, by the stream's own matrix and range.

use ffmpeg::color::Space;
use ffmpeg::format::Pixel;

/// Which colours Y'CbCr stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// Nothing to convert.
    Rgb,
    /// Standard definition.
    Bt601,
    /// High definition.
    Bt709,
    /// The FCC's of 1953.
    Fcc,
    /// Early high definition.
    Smpte240,
    /// Ultra high definition.
    Bt2020,
}

impl Matrix {
    /// The matrix a stream names; one that names none, or one that no camera uses, is judged by its size, as players do.
    pub fn of(space: Space, width: u32, height: u32) -> Self {
        match space {
            Space::BT709 => Self::Bt709,
            Space::BT470BG | Space::SMPTE170M => Self::Bt601,
            Space::FCC => Self::Fcc,
            Space::SMPTE240M => Self::Smpte240,
            Space::BT2020NCL | Space::BT2020CL => Self::Bt2020,
            _ if width >= 1280 || height > 576 => Self::Bt709,
            _ => Self::Bt601,
        }
    }

    /// The shares of red and blue in luma (ITU-T H.273, table 4).
    fn shares(self) -> (f64, f64) {
        match self {
            Self::Rgb | Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Fcc => (0.30, 0.11),
            Self::Smpte240 => (0.212, 0.087),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// libav's deprecated formats that say "full range" by their name.
pub(super) fn is_full_range(format: Pixel) -> bool {
    matches!(format, Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P)
}

/// `rgb[i] = rows[i] . (y, cb, cr) + offsets[i]`, from samples as they are stored to 0..255, before clamping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToRgb {
    rows: [[f32; 3]; 3],
    offsets: [f32; 3],
}

impl ToRgb {
    /// The conversion of samples of `depth` bits (ITU-T H.273, equations 20 to 58).
    pub fn new(matrix: Matrix, full_range: bool, depth: u8) -> Self {
        let unit = f64::from(1u32 << (depth.clamp(8, 16) - 8));
        let full = 255.0 / (unit * 256.0 - 1.0);
        let (black, luma, chroma) =
            if full_range { (0.0, full, full) } else { (16.0 * unit, 255.0 / (219.0 * unit), 255.0 / (224.0 * unit)) };
        let rows = if matrix == Matrix::Rgb {
            [[luma, 0.0, 0.0], [0.0, luma, 0.0], [0.0, 0.0, luma]]
        } else {
            let (red, blue) = matrix.shares();
            let green = 1.0 - red - blue;
            let (from_cr, from_cb) = (2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma);
            [[luma, 0.0, from_cr], [luma, -from_cb * blue / green, -from_cr * red / green], [luma, from_cb, 0.0]]
        };
        let zero = if matrix == Matrix::Rgb { [0.0; 3] } else { [black, 128.0 * unit, 128.0 * unit] };
        let offset = |row: [f64; 3]| -(row[0] * zero[0] + row[1] * zero[1] + row[2] * zero[2]);
        Self { rows: rows.map(|row| row.map(|v| v as f32)), offsets: rows.map(|row| offset(row) as f32) }
    }

    /// One channel (0 red, 1 green, 2 blue) of one pixel, 0 to 255.
    #[inline]
    pub fn channel(&self, channel: usize, y: f32, cb: f32, cr: f32) -> f32 {
        let [fy, fb, fr] = self.rows[channel];
        (fy * y + fb * cb + fr * cr + self.offsets[channel]).clamp(0.0, 255.0)
    }

    /// The matrix and what is added behind it, by channel.
    pub fn affine(&self) -> ([[f32; 3]; 3], [f32; 3]) {
        (self.rows, self.offsets)
    }

    /// What Cb and Cr are where a picture has none.
    pub fn grey(depth: u8) -> f32 {
        (128u32 << (depth.clamp(8, 16) - 8)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(to: ToRgb, y: f32, cb: f32, cr: f32) -> [u8; 3] {
        [0, 1, 2].map(|c| to.channel(c, y, cb, cr).round() as u8)
    }

    #[test]
    fn the_standards_colour_bars_come_out() {
        // 100 % bars as published for BT.601 and BT.709 in limited range.
        let sd = ToRgb::new(Matrix::Bt601, false, 8);
        assert_eq!(rgb(sd, 235.0, 128.0, 128.0), [255, 255, 255]);
        assert_eq!(rgb(sd, 81.0, 90.0, 240.0), [254, 0, 0]);
        assert_eq!(rgb(sd, 145.0, 54.0, 34.0), [0, 255, 1]);
        assert_eq!(rgb(sd, 41.0, 240.0, 110.0), [0, 0, 255]);
        let hd = ToRgb::new(Matrix::Bt709, false, 8);
        assert_eq!(rgb(hd, 63.0, 102.0, 240.0), [255, 1, 0]);
        assert_eq!(rgb(hd, 173.0, 42.0, 26.0), [0, 255, 1]);
    }

    #[test]
    fn full_range_and_more_bits_say_the_same() {
        let full = ToRgb::new(Matrix::Bt601, true, 8);
        assert_eq!(rgb(full, 255.0, 128.0, 128.0), [255; 3]);
        assert_eq!(rgb(full, 76.0, 85.0, 255.0), [254, 0, 0]);
        let ten = ToRgb::new(Matrix::Bt601, false, 10);
        assert_eq!(rgb(ten, 940.0, 512.0, 512.0), [255; 3]);
        assert_eq!(rgb(ten, 324.0, 360.0, 960.0), [254, 0, 0]);
        assert_eq!(rgb(ToRgb::new(Matrix::Rgb, true, 8), 1.0, 2.0, 3.0), [1, 2, 3]);
    }

    #[test]
    fn streams_that_name_no_matrix_are_judged_by_size() {
        assert_eq!(Matrix::of(Space::Unspecified, 640, 480), Matrix::Bt601);
        assert_eq!(Matrix::of(Space::Unspecified, 1280, 720), Matrix::Bt709);
        assert_eq!(Matrix::of(Space::BT709, 320, 240), Matrix::Bt709);
    }
}
