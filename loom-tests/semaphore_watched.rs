//! A semaphore that is watched for a while: the bit that bars the way in passing.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | with the last who looks the way is open again, and nobody who is in line is lost for it | 3 | 3 | `unbar` that loads and stores |

use cofferdam_loom::sync::{Semaphore, SemaphoreEvent};
use loom::future::block_on;
use loom::thread;
use std::sync::Arc;

fn bounded(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_waiter_is_served_though_the_last_who_looks_goes() {
    bounded(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.try_acquire().unwrap();
        let attached = semaphore.observe_for_a_while(|_: &SemaphoreEvent| ());
        let waiter = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        let leaver = thread::spawn(move || drop(attached));
        drop(held);
        waiter.join().unwrap();
        leaver.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}
