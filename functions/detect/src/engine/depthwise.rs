//! A depthwise convolution for tract on x86-64 with AVX2, entered into tract's own registry of kernels.
//!
//! Half of EfficientDet's time goes there. tract's kernel leaves to scalar code what is not a multiple of eight wide, as
//! most of a detector's small maps are, and all that steps by two.
#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use tract_onnx::tract_core::internal::inventory;
use tract_onnx::tract_core::tract_linalg::isa::{Arch, Isa, IsaReq};
use tract_onnx::tract_core::tract_linalg::routines::{Func, Routine, RoutineFactory};

/// The kernel's name in the registry.
const NAME: &str = "detektor_avx2_depthwise_w_f32";

inventory::submit! {
    Routine {
        func: Func::DepthwiseW,
        arch: Some(Arch::X86_64),
        isa: IsaReq { needs: &[Isa::X86_64Avx2, Isa::X86_64Fma] },
        boost: 0,
        round_trip: false,
        factory: RoutineFactory::DepthwiseWF32 { name: NAME, run },
    }
}

/// See [`tract_onnx::tract_core::tract_linalg::routines::DepthwiseWF32`]: each of `len` neighbouring outputs is the bias
/// plus every `taps[t] * input[offsets[t] + i * step]`.
unsafe fn run(
    input: *const f32,
    output: *mut f32,
    taps: &[f32],
    offsets: &[isize],
    bias: f32,
    len: usize,
    step: isize,
) {
    // SAFETY: the registry hands this out on machines with AVX2 and FMA only; the pointers are as the caller promises.
    unsafe {
        match step {
            1 => row::<1>(input, output, taps, offsets, bias, len, step),
            2 => row::<2>(input, output, taps, offsets, bias, len, step),
            _ => row::<0>(input, output, taps, offsets, bias, len, step),
        }
    }
}

/// `STEP` is `step` where that is 1 or 2, which have loads of their own, and 0 for all others.
#[target_feature(enable = "avx2,fma")]
unsafe fn row<const STEP: isize>(
    input: *const f32,
    output: *mut f32,
    taps: &[f32],
    offsets: &[isize],
    bias: f32,
    len: usize,
    step: isize,
) {
    let mut at = 0;
    // SAFETY: as `run`'s.
    unsafe {
        while STEP != 0 && at + 32 <= len {
            let from = input.offset(at as isize * step);
            block::<STEP, 4>(from, output.add(at), taps, offsets, bias);
            at += 32;
        }
        while STEP != 0 && len >= 8 && at < len {
            // The last eight overlap what is done already, and come out the same.
            at = at.min(len - 8);
            block::<STEP, 1>(input.offset(at as isize * step), output.add(at), taps, offsets, bias);
            at += 8;
        }
        while at < len {
            few(input.offset(at as isize * step), output.add(at), taps, offsets, bias, len - at, step);
            at += 8;
        }
    }
}

/// `N` times eight outputs.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const STEP: isize, const N: usize>(
    input: *const f32,
    output: *mut f32,
    taps: &[f32],
    offsets: &[isize],
    bias: f32,
) {
    let mut sums = [_mm256_set1_ps(bias); N];
    for (tap, offset) in taps.iter().zip(offsets) {
        let tap = _mm256_set1_ps(*tap);
        for (n, sum) in (0..).zip(&mut sums) {
            // SAFETY: outputs `8 * n` to `8 * n + 7` are among those of the row, so their inputs can be read.
            let values = unsafe {
                let from = input.offset(*offset + 8 * n * STEP);
                match STEP {
                    // Every second of fifteen: the last of the second eight is the last that is needed.
                    2 => even(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(7))),
                    _ => _mm256_loadu_ps(from),
                }
            };
            *sum = _mm256_fmadd_ps(values, tap, *sum);
        }
    }
    for (n, sum) in sums.into_iter().enumerate() {
        // SAFETY: as many outputs can be written.
        unsafe { _mm256_storeu_ps(output.add(8 * n), sum) };
    }
}

/// Elements 0, 2, 4, 6 of the first and 1, 3, 5, 7 of the second.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn even(first: __m256, second: __m256) -> __m256 {
    let mixed = _mm256_shuffle_ps::<0b11_01_10_00>(first, second);
    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(mixed)))
}

/// Up to eight outputs, whatever the step.
#[target_feature(enable = "avx2,fma")]
unsafe fn few(
    input: *const f32,
    output: *mut f32,
    taps: &[f32],
    offsets: &[isize],
    bias: f32,
    count: usize,
    step: isize,
) {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let wanted = _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lanes);
    let index = _mm256_mullo_epi32(lanes, _mm256_set1_epi32(step as i32));
    let mut sum = _mm256_set1_ps(bias);
    for (tap, offset) in taps.iter().zip(offsets) {
        // SAFETY: lanes that are not wanted are neither read nor written.
        let values = unsafe {
            let mask = _mm256_castsi256_ps(wanted);
            _mm256_mask_i32gather_ps::<4>(_mm256_setzero_ps(), input.offset(*offset), index, mask)
        };
        sum = _mm256_fmadd_ps(values, _mm256_set1_ps(*tap), sum);
    }
    // SAFETY: as above.
    unsafe { _mm256_maskstore_ps(output, wanted, sum) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tract_onnx::prelude::DatumType;
    use tract_onnx::tract_core::tract_linalg::isa::native;
    use tract_onnx::tract_core::tract_linalg::routines::best_for;

    use super::*;

    #[test]
    fn every_width_and_step_is_what_arithmetic_says_and_reads_nothing_else() {
        let best = best_for(Func::DepthwiseW, DatumType::F32, &native()).unwrap();
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            assert_ne!(best.name(), NAME);
            return;
        }
        assert_eq!(best.name(), NAME, "tract takes it");
        let taps = [0.5f32, -1.25, 2.0, 0.125, 3.0];
        let offsets = [0isize, 1, 2, 5, 3];
        for step in 1..=3usize {
            for len in 0..=71 {
                // Exactly what may be read, so that a sanitizer or valgrind sees anything beyond.
                let input: Vec<f32> = (0..len.max(1) * step - step + 6).map(|i| ((i * 7) % 23) as f32).collect();
                let mut output = vec![f32::NAN; len + 8];
                // SAFETY: the machine can, and the last input read is `(len - 1) * step + 5`.
                unsafe { run(input.as_ptr(), output.as_mut_ptr(), &taps, &offsets, 0.75, len, step as isize) };
                for (i, found) in output[..len].iter().enumerate() {
                    let products = taps.iter().zip(offsets).map(|(tap, at)| tap * input[i * step + at as usize]);
                    // Small multiples of 1/8: exact in any order.
                    assert_eq!(*found, 0.75 + products.sum::<f32>(), "{len} by {step}: {i}");
                }
                assert!(output[len..].iter().all(|v| v.is_nan()), "{len} by {step}: writes beyond");
            }
        }
    }
}
