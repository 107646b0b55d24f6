//! Any bytes given as a message, and the golden headers with any bytes written over a part of them; what can be read
//! is written the same way again.
#![no_main]

use bytes::Bytes;
use detektor_contract::wire::{decode_job, decode_outcome, encode_job, encode_outcome};
use libfuzzer_sys::fuzz_target;

const GOLDEN: [(u8, &str); 8] = [
    (b'J', include_str!("../../crates/contract/tests/snapshots/wire__job_inline.snap")),
    (b'J', include_str!("../../crates/contract/tests/snapshots/wire__job_object.snap")),
    (b'O', include_str!("../../crates/contract/tests/snapshots/wire__result.snap")),
    (b'O', include_str!("../../crates/contract/tests/snapshots/wire__tombstone.snap")),
    (b'O', include_str!("../../crates/contract/tests/snapshots/wire__shed.snap")),
    (b'O', include_str!("../../crates/contract/tests/snapshots/wire__gap.snap")),
    (b'O', include_str!("../../crates/contract/tests/snapshots/wire__undecodable.snap")),
    (b'O', include_str!("../../crates/contract/tests/snapshots/wire__end.snap")),
];

fuzz_target!(|data: &[u8]| {
    check(Bytes::copy_from_slice(data));
    let Some((&[golden, over, a, b], patch)) = data.split_first_chunk::<4>() else { return };
    let (kind, snapshot) = GOLDEN[usize::from(golden) % GOLDEN.len()];
    let json = snapshot.lines().find(|line| line.starts_with('{')).unwrap();
    let mut header = json.as_bytes().to_vec();
    let at = usize::from(u16::from_be_bytes([a, b])) % header.len();
    let end = header.len().min(at + usize::from(over));
    header.splice(at..end, patch.iter().copied());
    let mut message = vec![b'D', b'T', b'K', kind, 1, 0];
    message.extend_from_slice(&(header.len() as u32).to_be_bytes());
    message.extend_from_slice(&header);
    message.extend_from_slice(&[0; 4000]);
    check(message.into());
});

fn check(message: Bytes) {
    if let Ok(job) = decode_job(&message) {
        assert_eq!(decode_job(&encode_job(&job)).unwrap(), job);
    }
    if let Ok(outcome) = decode_outcome(&message) {
        assert_eq!(decode_outcome(&encode_outcome(&outcome)).unwrap(), outcome);
    }
}
