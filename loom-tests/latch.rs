//! The latch: a lock that is held briefly by one read-modify-write, or for long with a mutex for the others to sleep on.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | two who hold it briefly do so one after the other, and each sees what the one before did | 2 | none | `Turn` that stores `FREE` relaxed; `turn` with a relaxed success |
//! | as do one who holds it briefly and one who holds it for long | 2 | none | `long` that does not wait for its turn at the word |
//! | as do two who hold it for long, and one whom both keep waiting | 3 | 2 | `long` without the mutex, `LONG` taken over from another |

use crate::wait::Latch;
use loom::thread;
use std::sync::Arc;

fn add(latch: &Latch<u32>, long: bool) {
    // Two accesses, so that one between them would be seen.
    if long {
        latch.long(|value| {
            let before = *value;
            *value = before + 1;
        });
    } else {
        let mut value = latch.brief();
        let before = *value;
        *value = before + 1;
    }
}

fn check(bound: Option<usize>, theirs: &'static [bool], mine: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(move || {
        let latch = Arc::new(Latch::new(0));
        let threads = theirs.iter().map(|long| {
            let latch = Arc::clone(&latch);
            thread::spawn(move || add(&latch, *long))
        });
        let threads: Vec<_> = threads.collect();
        add(&latch, mine);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*latch.brief(), 1 + theirs.len() as u32);
    });
}

#[test]
fn two_brief_ones_take_turns() {
    check(None, &[false], false);
}

#[test]
fn a_brief_one_and_a_long_one_take_turns() {
    check(None, &[true], false);
    check(None, &[false], true);
}

#[test]
fn two_long_ones_and_a_brief_one_take_turns() {
    check(Some(2), &[true, true], false);
}
