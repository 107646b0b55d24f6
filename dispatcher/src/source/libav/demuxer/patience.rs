//! What libav asks while it waits: whether to go on.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffmpeg::ffi;

pub(super) struct Patience {
    cancelled: Arc<AtomicBool>,
    timeout: Duration,
    began: Instant,
    /// In microseconds since it began. Atomic, because libav reads it behind the demuxer's back.
    deadline_us: AtomicU64,
}

impl Patience {
    /// Until `timeout` from now, and from each renewal.
    pub(super) fn new(cancelled: Arc<AtomicBool>, timeout: Duration) -> Self {
        let patience = Self { cancelled, timeout, began: Instant::now(), deadline_us: AtomicU64::new(0) };
        patience.renew();
        patience
    }

    pub(super) fn renew(&self) {
        let deadline = self.began.elapsed().saturating_add(self.timeout);
        self.deadline_us.store(u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.began.elapsed().as_micros() > u128::from(self.deadline_us.load(Ordering::Relaxed))
    }

    /// For libav to call. It must not outlive this.
    pub(super) fn callback(self: &Arc<Self>) -> ffi::AVIOInterruptCB {
        ffi::AVIOInterruptCB { callback: Some(interrupt), opaque: Arc::as_ptr(self).cast_mut().cast() }
    }
}

extern "C" fn interrupt(patience: *mut c_void) -> c_int {
    // SAFETY: it is shared by whoever opened what libav reads, for longer than that is open, and only read here.
    let patience = unsafe { &*patience.cast_const().cast::<Patience>() };
    c_int::from(patience.cancelled.load(Ordering::Relaxed) || patience.is_over())
}
