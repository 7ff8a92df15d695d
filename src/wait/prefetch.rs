//! Memory asked for before it is needed: while the clock is read and a lock is taken, it arrives.

/// Whether [`prefetch`] does anything: the processor has an instruction for it that Rust knows, and no model checker watches, to
/// whom what is looked at for its sake would be one more thing to try.
pub(crate) const PREFETCHES: bool =
    cfg!(all(target_arch = "x86_64", not(any(cofferdam_loom, cofferdam_shuttle))));

/// Asks for the cache line at an address, whatever is there.
#[inline(always)]
pub(crate) fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    if PREFETCHES {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that a program can see and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::without_provenance(address)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
