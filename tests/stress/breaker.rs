//! The breaker's counters add up, and half-open never lets more through than it may.

use crate::{ROUNDS, THREADS, on_threads};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{State, Window};
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

/// S29. More threads than have counters to themselves, so that some share; and somebody looks in between.
#[test]
fn a_window_of_calls_holds_each_call_once() {
    let window = Window::calls(16_000);
    let builder = CircuitBreaker::builder().window(window).failure_rate(1.0).minimum_calls(100);
    let breaker = builder.build().unwrap();
    let failed = AtomicU64::new(0);
    on_threads(|index, rng| {
        for n in 0..16_000 / THREADS {
            let fails = rng.u8(..8) == 0;
            failed.fetch_add(u64::from(fails), Ordering::Relaxed);
            let answer = breaker.call_sync(|| if fails { Err(()) } else { Ok(()) });
            assert_eq!(answer.is_err(), fails);
            if index == 0 && n % 50 == 0 {
                let held = breaker.stats().window.unwrap();
                assert!(held.failures <= held.calls && held.calls <= 16_000, "{held:?}");
            }
        }
    });
    let held = breaker.stats().window.unwrap();
    assert_eq!((held.calls, held.failures), ((16_000 / THREADS * THREADS) as u64, failed.into_inner()));
}

/// S9, S29: a small one, round and round, that is begun anew again and again.
#[test]
fn a_window_of_calls_is_exact_once_all_is_quiet() {
    let builder = CircuitBreaker::builder().window(Window::calls(50)).failure_rate(1.0).minimum_calls(50);
    let breaker = builder.build().unwrap();
    on_threads(|index, rng| {
        for n in 0..ROUNDS {
            let fails = rng.u8(..16) == 0;
            let _ = breaker.call_sync(|| if fails { Err(()) } else { Ok(()) });
            if index == 0 && n % 40 == 0 {
                breaker.reset().unwrap();
            }
        }
    });
    assert_eq!(breaker.state(), State::Closed);
    let held = || breaker.stats().window.map(|held| (held.calls, held.failures)).unwrap();
    breaker.reset().unwrap();
    assert_eq!(held(), (0, 0));
    for n in 1..=200_u64 {
        let _ = breaker.call_sync(|| if n % 5 == 0 { Err(()) } else { Ok(()) });
        if n % 7 == 0 {
            let before = n.saturating_sub(50) / 5;
            assert_eq!(held(), (n.min(50), n / 5 - before), "{n}");
        }
    }
}
