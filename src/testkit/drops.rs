//! Dropping a future at each of its await points.

use super::{Sim, WakeCounter};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll};

/// More polls than any future under test needs: beyond it the future is taken for one that never ends.
const MAX_POLLS: usize = 100_000;

/// Makes a future again and again, polls it 0, 1, 2, ... times, drops it half-way and calls `check` with the number of
/// polls it had; stops as soon as the future is done, or waits for something that no poll of its own will bring.
///
/// Returns at how many points a future was dropped; assert that it is what you think, or the test may test nothing.
/// For futures that need others to go on, there is [`drop_at_every_await_in_sim`].
///
/// # Panics
/// With the panic of `check`, after the point was printed.
///
/// ```
/// use cofferdam::testkit::{drop_at_every_await, yield_now};
/// use std::cell::Cell;
///
/// struct Held<'a>(&'a Cell<i32>);
/// impl Drop for Held<'_> {
///     fn drop(&mut self) {
///         self.0.set(self.0.get() - 1);
///     }
/// }
///
/// let held = Cell::new(0);
/// let work = || async {
///     held.set(held.get() + 1);
///     let _held = Held(&held);
///     yield_now().await;
///     yield_now().await;
/// };
/// let points = drop_at_every_await(work, |polls| assert_eq!(held.get(), 0, "leaked after {polls} polls"));
/// assert_eq!(points, 3); // not polled, and at either await
/// ```
pub fn drop_at_every_await<F: Future>(mut make: impl FnMut() -> F, mut check: impl FnMut(usize)) -> usize {
    for polls in 0..MAX_POLLS {
        let point = DropPoint { polls, woken: false };
        let went_on = point.explain(None, || {
            let wakes = WakeCounter::new();
            let waker = wakes.waker();
            {
                let mut future = pin!(make());
                let mut woken = 0;
                for poll in 0..polls {
                    // The first poll needs no wake, every other one does.
                    let before = std::mem::replace(&mut woken, wakes.count());
                    if poll > 0 && before == woken {
                        return false;
                    }
                    if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                        return false;
                    }
                }
            }
            check(polls);
            true
        });
        if !went_on {
            return polls;
        }
    }
    panic!("not done after {MAX_POLLS} polls");
}

/// Where a future under test was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropPoint {
    /// How often it had been polled.
    pub polls: usize,
    /// Whether it had then been woken again, and was dropped instead of polled: the moment at which what it waited for
    /// may already be its own. Otherwise it was dropped at once after the poll.
    pub woken: bool,
}

impl DropPoint {
    /// Runs `f`; prints where we are if it panics.
    fn explain<R>(self, seed: Option<u64>, f: impl FnOnce() -> R) -> R {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(result) => result,
            Err(panic) => {
                match seed {
                    Some(seed) => eprintln!("failed when dropped at {self:?}, seed {seed}"),
                    None => eprintln!("failed when dropped at {self:?}"),
                }
                resume_unwind(panic)
            }
        }
    }
}

/// Drops a future at each of its await points in the midst of a world of others, for each of `seeds`.
///
/// `make` builds the world: it spawns the other parties into the [`Sim`] and returns the future under test and the check
/// to be made after it was dropped. For every number of polls that the future can have there are two runs, each in a new
/// world: one drops it right after that poll, the other when it has been woken for the next one. Then the tasks settle
/// (time stands still), and the check looks; it may [`run`](Sim::run) or [`advance`](Sim::advance) the world further.
///
/// Returns the number of points, over all seeds.
///
/// # Panics
/// With the panic of the check, a task or the future; and, naming all who wait, if the future waits for something that
/// never comes. The seed and the point are printed first.
///
/// ```
/// use cofferdam::testkit::drop_at_every_await_in_sim;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let points = drop_at_every_await_in_sim(0..10, |sim| {
///     let clock = sim.clock();
///     let other_done = Arc::new(AtomicBool::new(false));
///     let done = Arc::clone(&other_done);
///     let other = sim.spawn("other", async move { done.store(true, Ordering::Relaxed) });
///     let under_test = async move {
///         other.await;
///         clock.sleep(Duration::from_secs(1)).await;
///     };
///     let check = move |sim: &cofferdam::testkit::Sim, _point: _| {
///         assert!(other_done.load(Ordering::Relaxed), "its dropping must not stop the other");
///         assert_eq!(sim.time().armed(), 0, "its timer must go with it");
///     };
///     (under_test, check)
/// });
/// assert!(points >= 10 * 3);
/// ```
pub fn drop_at_every_await_in_sim<F, C>(
    seeds: impl IntoIterator<Item = u64>,
    mut make: impl FnMut(&Sim) -> (F, C),
) -> usize
where
    F: Future,
    C: FnOnce(&Sim, DropPoint),
{
    let mut points = 0;
    for seed in seeds {
        let mut moments = (0..MAX_POLLS).flat_map(|polls| {
            let woken = (polls > 0).then_some(DropPoint { polls, woken: true });
            std::iter::once(DropPoint { polls, woken: false }).chain(woken)
        });
        loop {
            let Some(point) = moments.next() else {
                panic!("not done after {MAX_POLLS} polls (seed {seed})")
            };
            if !point.explain(Some(seed), || drop_at(seed, point, &mut make)) {
                break;
            }
            points += 1;
        }
    }
    points
}

/// False if the future was done before.
fn drop_at<F, C>(seed: u64, point: DropPoint, make: &mut impl FnMut(&Sim) -> (F, C)) -> bool
where
    F: Future,
    C: FnOnce(&Sim, DropPoint),
{
    let sim = Sim::new(seed);
    let (future, check) = make(&sim);
    let dropped = {
        let mut future = pin!(future);
        let mut polls = 0;
        // The whole of `run`'s future, so it is polled exactly when the future under test was woken.
        sim.run(poll_fn(|cx| {
            if polls == point.polls {
                return Poll::Ready(true);
            }
            polls += 1;
            match future.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending if polls == point.polls && !point.woken => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            }
        }))
    };
    if dropped {
        sim.run_until_idle();
        check(&sim, point);
    }
    sim.drop_tasks();
    dropped
}
