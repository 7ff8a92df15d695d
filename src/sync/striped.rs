//! Counters that many threads add to and few read.
//!
//! One atomic that every call adds to is a cache line that every core fights for. Here each thread adds to a line of
//! its own, and the reader sums the lines. The first threads of the process, as many as the machine runs at once and
//! some more, have their line to themselves: they add with a load and a store, which costs a quarter of an atomic
//! addition. Threads past those share a few lines and add atomically.
//!
//! # Guarantees
//!
//! * Nothing is lost: a line is written either by the one living thread that holds its lane, or atomically.
//! * Each count is exact once the additions happen before the sum; while threads add, a sum is some value between the
//!   sum at its beginning and the sum at its end.
//! * Additions are releases and sums acquire: who sees an addition sees what its thread did before it. So a sum of
//!   "ended" that is taken *before* a sum of "begun" is never greater, if every end follows its beginning.

#![forbid(unsafe_code)]

use crate::shim::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::fmt;

/// Which line a thread adds to. Below [`LANES`]: held by one living thread only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane(pub(crate) u8);

/// Lanes with a single holder, in the whole process.
const LANES: u8 = 64;

/// `N` counters, striped.
pub(crate) struct Striped<const N: usize> {
    /// First the lines with one writer each, lane by lane; then the shared ones, a power of two.
    lines: Box<[CachePadded<[AtomicU64; N]>]>,
    own: usize,
    shared_mask: usize,
}

impl<const N: usize> Striped<N> {
    /// All zero, with as many lines as the machine has use for.
    pub(crate) fn new() -> Self {
        let own = own_lines();
        Self::with_lines(own, (own / 4).max(1))
    }

    /// `own` lines for the first lanes and `shared` (rounded up to a power of two) for the rest.
    pub(crate) fn with_lines(own: usize, shared: usize) -> Self {
        let own = own.min(usize::from(LANES));
        let shared = shared.max(1).next_power_of_two();
        let line = |_| CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { lines: (0..own + shared).map(line).collect(), own, shared_mask: shared - 1 }
    }

    /// The line of a lane, and whether nobody else writes it.
    #[inline(always)]
    pub(crate) fn line(&self, lane: Lane) -> (Option<&[AtomicU64; N]>, bool) {
        let lane = usize::from(lane.0);
        let line = match self.lines.get(lane) {
            // Of the lines that are shared any will do, so also that of this number.
            Some(line) => Some(line),
            None => self.lines.get(self.own + (lane & self.shared_mask)),
        };
        (line.map(|line| &**line), lane < self.own)
    }

    /// Adds one to counter `COUNTER`. `lane` is this thread's, from [`lane`].
    #[inline]
    pub(crate) fn add<const COUNTER: usize>(&self, lane: Lane) {
        const { assert!(COUNTER < N) };
        let (Some(line), alone) = self.line(lane) else { return };
        if alone {
            Self::add_own::<COUNTER>(line);
        } else {
            // ORDERING: Release pairs with `sum`; being a read-modify-write it keeps earlier additions' releases.
            line[COUNTER].fetch_add(1, Ordering::Release);
        }
    }

    /// Adds one, ordered before every later `SeqCst` look at something else (`shim::load_seq_cst_u64`): either that look
    /// sees what another thread changed there, or that thread, summing behind a fence after its change, sees this
    /// addition.
    #[inline]
    pub(crate) fn add_then_look<const COUNTER: usize>(&self, lane: Lane) {
        const { assert!(COUNTER < N) };
        if let (Some(line), _) = self.line(lane) {
            line[COUNTER].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes back an [`add_then_look`](Self::add_then_look) of this thread.
    pub(crate) fn take_back<const COUNTER: usize>(&self, lane: Lane) {
        const { assert!(COUNTER < N) };
        if let (Some(line), _) = self.line(lane) {
            line[COUNTER].fetch_sub(1, Ordering::Release);
        }
    }

    /// All lines.
    #[inline(always)]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn lines(&self) -> &[CachePadded<[AtomicU64; N]>] {
        &self.lines
    }

    /// The line of a lane that nobody else writes, if it has one.
    #[inline(always)]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn own(&self, lane: Lane) -> Option<&[AtomicU64; N]> {
        let lane = usize::from(lane.0);
        if lane < self.own { self.lines.get(lane).map(|line| &**line) } else { None }
    }

    /// As [`add`](Self::add), to the line of one's own.
    #[inline(always)]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn add_own<const COUNTER: usize>(line: &[AtomicU64; N]) {
        const { assert!(COUNTER < N) };
        let counter = &line[COUNTER];
        // ORDERING: nobody else writes this line, so the load is of our own last store; Release pairs with `sum`.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// The sum of a counter over all lines.
    pub(crate) fn sum<const COUNTER: usize>(&self) -> u64 {
        const { assert!(COUNTER < N) };
        // ORDERING: Acquire pairs with the Release of the additions it sees.
        self.lines.iter().fold(0, |sum, line| sum.wrapping_add(line[COUNTER].load(Ordering::Acquire)))
    }
}

impl<const N: usize> fmt::Debug for Striped<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Striped").field("own", &self.own).field("shared", &(self.shared_mask + 1)).finish()
    }
}

#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
use lanes::own_lines;
#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
#[allow(unused_imports, reason = "used by the rooms behind features")]
pub(crate) use lanes::{known_lane, lane};

/// The lane of the calling thread. The model checkers' threads all share; models of lanes name them.
#[cfg(any(cofferdam_loom, cofferdam_shuttle))]
pub(crate) fn lane() -> Lane {
    Lane(LANES)
}

#[cfg(any(cofferdam_loom, cofferdam_shuttle))]
#[allow(dead_code, reason = "used by the rooms behind features")]
pub(crate) fn known_lane() -> Lane {
    lane()
}

#[cfg(any(cofferdam_loom, cofferdam_shuttle))]
fn own_lines() -> usize {
    0
}

#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
mod lanes {
    use super::{LANES, Lane};
    use crate::shim::{AtomicU64, Ordering};
    use std::cell::Cell;
    use std::sync::OnceLock;

    /// One bit for each lane that a living thread holds.
    static HELD: AtomicU64 = AtomicU64::new(0);
    /// Spreads the threads that hold none over the shared lines.
    static SHARERS: AtomicU64 = AtomicU64::new(0);

    const UNKNOWN: u8 = u8::MAX;

    thread_local! {
        /// Has no destructor, so it can be read until the very end of the thread, by destructors of others too.
        static LANE: Cell<u8> = const { Cell::new(UNKNOWN) };
        static HOLD: Hold = Hold::claim();
    }

    /// Holds a lane for as long as its thread lives.
    struct Hold(u8);

    impl Hold {
        fn claim() -> Self {
            let mut held = HELD.load(Ordering::Relaxed);
            while held != u64::MAX {
                let lane = (!held).trailing_zeros();
                // ORDERING: Acquire pairs with the Release in `drop`: the next holder's loads see the last holder's
                // stores. Nothing is published by claiming.
                match HELD.compare_exchange_weak(held, held | 1 << lane, Ordering::Acquire, Ordering::Relaxed)
                {
                    Ok(_) => return Self(lane as u8),
                    Err(now) => held = now,
                }
            }
            // Relaxed: any number will do.
            Self(LANES + (SHARERS.fetch_add(1, Ordering::Relaxed) % u64::from(LANES)) as u8)
        }
    }

    impl Drop for Hold {
        fn drop(&mut self) {
            // What destructors that run after this one count goes to a shared line.
            LANE.set(LANES);
            if self.0 < LANES {
                // ORDERING: see `claim`.
                HELD.fetch_and(!(1 << self.0), Ordering::Release);
            }
        }
    }

    /// The lane of the calling thread, for the rest of its life.
    #[inline]
    pub(crate) fn lane() -> Lane {
        let lane = LANE.get();
        if lane == UNKNOWN { first() } else { Lane(lane) }
    }

    /// The lane of the calling thread; one that has no line of its own if the thread has not asked for its [`lane`] before.
    #[inline(always)]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn known_lane() -> Lane {
        Lane(LANE.get())
    }

    #[cold]
    fn first() -> Lane {
        let lane = HOLD.try_with(|hold| hold.0).unwrap_or(LANES);
        LANE.set(lane);
        Lane(lane)
    }

    /// Twice the threads that run at once, since not every thread that has a lane is one of the busy ones.
    pub(super) fn own_lines() -> usize {
        static OWN: OnceLock<usize> = OnceLock::new();
        *OWN.get_or_init(|| {
            let parallel = std::thread::available_parallelism().map_or(4, usize::from);
            (2 * parallel).clamp(4, 16)
        })
    }
}
