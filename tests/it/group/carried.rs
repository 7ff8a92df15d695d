//! OB9: what is current where work is given to an executor goes along with it.

use crate::support::{HERE, at, carrier};
use cofferdam::group::{TaskGroup, par_map};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::Timeout;
use cofferdam::task::{BoxTask, Carried, Carrier, Carrying, Errand, Spawn};
use cofferdam::testkit::{Polled, Sim, yield_now};
use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn members_of_a_group_run_amid_what_was_current_where_they_were_spawned() {
    Sim::for_seeds(0..20, |sim| {
        let mut group = TaskGroup::new(Carrying::new(sim.clone(), carrier()));
        let (pool, workers) =
            WorkerPool::builder().workers(2).queue(8).carry(carrier()).build().expect("a pool");
        workers.spawn_on(sim);
        let mut pooled = TaskGroup::on_pool(&pool);
        let member = || async {
            yield_now().await;
            HERE.get()
        };
        for place in 1..=3 {
            at(place, || group.try_spawn(member()).expect("open"));
            at(place, || pooled.try_spawn(member()).expect("open"));
        }
        let spawner = sim.clone();
        sim.run(async move {
            for mut group in [group, pooled] {
                let seen = group.join_all().await.into_iter().map(|ended| ended.expect("no panic"));
                assert_eq!(seen.collect::<Vec<_>>(), [1, 2, 3]);
            }
            let spread = || par_map(0..4, |_| async { HERE.get() });
            let (spawner, pool) = (Carrying::new(spawner, carrier()), pool);
            let spawned = at(4, || spread().on(spawner).width(2).ordered());
            let pooled = at(4, || spread().on_pool(&pool).width(2).ordered());
            for mut spread in [spawned, pooled] {
                while let Some(place) = spread.next().await {
                    assert_eq!(place.expect("no panic"), 4);
                }
            }
        });
        assert_eq!(HERE.get(), 0);
    });
}

/// Notes what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, line: String) {
        self.0.lock().expect("not poisoned").push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("not poisoned"))
    }
}

impl Carrier for Notes {
    fn pick_up(&self) -> Option<Box<dyn Carried>> {
        (HERE.get() > 0).then(|| Box::new(Noted(self.clone(), HERE.get())) as _)
    }
}

struct Noted(Notes, u32);

impl Carried for Noted {
    fn begin(&mut self, errand: &Errand<'_>) {
        self.0.note(format!("begin {} {} {:?} {}", errand.kind, errand.name, errand.number, errand.attempts));
    }

    fn around(&self, poll: &mut dyn FnMut()) {
        at(self.1, poll);
    }

    fn end(self: Box<Self>, errand: &Errand<'_>, outcome: &'static str) {
        self.0.note(format!("{outcome} {}", errand.attempts));
    }
}

/// An executor that keeps what it is given.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<BoxTask>>>);

impl Spawn for Kept {
    fn spawn(&self, task: BoxTask) {
        self.0.lock().expect("not poisoned").push(task);
    }
}

impl Kept {
    fn one(&self) -> Polled<BoxTask> {
        Polled::new(self.0.lock().expect("not poisoned").pop().expect("one"))
    }
}

struct Last(Notes);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.note(format!("gone at {}", HERE.get()));
    }
}

#[test]
fn a_spawned_task_ends_in_a_word_after_it_was_dropped_amid_what_it_carries() {
    let (kept, notes) = (Kept::default(), Notes::default());
    let spawner = Carrying::new(kept.clone(), notes.clone()).name("mill");
    let task = |ends: bool, panics: bool| {
        let last = Last(notes.clone());
        at(1, || {
            spawner.spawn(Box::pin(async move {
                let _last = last;
                yield_now().await;
                if panics {
                    resume_unwind(Box::new("oh"));
                }
                if !ends {
                    pending::<()>().await;
                }
            }));
        });
        kept.one()
    };
    let mut completes = task(true, false);
    assert!(completes.poll().is_none());
    assert_eq!(notes.take(), ["begin task mill None 1"]);
    assert!(completes.poll().is_some());
    assert_eq!(notes.take(), ["gone at 1", "completed 1"]);
    assert!(completes.poll().is_some());
    drop(completes);
    let mut panics = task(true, true);
    assert!(panics.poll().is_none());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics.poll()));
    assert_eq!(panic.expect_err("its own").downcast_ref::<&str>(), Some(&"oh"));
    assert_eq!(notes.take()[1..], ["gone at 1", "panicked 1"]);
    drop(panics);
    let mut dropped = task(false, false);
    assert!(dropped.poll().is_none());
    drop(dropped);
    assert_eq!(notes.take()[1..], ["gone at 1", "dropped 1"]);
    drop(task(true, false));
    assert_eq!(notes.take(), ["gone at 1", "dropped 0"]);
    // Nothing to carry: the task as it is.
    spawner.spawn(Box::pin(async {}));
    assert!(kept.one().poll().is_some());
    assert_eq!(notes.take().len(), 0);
}

#[test]
fn what_goes_on_after_its_time_goes_on_amid_what_was_current() {
    let sim = Sim::new(7);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let timeout = Timeout::builder(Duration::from_secs(1)).clock(sim.clock()).build();
    let spawner = Carrying::new(sim.clone(), carrier());
    let timeout = timeout.detach(Arc::new(spawner), 1).expect("a timeout");
    let (clock, note) = (sim.clock(), Arc::clone(&seen));
    sim.run(async move {
        let mut call = Box::pin(timeout.call(move || {
            let (clock, note) = (clock.clone(), Arc::clone(&note));
            async move {
                clock.sleep(Duration::from_secs(2)).await;
                note.lock().expect("not poisoned").push(HERE.get());
                Ok::<_, ()>(())
            }
        }));
        let polled = std::future::poll_fn(|cx| at(5, || call.as_mut().poll(cx))).await;
        assert!(polled.is_err());
    });
    sim.advance(Duration::from_secs(2));
    assert_eq!(*seen.lock().expect("not poisoned"), [5]);
}
