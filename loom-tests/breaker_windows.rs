//! The breaker's windows: nothing lost, nothing twice, nothing of a generation that has passed.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | of calls: outcomes that fill a block and begin the next are all counted | 2 | 3 | a store in place of the swap of the head |
//! | of calls: a start that is written by one who was held up is right | 2 | 1 | `put` that does not look whether the head has moved |
//! | of calls: nor does one who was held up for generations keep others from beginning a block | 2 | 2 | `put` that takes it that who was faster wrote the same |
//! | of calls: an outcome of a generation that has passed is in no later one | 2 | 3 | `still` asked before the head is loaded |
//! | of calls: also while a block is full | 2 | 3 | a generation that begins the next block, not the one after it |
//! | of calls: a reader sees the counts of one moment | 2 | 3 | the head swapped before the start is written |
//! | of calls: what threads note, each by itself, and two that put it in | 2 | 3 | the sum taken before the head is loaded |
//! | of calls: what is noted by threads that share a number | 2 | 3 | a number that is loaded and stored |
//! | of calls: two that leap, one of whom has seen more noted | 2 | 3 | each leaps by what he has seen himself; the sum kept after a leap |
//! | of calls: a failure is judged by the settings of a success before it, whoever put that in | 2 | 3 | settings looked at after the success is noted; the sum Relaxed |
//! | of calls: what is noted for a generation that has passed is in no later one | 2 | 3 | numbers without their generation |
//! | of time: two that begin a part at once are both counted in it, and the old is gone | 2 | 2 | the head swapped before the starts are written |
//! | of time: who reads by the present head finds the start of its window, however far another moves on | 2 | 3 | `rotate` that goes to the part at once |
//! | of time: of two outcomes at once one sees both | 2 | 3 | Acquire and Release in place of SeqCst |
//! | of time: an outcome of a generation that has passed is in no later one | 2 | 3 | `still` asked before the count is loaded |

use crate::race::race;
use crate::striped::{Lane, Striped};
use crate::window::{BLOCK, Counts, Kind, Noted, Shape, Taken, Windows};
use loom::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

struct World {
    windows: Windows,
    /// Two threads have their own, the others share one.
    lines: Striped<1>,
    shape: Shape,
    /// What stands for the breaker's word.
    generation: AtomicU32,
    /// And for the number of the settings: nothing orders it but the window.
    settings: AtomicU32,
    // Each is used by one thread at a time, and none of the model's business.
    seen: [Mutex<Option<Counts>>; 2],
}

const BAD: Kind = Kind { failed: true, slow: true };
const WELL: Kind = Kind { failed: false, slow: false };
const OWN: [Lane; 2] = [Lane(0), Lane(1)];
const SHARED: Lane = Lane(64);

fn counts(calls: u64, failures: u64) -> Counts {
    Counts { calls, failures, slow: failures }
}

impl World {
    fn new(shape: Shape) -> Self {
        let windows = Windows::new(u32::MAX);
        windows.prepare(shape);
        let seen = [Mutex::new(None), Mutex::new(None)];
        let (generation, settings) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { windows, lines: Striped::with_lines(2, 1), shape, generation, settings, seen }
    }

    fn is_still(&self, generation: u32) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    fn record(&self, generation: u32, kind: Kind, now: u64) -> Option<Counts> {
        let (noted, still) = ((Noted(&self.lines), SHARED), || self.is_still(generation));
        match self.windows.take(noted, self.shape, generation, kind, || now, still, |_| false) {
            Taken::With(counts) => Some(counts),
            Taken::Calmly => panic!("it never is"),
            Taken::Late => None,
        }
    }

    /// A success in a calm window.
    fn note(&self, lane: Lane, generation: u32) {
        let (noted, still) = ((Noted(&self.lines), lane), || self.is_still(generation));
        self.windows.take(noted, self.shape, generation, WELL, || 0, still, |_| true);
    }

    /// A success that is judged, as it finds that there are other settings, as of the very moment when it looks at their number: what
    /// the window held with it.
    fn judge(&self, lane: Lane) -> Counts {
        let is_calm = |_| {
            self.settings.store(1, Ordering::Relaxed);
            false
        };
        let (noted, still) = ((Noted(&self.lines), lane), || self.is_still(0));
        match self.windows.take(noted, self.shape, 0, WELL, || 0, still, is_calm) {
            Taken::With(held) => held,
            taken => panic!("it is judged: {taken:?}"),
        }
    }

    /// A failure that is judged at a glance, or else by what the window holds with it: by which settings.
    fn fail(&self) -> u32 {
        let noted = Noted(&self.lines);
        if let Some(failure) = self.windows.failure(noted, self.shape, 0, || self.is_still(0)) {
            let settings = self.settings.load(Ordering::Relaxed);
            if self.windows.put(&failure) {
                return settings;
            }
        }
        self.record(0, BAD, 0);
        self.settings.load(Ordering::Relaxed)
    }

    fn read(&self, generation: u32, now: u64) -> Counts {
        self.windows.read(Noted(&self.lines), self.shape, generation, now, || self.is_still(generation))
    }

    /// As `turn` does.
    fn begin(&self, generation: u32) {
        self.generation.store(generation, Ordering::SeqCst);
        self.windows.begin(self.shape, generation);
    }

    fn see(&self, thread: usize, counts: Option<Counts>) {
        *self.seen[thread].lock().unwrap() = counts;
    }

    fn seen(&self, thread: usize) -> Counts {
        self.seen[thread].lock().unwrap().take().unwrap()
    }
}

/// With so many outcomes, all of them failures but the first.
fn filled(most: u32, outcomes: u32) -> World {
    let world = World::new(Shape::calls(most));
    for n in 0..outcomes {
        world.record(0, if n == 0 { WELL } else { BAD }, 0);
    }
    world
}

/// S29
#[test]
fn outcomes_that_fill_a_block_are_all_counted() {
    race(
        Some(3),
        // The next but one leaves the first behind: the window is of one more than a block.
        || filled(BLOCK + 1, BLOCK - 1),
        |world| world.see(0, world.record(0, BAD, 0)),
        |world| {
            world.see(1, world.record(0, BAD, 0));
            world.record(0, BAD, 0);
        },
        |world| {
            let block = u64::from(BLOCK);
            assert_eq!(world.read(0, 0), counts(block + 1, block + 1));
            let (mine, theirs) = (world.seen(0), world.seen(1));
            assert!(theirs == counts(block, block - 1) || theirs == counts(block + 1, block), "{theirs:?}");
            assert!(
                mine != theirs && mine.calls >= block && mine.failures >= block - 1,
                "{mine:?} {theirs:?}"
            );
        },
    );
}

#[test]
fn one_who_was_held_up_writes_no_wrong_start() {
    race(
        // To be held up once is enough.
        Some(1),
        // A ring of four blocks. The other goes round it until the block of the first is begun again.
        || filled(1, BLOCK),
        |world| drop(world.record(0, WELL, 0)),
        |world| {
            for _ in 0..4 * BLOCK + 1 {
                world.record(0, BAD, 0);
            }
        },
        |world| {
            let last = world.record(0, BAD, 0).unwrap();
            assert_eq!(last, counts(1, 1));
        },
    );
}

#[test]
fn nor_does_one_who_was_held_up_for_generations_keep_others_from_a_start() {
    race(
        Some(2),
        // A ring of four blocks. The first is about to begin the next block, but two generations come and leave it out, and the
        // second fills one and so begins that which has the place in the ring.
        || filled(2 * BLOCK, BLOCK),
        |world| drop(world.record(0, BAD, 0)),
        |world| {
            world.begin(1);
            world.begin(2);
            (0..BLOCK).for_each(|_| world.note(OWN[1], 2));
            world.record(2, BAD, 0);
        },
        |world| assert_eq!(world.read(2, 0), counts(u64::from(BLOCK) + 1, 1)),
    );
}

/// S9
fn late(outcomes: fn() -> World) {
    race(
        Some(3),
        outcomes,
        |world| drop(world.record(0, BAD, 0)),
        |world| {
            world.begin(1);
            assert_eq!(world.record(1, WELL, 0), Some(counts(1, 0)));
        },
        |world| {
            assert_eq!(world.read(1, 0), counts(1, 0));
            assert_eq!(world.record(1, BAD, 0), Some(counts(2, 1)));
        },
    );
}

#[test]
fn an_outcome_of_the_past_is_in_no_later_window_of_calls() {
    late(|| filled(BLOCK + 1, 0));
}

#[test]
fn nor_is_one_that_finds_the_block_full() {
    late(|| filled(BLOCK + 1, BLOCK));
}

fn noted_by(setup: fn() -> (World, [Lane; 2])) {
    race(
        Some(3),
        setup,
        |(world, lanes)| {
            world.note(lanes[0], 0);
            world.record(0, BAD, 0);
        },
        |(world, lanes)| {
            world.note(lanes[1], 0);
            world.see(1, world.record(0, BAD, 0));
        },
        |(world, _)| {
            let block = u64::from(BLOCK);
            let theirs = world.seen(1);
            assert!(theirs.failures >= block - 2 && theirs.calls >= block, "{theirs:?}");
            assert_eq!(world.read(0, 0), counts(block + 1, block - 1));
            assert_eq!(world.record(0, BAD, 0), Some(counts(block + 1, block - 1)), "and one leaves");
        },
    );
}

#[test]
fn what_is_noted_goes_in_once() {
    // What is put in fills the block, and the first leaves the window.
    noted_by(|| (filled(BLOCK + 1, BLOCK - 2), OWN));
}

#[test]
fn so_does_what_threads_note_that_share() {
    noted_by(|| (filled(BLOCK + 1, BLOCK - 2), [SHARED; 2]));
}

#[test]
fn two_that_leap_agree() {
    race(
        Some(3),
        || {
            let world = World::new(Shape::calls(4));
            (0..2 * BLOCK).for_each(|_| world.note(OWN[0], 0));
            world
        },
        |world| drop(world.record(0, BAD, 0)),
        |world| {
            world.note(OWN[1], 0);
            world.record(0, BAD, 0);
        },
        |world| {
            assert_eq!(world.read(0, 0), counts(4, 2));
            world.note(OWN[0], 0);
            assert_eq!(world.record(0, BAD, 0).map(|held| held.failures >= 2), Some(true));
        },
    );
}

/// One who judges a success by other settings may say that the window is calm. So a failure that was not in it by then is judged by
/// those settings, also if somebody else has put the success in.
fn judged_though_put_in_by_another(setup: fn() -> World) {
    race(
        Some(3),
        setup,
        |world| world.see(0, Some(world.judge(OWN[0]))),
        |world| {
            // Puts in what is noted.
            world.read(0, 0);
            let settings = u64::from(world.fail());
            world.see(1, Some(Counts { calls: settings, ..Counts::default() }));
        },
        |world| {
            let before = world.read(0, 0).failures - 1;
            let (held, settings) = (world.seen(0), world.seen(1).calls);
            assert!(held.failures > before || settings == 1, "{held:?}");
        },
    );
}

#[test]
fn who_was_put_in_by_another_is_judged_before_what_comes_after() {
    judged_though_put_in_by_another(|| filled(2 * BLOCK, 1));
}

#[test]
fn also_where_that_fills_the_block() {
    judged_though_put_in_by_another(|| filled(2 * BLOCK, BLOCK - 1));
}

/// S9
#[test]
fn what_is_noted_for_the_past_is_in_no_later_window() {
    race(
        Some(3),
        || {
            let world = filled(BLOCK + 1, 1);
            world.note(OWN[0], 0);
            world
        },
        |world| world.note(OWN[0], 0),
        |world| {
            world.begin(1);
            assert_eq!(world.record(1, BAD, 0), Some(counts(1, 1)));
        },
        |world| {
            assert_eq!(world.read(1, 0), counts(1, 1));
            world.note(OWN[0], 1);
            assert_eq!(world.read(1, 0), counts(2, 1));
        },
    );
}

#[test]
fn a_reader_sees_one_moment() {
    race(
        Some(3),
        || filled(BLOCK, BLOCK),
        |world| drop(world.record(0, WELL, 0)),
        |world| world.see(1, Some(world.read(0, 0))),
        |world| {
            let seen = world.seen(1);
            // The one that leaves was well, too.
            let all = u64::from(BLOCK);
            assert_eq!((seen.calls, seen.failures, seen.slow), (all, all - 1, all - 1));
        },
    );
}

/// S25, S28
#[test]
fn two_that_begin_a_part_are_both_in_it() {
    race(
        Some(2),
        || {
            let world = World::new(Shape::time(1, 1_000).numbered(1));
            world.record(0, BAD, 0);
            world
        },
        |world| world.see(0, world.record(0, BAD, 1_000)),
        |world| world.see(1, world.record(0, BAD, 1_500)),
        |world| {
            let (mine, theirs) = (world.seen(0), world.seen(1));
            let (one, both) = (counts(1, 1), counts(2, 2));
            assert!([one, both].contains(&mine) && [one, both].contains(&theirs), "{mine:?} {theirs:?}");
            assert!(mine == both || theirs == both);
            assert_eq!(world.read(0, 1_999), both);
        },
    );
}

/// S25
#[test]
fn a_reader_finds_the_start_of_its_window() {
    race(
        Some(3),
        || {
            // In the models the starts of eight parts are known.
            let world = World::new(Shape::time(4, 1_000).numbered(1));
            world.record(0, BAD, 1_000);
            world.record(0, WELL, 4_000);
            world
        },
        // Its start is where that of the first of the window is.
        |world| drop(world.record(0, WELL, 9_000)),
        |world| world.see(1, Some(world.read(0, 4_000))),
        |world| {
            let seen = world.seen(1);
            assert!([counts(2, 1), counts(1, 0), counts(0, 0)].contains(&seen), "{seen:?}");
            assert_eq!(world.read(0, 9_000), counts(1, 0));
        },
    );
}

/// S18
#[test]
fn of_two_outcomes_at_once_one_sees_both() {
    race(
        Some(3),
        || {
            let world = World::new(Shape::time(2, 1_000).numbered(1));
            world.record(0, WELL, 0);
            world
        },
        |world| world.see(0, world.record(0, WELL, 0)),
        |world| world.see(1, world.record(0, BAD, 0)),
        |world| {
            let both = counts(3, 1);
            assert!(world.seen(0) == both || world.seen(1) == both);
        },
    );
}

#[test]
fn an_outcome_of_the_past_is_in_no_later_window_of_time() {
    race(
        Some(3),
        || {
            let world = World::new(Shape::time(2, 1_000).numbered(1));
            world.record(0, BAD, 0);
            world
        },
        |world| drop(world.record(0, BAD, 0)),
        |world| {
            world.begin(1);
            assert_eq!(world.record(1, BAD, 0), Some(counts(1, 1)));
        },
        |world| assert_eq!(world.read(1, 0), counts(1, 1)),
    );
}
