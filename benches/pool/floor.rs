//! The least that could do the job: a channel of plain numbers between threads, and slots for results that the producer
//! looks at.

use crate::timing::{BATCH, LIMIT, Side, Work, compute, of};
use cofferdam_benches::now;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Numbers one by one. A task that gives way costs nothing more.
pub(crate) fn single(side: Side, tasks: u64, work: Work, results: bool) -> Duration {
    floor::<1>(side, tasks, results, || {
        if let Work::Busy = work {
            compute();
        }
    })
}

/// Numbers by the [`BATCH`].
pub(crate) fn batches(side: Side, tasks: u64, results: bool) -> Duration {
    floor::<BATCH>(side, tasks, results, || {})
}

/// With `results`, each number is handed back in a slot that the producer looks at.
fn floor<const N: usize>(side: Side, tasks: u64, results: bool, work: impl Fn() + Sync) -> Duration {
    let (share, window) = (side.share(tasks, N), side.window() as u64);
    let (tx, rx) = crossbeam_channel::bounded::<[u64; N]>(LIMIT / N);
    let (left, end) = (AtomicU64::new(share * side.producers), mpsc::channel());
    let slots: Vec<AtomicU64> = (0..LIMIT).map(|_| AtomicU64::new(0)).collect();
    let (left, slots, ended, work) = (&left, &slots, &end.0, &work);
    let taken = std::thread::scope(|scope| {
        for _ in 0..2 {
            let (rx, ended) = (rx.clone(), ended.clone());
            scope.spawn(move || {
                while let Ok(numbers) = rx.recv() {
                    for number in numbers {
                        work();
                        if results {
                            slots[number as usize % LIMIT].store(number, Ordering::Release);
                        }
                        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                            let _ = ended.send(());
                        }
                    }
                }
            });
        }
        let start = now();
        for producer in 0..side.producers {
            let tx = tx.clone();
            scope.spawn(move || {
                // Numbers above 0 that are the slot's own, modulo the number of slots.
                let slot = |task: u64| producer * window + task % window;
                let number = |task: u64| slot(task) + (task / window + 1) * LIMIT as u64;
                for first in (0..share).step_by(N) {
                    for task in first..first + N as u64 {
                        if results && task >= window {
                            while slots[slot(task) as usize].load(Ordering::Acquire) != number(task - window)
                            {
                                std::thread::yield_now();
                            }
                        }
                    }
                    tx.send(std::array::from_fn(|nth| number(first + nth as u64))).expect("open");
                }
            });
        }
        drop(tx);
        end.1.recv().expect("an end");
        start.elapsed()
    });
    of(taken, tasks, share * side.producers)
}
