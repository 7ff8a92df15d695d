//! Timers without a reactor: one thread, started at the first sleep, that waits for the earliest deadline.

use super::timers::{HostedSleep, TimerHost, Timers};
use super::{Sleep, system};
use crate::panics::contain;
use crate::shim::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

#[derive(Default)]
struct Host {
    timers: Timers,
    started: AtomicBool,
    /// Set by the thread itself, before it looks at the timers: whoever arms one and finds nobody to unpark will be seen.
    thread: OnceLock<Thread>,
}

impl TimerHost for Host {
    const JUMPS: bool = false;

    fn now(&self) -> Instant {
        system::now()
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    fn rescheduled(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Host {
    /// Starts the thread, once. Where the system has none to give, the next sleep tries again.
    fn start(self: &Arc<Self>) {
        // Relaxed: says only who is to start it; what the threads share they pass through the lock of the timers.
        if self.started.load(Ordering::Relaxed) || self.started.swap(true, Ordering::Relaxed) {
            return;
        }
        let host = Arc::clone(self);
        let spawned = thread::Builder::new().name("cofferdam-timer".into()).spawn(move || host.run());
        if spawned.is_err() {
            self.started.store(false, Ordering::Relaxed);
        }
    }

    fn run(&self) {
        let _ = self.thread.set(thread::current());
        loop {
            while let Some(waker) = self.timers.pop_due(system::now()) {
                // A waker that panics must not take every other timer of the process with it.
                contain(|| waker.wake());
            }
            // An arming between this look and the park leaves an unpark token: the park returns at once.
            match self.timers.next() {
                Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(system::now())),
                None => thread::park(),
            }
        }
    }
}

pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    static HOST: OnceLock<Arc<Host>> = OnceLock::new();
    let host = HOST.get_or_init(Arc::default);
    host.start();
    Sleep::new(HostedSleep::new(Arc::clone(host), deadline))
}

/// Here and not among the integration tests, because those are always built with `async-io`. The timers of the reactor must
/// pass the same.
#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;
    use std::sync::mpsc;
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    const KINDS: &[fn(Instant) -> Sleep] = &[
        super::sleep_until,
        #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
        crate::time::reactor::sleep_until,
        #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
        crate::time::reactor::sleep_ahead,
    ];

    fn after(millis: u64) -> Instant {
        system::now() + Duration::from_millis(millis)
    }

    #[test]
    fn a_sleep_ends_at_its_deadline_and_not_before() {
        for sleep_until in KINDS {
            let deadline = after(3);
            block_on(sleep_until(deadline));
            assert!(system::now() >= deadline);
            // Over already.
            block_on(sleep_until(deadline));
        }
    }

    struct Send(u32, mpsc::Sender<u32>);

    impl Wake for Send {
        fn wake(self: Arc<Self>) {
            let _ = self.1.send(self.0);
        }
    }

    fn poll(sleep: &mut Sleep, waker: Waker) {
        use std::future::Future;
        assert!(std::pin::Pin::new(sleep).poll(&mut Context::from_waker(&waker)).is_pending());
    }

    /// What it panics with panics when it is dropped.
    struct Mine;

    impl Drop for Mine {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("the drop"));
        }
    }

    impl Wake for Mine {
        fn wake(self: Arc<Self>) {
            std::mem::forget(self);
            std::panic::resume_unwind(Box::new(Self));
        }
    }

    #[test]
    fn a_waker_whose_panic_panics_takes_no_other_timer_with_it() {
        for sleep_until in KINDS {
            let (woken, wakes) = mpsc::channel();
            let (mut first, mut second) = (sleep_until(after(5)), sleep_until(after(6)));
            poll(&mut first, Waker::from(Arc::new(Mine)));
            poll(&mut second, Waker::from(Arc::new(Send(2, woken.clone()))));
            assert_eq!(wakes.recv_timeout(Duration::from_secs(30)), Ok(2));
            let mut third = sleep_until(after(5));
            poll(&mut third, Waker::from(Arc::new(Send(3, woken))));
            assert_eq!(wakes.recv_timeout(Duration::from_secs(30)), Ok(3));
        }
    }

    #[test]
    fn an_earlier_sleep_overtakes_one_that_the_thread_waits_for() {
        for sleep_until in KINDS {
            let (woken, wakes) = mpsc::channel();
            let mut sleeps = [sleep_until(after(60_000)), sleep_until(after(200)), sleep_until(after(100))];
            for (name, sleep) in sleeps.iter_mut().enumerate() {
                poll(sleep, Waker::from(Arc::new(Send(name as u32, woken.clone()))));
            }
            assert_eq!(wakes.recv_timeout(Duration::from_secs(30)), Ok(2));
            assert_eq!(wakes.recv_timeout(Duration::from_secs(30)), Ok(1));
        }
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of the test");
        }
    }

    #[test]
    fn a_waker_that_panics_stops_no_other_timer() {
        for sleep_until in KINDS {
            let mut bad = sleep_until(after(200));
            poll(&mut bad, Waker::from(Arc::new(Panics)));
            block_on(sleep_until(after(210)));
            for _ in 0..3 {
                block_on(sleep_until(after(2)));
            }
        }
    }

    #[test]
    fn those_that_come_and_go_before_an_instant_that_is_planned_for_leave_later_ones_in_place() {
        for sleep_until in KINDS {
            let (woken, wakes) = mpsc::channel();
            let mut first = sleep_until(after(40));
            poll(&mut first, Waker::noop().clone());
            for millis in (41..80).rev() {
                poll(&mut sleep_until(after(millis)), Waker::noop().clone());
            }
            let mut later = sleep_until(after(60));
            poll(&mut later, Waker::from(Arc::new(Send(7, woken))));
            drop(first);
            assert_eq!(wakes.recv_timeout(Duration::from_secs(30)), Ok(7));
        }
    }

    #[test]
    fn many_threads_may_sleep_at_once() {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let sleep_until = KINDS[thread as usize % KINDS.len()];
                thread::spawn(move || {
                    for sleep in 0..20 {
                        let deadline =
                            system::now() + Duration::from_micros((thread * 37 + sleep * 61) % 500);
                        block_on(sleep_until(deadline));
                        assert!(system::now() >= deadline);
                    }
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().is_ok());
        }
    }

    struct Run<F>(F);

    impl<F: Fn() + std::marker::Send + Sync + 'static> Wake for Run<F> {
        fn wake(self: Arc<Self>) {
            self.0();
        }
    }

    fn run<F: Fn() + std::marker::Send + Sync + 'static>(f: F) -> Waker {
        Waker::from(Arc::new(Run(f)))
    }

    #[test]
    fn a_waker_may_arm_and_drop_other_timers() {
        use std::sync::Mutex;
        for &sleep_until in KINDS {
            let (woken, wakes) = mpsc::channel();
            let other = Mutex::new(Some(sleep_until(after(60_000))));
            if let Ok(Some(other)) = other.lock().as_deref_mut().map(Option::as_mut) {
                poll(other, Waker::noop().clone());
            }
            let woken = Mutex::new(woken);
            let kept = Mutex::new(Vec::new());
            let mut sleep = sleep_until(after(3));
            poll(
                &mut sleep,
                run(move || {
                    drop(other.lock().ok().and_then(|mut other| other.take()));
                    let mut next = sleep_until(after(2));
                    if let (Ok(woken), Ok(mut kept)) = (woken.lock(), kept.lock()) {
                        poll(&mut next, Waker::from(Arc::new(Send(5, woken.clone()))));
                        kept.push(next);
                    }
                    // The waker goes with its call: what is kept must not.
                    std::mem::forget(std::mem::take(&mut *kept.lock().unwrap_or_else(|e| e.into_inner())));
                }),
            );
            assert_eq!(wakes.recv_timeout(Duration::from_secs(30)), Ok(5));
        }
    }

    #[test]
    fn one_that_is_ages_away_holds_up_no_other() {
        for sleep_until in KINDS {
            let mut ages = sleep_until(system::now() + Duration::from_secs(1 << 61));
            poll(&mut ages, Waker::noop().clone());
            block_on(sleep_until(after(2)));
            let mut ages = sleep_until(system::now() + Duration::from_secs(1 << 40));
            poll(&mut ages, Waker::noop().clone());
            block_on(sleep_until(after(2)));
        }
    }

    #[test]
    fn threads_that_arm_and_drop_at_random_lose_no_wake_up() {
        for &sleep_until in KINDS {
            let threads: Vec<_> = (0..4)
                .map(|seed| {
                    thread::spawn(move || {
                        let mut rng = fastrand::Rng::with_seed(seed);
                        let mut kept = Vec::new();
                        for _ in 0..300 {
                            let mut dropped =
                                sleep_until(system::now() + Duration::from_micros(rng.u64(50..900)));
                            let due = system::now() + Duration::from_micros(rng.u64(1..600));
                            let (woken, wakes) = mpsc::channel();
                            let _ = std::future::Future::poll(
                                std::pin::Pin::new(&mut dropped),
                                &mut Context::from_waker(Waker::noop()),
                            );
                            let mut sleep = sleep_until(due);
                            let waker = Waker::from(Arc::new(Send(1, woken)));
                            if std::future::Future::poll(
                                std::pin::Pin::new(&mut sleep),
                                &mut Context::from_waker(&waker),
                            )
                            .is_ready()
                            {
                                continue;
                            }
                            match rng.u32(..4) {
                                0 => drop(dropped),
                                1 => kept.push(dropped),
                                _ => kept.clear(),
                            }
                            if wakes.recv_timeout(Duration::from_secs(30)) != Ok(1) {
                                return false;
                            }
                        }
                        true
                    })
                })
                .collect();
            assert!(threads.into_iter().all(|thread| thread.join().is_ok_and(|woken| woken)));
        }
    }
}
