//! Bits of a raw byte sequence payload (H.264 and H.265, clauses 7.2 and 9.1 and 9.2).

use std::borrow::Cow;

/// Takes the emulation prevention bytes out of at most the first `limit` bytes of a NAL unit's payload, and drops
/// zero bytes behind the trailing bits. Borrows where there is nothing to take out.
pub(crate) fn unescape(payload: &[u8], limit: usize) -> Cow<'_, [u8]> {
    let mut end = payload.len();
    while end > 0 && payload[end - 1] == 0 {
        end -= 1;
    }
    let payload = &payload[..end.min(limit)];
    let Some(first) = payload.windows(3).position(|w| w == [0, 0, 3]) else {
        return Cow::Borrowed(payload);
    };
    let mut out = Vec::with_capacity(payload.len());
    out.extend_from_slice(&payload[..first]);
    let mut zeros = 0;
    for &byte in &payload[first..] {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    Cow::Owned(out)
}

/// Reads bits, most significant first. Every read past the end is `None`.
#[derive(Clone)]
pub(crate) struct Bits<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        let byte = self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// `u(n)`; n is at most 32.
    pub(crate) fn u(&mut self, n: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..n {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub(crate) fn skip(&mut self, n: usize) -> Option<()> {
        let position = self.position.checked_add(n)?;
        (position <= self.data.len() * 8).then(|| self.position = position)
    }

    /// `ue(v)`, an unsigned Exp-Golomb code of at most 32 bits.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.u(zeros)?;
        Some((1u32 << zeros) - 1 + rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode_ue(value: u32) -> Vec<u8> {
        let code = u64::from(value) + 1;
        let bits = 64 - code.leading_zeros();
        let text = format!("{}{code:b}", "0".repeat(bits as usize - 1));
        text.as_bytes().chunks(8).map(|c| c.iter().enumerate().fold(0, |b, (i, d)| b | (d - b'0') << (7 - i))).collect()
    }

    proptest! {
        #[test]
        fn exp_golomb_reads_what_was_written(value in 0..u32::MAX) {
            prop_assert_eq!(Bits::new(&encode_ue(value)).ue(), Some(value));
        }

        #[test]
        fn unescaping_undoes_escaping(mut raw in proptest::collection::vec(0u8..5, 0..200)) {
            raw.push(0x80);
            let mut escaped = Vec::new();
            for &byte in &raw {
                if byte <= 3 && escaped.ends_with(&[0, 0]) {
                    escaped.push(3);
                }
                escaped.push(byte);
            }
            let unescaped = unescape(&escaped, usize::MAX);
            prop_assert_eq!(unescaped.as_ref(), raw.as_slice());
        }
    }

    #[test]
    fn the_end_is_none() {
        assert_eq!(Bits::new(&[0; 40]).ue(), None);
        assert_eq!(Bits::new(&[0x01]).ue(), None);
        assert_eq!(Bits::new(&[]).flag(), None);
        assert_eq!(Bits::new(&[0xff]).skip(9), None);
    }
}
