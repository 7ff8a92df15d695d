//! Groups of spawned members, and fan-outs by spawned workers.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a group that waits is woken by the member that ends meanwhile | 2 | 3 | `poll_next` registers its waker after it has looked |
//! | a group without room is woken by the member that makes it | 2 | 3 | the same of `poll_room` |
//! | a member that its executor drops while it is being handed over has one outcome | 2 | 3 | `accept` forgets that it was withdrawn |
//! | a group that is dropped ends a member that has not begun, or is at work | 2 | 3 | its context is not cancelled |
//! | each item has one outcome, and the consumer is woken for it and for the end | 2 | 2 | the consumer registers after it has looked, or does not look again; an outcome that is wanted wakes nobody; nor does the last worker |
//! | two workers share a source, and its outcomes keep their order | 3 | 1 | no turns at the source |
//!
//! A wake-up that is lost shows as a deadlock.

use cofferdam_loom::group::{TaskGroup, par_map};
use cofferdam_loom::task::{BoxTask, Spawn};
use loom::future::block_on;
use loom::thread::{self, JoinHandle};
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// A thread for each task. No checker needs to see the list: it is filled and emptied by one thread.
#[derive(Clone, Default)]
struct Threads(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Threads {
    fn run(&self, task: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().push(thread::spawn(task));
    }

    fn join(self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        all.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

impl Spawn for Threads {
    fn spawn(&self, task: BoxTask) {
        self.run(move || block_on(task));
    }
}

#[test]
fn a_group_that_waits_is_woken_by_the_end_of_a_member() {
    bounded(3, || {
        let threads = Threads::default();
        let mut group = TaskGroup::new(threads.clone());
        assert_eq!(group.try_spawn(ready(7)).unwrap(), 0);
        let (index, outcome) = block_on(group.next()).unwrap();
        assert_eq!((index, outcome.unwrap()), (0, 7));
        assert!(block_on(group.next()).is_none());
        threads.join();
    });
}

#[test]
fn a_group_without_room_is_woken_by_the_end_of_a_member() {
    bounded(3, || {
        let threads = Threads::default();
        let mut group = TaskGroup::new(threads.clone()).width(1).discard_outcomes();
        group.try_spawn(ready(())).unwrap();
        assert_eq!(block_on(group.spawn(ready(()))).unwrap(), 1);
        threads.join();
        let stats = group.stats();
        assert_eq!((stats.spawned, stats.completed, stats.running), (2, 2, 0));
    });
}

#[test]
fn a_member_dropped_while_it_is_handed_over_has_one_outcome() {
    bounded(3, || {
        let threads = Threads::default();
        let spawner = threads.clone();
        let mut group = TaskGroup::<()>::new(move |task: BoxTask| spawner.run(move || drop(task)));
        group.try_spawn(pending()).unwrap();
        let (index, outcome) = block_on(group.next()).unwrap();
        assert!(index == 0 && outcome.is_err());
        assert!(block_on(group.next()).is_none());
        threads.join();
        let stats = group.stats();
        assert_eq!((stats.spawned, stats.dropped, stats.running, stats.unread), (1, 1, 0, 0));
    });
}

#[test]
fn dropping_a_group_ends_its_members() {
    bounded(3, || {
        let threads = Threads::default();
        let mut group = TaskGroup::<()>::new(threads.clone());
        group.try_spawn(pending()).unwrap();
        drop(group);
        // The member waits for ever, unless it is told.
        threads.join();
    });
}

#[test]
fn each_item_has_one_outcome() {
    bounded(2, || {
        let threads = Threads::default();
        let mut outcomes = par_map([1, 2], ready).width(1).ahead(0).on(threads.clone()).unordered();
        let mut all: Vec<_> = std::iter::from_fn(|| block_on(outcomes.next())).collect();
        all.sort_by_key(|(index, _)| *index);
        let values: Vec<_> = all.into_iter().map(|(_, value)| value.unwrap()).collect();
        assert_eq!(values, [1, 2]);
        assert_eq!(outcomes.progress().done, 2);
        threads.join();
    });
}

#[test]
fn workers_share_the_source_and_the_window() {
    bounded(1, || {
        let threads = Threads::default();
        let mut outcomes = par_map([1, 2], ready).width(2).on(threads.clone()).ordered();
        threads.join();
        for wanted in [1, 2] {
            assert_eq!(block_on(outcomes.next()).unwrap().unwrap(), wanted);
        }
        assert!(block_on(outcomes.next()).is_none());
    });
}
