//! Threads that claim chunks.

use crate::panics::keep;
use crate::shim::{AtomicBool, Mutex, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::{self, Builder};

pub(super) struct Crew {
    workers: usize,
}

impl Crew {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers }
    }

    /// Makes something of each chunk, and hands it over in the order of the chunks, when all are done.
    ///
    /// Only an iterator of `std` is called under the lock.
    pub(super) fn run<I, R>(
        &self,
        chunks: I,
        make: impl Fn(usize, I::Item) -> R + Sync,
        mut hand: impl FnMut(R),
    ) where
        I: ExactSizeIterator + Send,
        I::Item: Send,
        R: Send,
    {
        let count = chunks.len();
        let workers = self.workers.min(count);
        if workers <= 1 {
            chunks.enumerate().map(|(number, chunk)| make(number, chunk)).for_each(hand);
            return;
        }
        let chunks = Mutex::new(chunks.enumerate());
        let stop = AtomicBool::new(false);
        // What one worker makes until nothing is left, or somebody has panicked.
        let work = || {
            catch_unwind(AssertUnwindSafe(|| {
                let mut made = Vec::new();
                // Relaxed: it saves work, and nothing follows from it.
                while !stop.load(Ordering::Relaxed) {
                    let claimed = chunks.lock().next();
                    let Some((number, chunk)) = claimed else { break };
                    made.push((number, make(number, chunk)));
                }
                made
            }))
            .inspect_err(|_| stop.store(true, Ordering::Relaxed))
        };
        let made = thread::scope(|scope| {
            let start = |_| {
                // If the system gives no more threads, those that there are do it.
                Builder::new().name("cofferdam-parallel".into()).spawn_scoped(scope, work).ok()
            };
            let others: Vec<_> = (1..workers).map_while(start).collect();
            let mut made = vec![work()];
            made.extend(others.into_iter().map(|other| other.join().and_then(|made| made)));
            made
        });
        let mut in_order: Vec<Option<R>> = (0..count).map(|_| None).collect();
        let mut panic = None;
        for made in made {
            match made {
                Ok(made) => {
                    for (number, result) in made {
                        if let Some(place) = in_order.get_mut(number) {
                            *place = Some(result);
                        }
                    }
                }
                Err(payload) => keep(&mut panic, payload),
            }
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        in_order.into_iter().flatten().for_each(&mut hand);
    }
}
