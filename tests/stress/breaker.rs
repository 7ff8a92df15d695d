//! The breaker's counters add up, and half-open never lets more through than it may.

use crate::{ROUNDS, on_threads};
use cofferdam::resilience::CircuitBreaker;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn every_call_is_counted_once_and_trials_never_exceed_their_number() {
    let breaker = CircuitBreaker::builder()
        .failure_threshold(3)
        .recovery_time(Duration::from_micros(20))
        .half_open_requests(2)
        .success_threshold(2)
        .build()
        .unwrap();
    let (admitted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(|_, rng| {
        for _ in 0..ROUNDS {
            match breaker.try_acquire() {
                Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                Ok(guard) => {
                    admitted.fetch_add(1, Ordering::Relaxed);
                    match rng.u8(0..10) {
                        0..4 => guard.failure(),
                        4..8 => guard.success(),
                        8 => guard.ignore(),
                        _ => drop(guard),
                    }
                }
            }
        }
    });
    let stats = breaker.stats();
    assert_eq!(stats.rejected, refused.into_inner());
    assert_eq!(stats.running, 0, "{stats:?}");
    let judged = stats.successes + stats.failures + stats.ignored + stats.cancelled;
    assert_eq!(judged + stats.late, admitted.into_inner(), "{stats:?}");
}
