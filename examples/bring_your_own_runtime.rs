//! A runtime made by hand (a queue of tasks, a map of timers, one thread), and this crate at home on it. All that the
//! crate asks for is a way to spawn (any closure) and the small trait `Timer`.
//!
//! Run: `cargo run --example bring_your_own_runtime`. Expected output:
//! ```text
//! six jobs are done, two at a time
//! the seventh gave up: the time limit has passed
//! ```

use cofferdam::sync::Semaphore;
use cofferdam::task::{BoxTask, Spawn};
use cofferdam::time::{Clock, Sleep, Timer};
use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

type Queue = Arc<Mutex<VecDeque<Arc<Task>>>>;

struct Task {
    future: Mutex<Option<BoxTask>>,
    queue: Queue,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let queue = Arc::clone(&self.queue);
        queue.lock().unwrap().push_back(self);
    }
}

#[derive(Clone, Default)]
struct Timers {
    armed: Arc<Mutex<BTreeMap<(Instant, u64), Waker>>>,
    count: Arc<AtomicU64>,
}

impl Timer for Timers {
    fn now(&self) -> Instant {
        Clock::system().now()
    }

    /// A sleep that is dropped early leaves its entry until it is due: simple, and allowed.
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let (armed, key) = (Arc::clone(&self.armed), (deadline, self.count.fetch_add(1, Ordering::Relaxed)));
        Sleep::new(poll_fn(move |cx| {
            if Clock::system().now() >= deadline {
                return Poll::Ready(());
            }
            // Dropped after the lock: the last waker of a task drops the task.
            let _replaced = armed.lock().unwrap().insert(key, cx.waker().clone());
            Poll::Pending
        }))
    }
}

/// Runs until nothing can run and no timer is armed.
fn run(queue: &Queue, timers: &Timers) {
    loop {
        let next = queue.lock().unwrap().pop_front();
        if let Some(task) = next {
            let waker = Waker::from(Arc::clone(&task));
            let mut future = task.future.lock().unwrap();
            // A task may have been woken twice before it was polled, and be done by now.
            if future.as_mut().is_some_and(|f| f.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()) {
                *future = None;
            }
            continue;
        }
        let Some(((due, _), waker)) = timers.armed.lock().unwrap().pop_first() else { return };
        // If this returns early the sleep arms itself again.
        std::thread::park_timeout(due.saturating_duration_since(timers.now()));
        waker.wake();
    }
}

fn main() {
    let (queue, timers) = (Queue::default(), Timers::default());
    let spawner = |task: BoxTask| {
        Arc::new(Task { future: Mutex::new(Some(task)), queue: Arc::clone(&queue) }).wake();
    };
    let clock = Clock::new(timers.clone());
    let (semaphore, busiest) = (Arc::new(Semaphore::new(2)), Arc::new(AtomicU32::new(0)));
    for _ in 0..6 {
        let (semaphore, clock, busiest) = (semaphore.clone(), clock.clone(), busiest.clone());
        spawner.spawn(Box::pin(async move {
            let _permit = semaphore.acquire().await.unwrap();
            busiest.fetch_max(2 - semaphore.available(), Ordering::Relaxed);
            clock.sleep(Duration::from_millis(1)).await;
        }));
    }
    run(&queue, &timers);
    assert_eq!((semaphore.available(), busiest.load(Ordering::Relaxed)), (2, 2));
    println!("six jobs are done, two at a time");
    spawner.spawn(Box::pin(async move {
        let error = clock.timeout(Duration::from_millis(1), pending::<()>()).await.unwrap_err();
        println!("the seventh gave up: {error}");
    }));
    run(&queue, &timers);
}
