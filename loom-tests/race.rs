//! Two threads over one world: what models in other files are made of. None is here, hence no table.

use loom::thread;
use std::sync::Arc;

/// A model with so many preemptions at most.
pub(crate) fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    // One that goes round a ring takes more steps than the usual thousand.
    builder.max_branches = 3_000;
    builder.check(model);
}

/// Runs `here` and `there` on two threads over what `setup` makes, then `check`: once with either of them first.
///
/// Both, since loom remembers only the last access to each atomic: where one thread reads a word, and another then reads
/// and changes it, the second one's own reading hides the first one's, and loom does not try them the other way round.
pub(crate) fn race<S: Send + Sync + 'static>(
    bound: Option<usize>,
    setup: fn() -> S,
    here: fn(&S),
    there: fn(&S),
    check: fn(&S),
) {
    for (here, there) in [(here, there), (there, here)] {
        bounded(bound, move || {
            let world = Arc::new(setup());
            let theirs = Arc::clone(&world);
            let other = thread::spawn(move || there(&theirs));
            here(&world);
            other.join().unwrap();
            check(&world);
        });
    }
}
