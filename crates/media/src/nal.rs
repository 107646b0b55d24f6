//! NAL units: in Annex B, behind start codes; in MP4 and RTP, behind their length.

use bytes::Bytes;

use crate::MediaError;

/// How NAL units are told apart within an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Start codes of 3 or 4 bytes: MPEG-TS, raw streams.
    AnnexB,
    /// A big-endian length of 1 to 4 bytes before each: MP4, Matroska.
    LengthPrefixed(u8),
}

/// Bytes of length that stand before each NAL unit in the form that this crate works with.
pub const LENGTH_BYTES: usize = 4;

/// The access unit in the form that this crate works with: a length of 4 bytes before each NAL unit.
///
/// Shares memory where it already has that form. Empty NAL units and zero bytes between start codes vanish.
///
/// # Errors
/// [`MediaError::BrokenAccessUnit`] if a length runs over the end, if there is no start code, or if no NAL unit is left.
pub fn to_length_prefixed(access_unit: &Bytes, framing: Framing) -> Result<Bytes, MediaError> {
    let out = match framing {
        Framing::LengthPrefixed(4) if whole(access_unit) => access_unit.clone(),
        Framing::LengthPrefixed(length_bytes) => {
            let mut out = Vec::with_capacity(access_unit.len() + 64);
            let mut units = LengthPrefixed::new(access_unit, length_bytes);
            for unit in units.by_ref() {
                push(&mut out, unit);
            }
            if !units.rest.is_empty() {
                let offset = access_unit.len() - units.rest.len();
                return Err(MediaError::BrokenAccessUnit { offset, total: access_unit.len() });
            }
            out.into()
        }
        Framing::AnnexB => {
            let mut out = Vec::with_capacity(access_unit.len() + 64);
            AnnexB::new(access_unit).for_each(|unit| push(&mut out, unit));
            out.into()
        }
    };
    if out.is_empty() { Err(MediaError::BrokenAccessUnit { offset: 0, total: access_unit.len() }) } else { Ok(out) }
}

/// The NAL units of an access unit in this crate's form, without their lengths; ends early where a length runs over.
pub fn units(access_unit: &[u8]) -> LengthPrefixed<'_> {
    LengthPrefixed::new(access_unit, LENGTH_BYTES as u8)
}

/// Appends a NAL unit and its length of 4 bytes; leaves out what is empty or longer than 4 GiB.
pub(crate) fn push(out: &mut Vec<u8>, unit: &[u8]) {
    if let Ok(length) = u32::try_from(unit.len())
        && length > 0
    {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(unit);
    }
}

fn whole(access_unit: &[u8]) -> bool {
    let mut units = units(access_unit);
    units.by_ref().all(|unit| !unit.is_empty()) && units.rest.is_empty()
}

/// NAL units behind their lengths.
#[derive(Clone, Debug)]
pub struct LengthPrefixed<'a> {
    rest: &'a [u8],
    length_bytes: usize,
}

impl<'a> LengthPrefixed<'a> {
    /// Iterates over the NAL units in `data`, whose lengths take `length_bytes` (1 to 4; others are brought there).
    pub fn new(data: &'a [u8], length_bytes: u8) -> Self {
        Self { rest: data, length_bytes: usize::from(length_bytes.clamp(1, 4)) }
    }
}

impl<'a> Iterator for LengthPrefixed<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_at_checked(self.length_bytes)?;
        let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(unit)
    }
}

/// NAL units behind start codes; what comes before the first start code is left out.
#[derive(Clone, Debug)]
pub struct AnnexB<'a> {
    rest: &'a [u8],
}

impl<'a> AnnexB<'a> {
    /// Iterates over the NAL units in `data`.
    pub fn new(data: &'a [u8]) -> Self {
        let start = start_code(data).map_or(data.len(), |at| at + 3);
        Self { rest: &data[start..] }
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = start_code(self.rest).unwrap_or(self.rest.len());
            let unit = &self.rest[..end];
            self.rest = self.rest.get(end + 3..).unwrap_or_default();
            // A NAL unit never ends in a zero byte (7.4.1): these belong to the next start code, or are padding.
            let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if length > 0 {
                return Some(&unit[..length]);
            }
        }
        None
    }
}

/// Where the next `00 00 01` begins. Looks at every third byte, as long as that one rules a start code out.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(&third) = data.get(at) {
        at += match third {
            0 => 1,
            1 if data[at - 1] == 0 && data[at - 2] == 0 => return Some(at - 2),
            _ => 3,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn unit() -> impl Strategy<Value = Vec<u8>> {
        // What a NAL unit cannot contain is taken out by making every byte after a zero at least 4.
        proptest::collection::vec(any::<u8>(), 1..40).prop_map(|mut unit| {
            for i in 1..unit.len() {
                if unit[i - 1] == 0 {
                    unit[i] |= 4;
                }
            }
            *unit.last_mut().unwrap() |= 1;
            unit
        })
    }

    proptest! {
        #[test]
        fn every_framing_gives_the_same_units(
            wanted in proptest::collection::vec(unit(), 1..8), long in any::<bool>(), length_bytes in 1u8..=4,
        ) {
            let (mut annex_b, mut prefixed) = (Vec::new(), Vec::new());
            for unit in &wanted {
                annex_b.extend_from_slice(if long { &[0, 0, 0, 1] } else { &[0, 0, 1] });
                annex_b.extend_from_slice(unit);
                let length = (unit.len() as u32).to_be_bytes();
                prefixed.extend_from_slice(&length[4 - usize::from(length_bytes)..]);
                prefixed.extend_from_slice(unit);
            }
            let from_annex_b = to_length_prefixed(&annex_b.into(), Framing::AnnexB).unwrap();
            let from_prefixed = to_length_prefixed(&prefixed.into(), Framing::LengthPrefixed(length_bytes)).unwrap();
            prop_assert_eq!(&from_annex_b, &from_prefixed);
            let found: Vec<Vec<u8>> = units(&from_annex_b).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(0u8..3, 0..60), length_bytes in any::<u8>()) {
            let bytes = Bytes::from(bytes);
            for framing in [Framing::AnnexB, Framing::LengthPrefixed(length_bytes)] {
                if let Ok(out) = to_length_prefixed(&bytes, framing) {
                    prop_assert!(whole(&out));
                }
            }
        }
    }

    #[test]
    fn the_right_form_shares_memory() {
        let bytes = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 1, 0x41]);
        let same = to_length_prefixed(&bytes, Framing::LengthPrefixed(4)).unwrap();
        assert_eq!(same.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn a_length_that_runs_over_is_an_error() {
        let bytes = Bytes::from_static(&[0, 0, 0, 1, 0x41, 0, 0, 0, 9, 0x65]);
        let error = to_length_prefixed(&bytes, Framing::LengthPrefixed(4)).unwrap_err();
        assert!(matches!(error, MediaError::BrokenAccessUnit { offset: 5, total: 10 }), "{error}");
        assert!(to_length_prefixed(&Bytes::from_static(b"noise"), Framing::AnnexB).is_err());
    }
}
