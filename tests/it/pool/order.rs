//! The order of a managed pool against a plain reference: classes, ageing, widths, delays, expiry.

use super::*;
use cofferdam::pool::{JoinHandle, NamedQueue, Priority};
use proptest::collection::vec;
use proptest::prelude::*;

const AGEING: Duration = Duration::from_secs(5);
const CLASSES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
/// Of the pool's own queue and of two named ones.
const WIDTHS: [usize; 3] = [usize::MAX, 1, 2];

#[derive(Clone, Debug)]
enum Step {
    /// Class, queue, delay and expiry in seconds.
    Push(usize, usize, u64, Option<u64>),
    Advance(u64),
    /// Which of those that run is to end.
    End(usize),
    /// The workers look.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4usize, 0..3usize, prop_oneof![3 => Just(0), 2 => 0..8u64], proptest::option::weighted(0.3, 0..12u64))
            .prop_map(|(class, queue, delay, expiry)| Step::Push(class, queue, delay, expiry)),
        2 => (1..7u64).prop_map(Step::Advance),
        3 => (0..4usize).prop_map(Step::End),
        3 => Just(Step::Settle),
    ]
}

/// A task as the reference has it, with a plain list for everything.
#[derive(Clone, Debug)]
struct Waits {
    id: usize,
    class: usize,
    queue: usize,
    since: u64,
    expires: Option<u64>,
}

#[derive(Default)]
struct Reference {
    now: u64,
    waits: Vec<Waits>,
    runs: Vec<Waits>,
    begun: Vec<usize>,
    expired: Vec<usize>,
}

impl Reference {
    fn settle(&mut self, workers: usize) {
        while self.runs.len() < workers {
            let may = |task: &&Waits| {
                let width = self.runs.iter().filter(|other| other.queue == task.queue).count();
                task.since <= self.now && width < WIDTHS[task.queue]
            };
            let rank = |task: &&Waits| {
                (task.since + AGEING.as_secs() * (3 - task.class as u64), 3 - task.class, task.id)
            };
            let Some(id) = self.waits.iter().filter(may).min_by_key(rank).map(|task| task.id) else { return };
            let at = self.waits.iter().position(|task| task.id == id).unwrap();
            let task = self.waits.remove(at);
            if task.expires.is_some_and(|expires| expires <= self.now) {
                self.expired.push(id);
            } else {
                self.begun.push(id);
                self.runs.push(task);
            }
        }
    }
}

fn compare(workers: usize, steps: Vec<Step>) {
    let time = ManualClock::new();
    let (pool, mut driver) = driven(
        WorkerPool::builder()
            .workers(workers)
            .unbounded()
            .clock(time.clock())
            .ageing(AGEING)
            .named_queue(NamedQueue::new("one").width(WIDTHS[1]))
            .named_queue(NamedQueue::new("two").width(WIDTHS[2])),
    );
    let mut reference = Reference::default();
    let begun = Arc::new(Mutex::new(Vec::new()));
    let mut tasks: Vec<(JoinHandle<()>, Arc<Gate>)> = Vec::new();
    for step in steps.into_iter().chain([Step::Settle]) {
        match step {
            Step::Push(class, queue, delay, expiry) => {
                let (id, gate) = (tasks.len(), Arc::new(Gate::new(false)));
                let (log, open) = (begun.clone(), gate.clone());
                let mut task = pool.task(async move {
                    log.lock().unwrap().push(id);
                    open.wait().await;
                });
                task = task.priority(CLASSES[class]).delay(SECOND * delay as u32);
                if let Some(queue) = ["one", "two"].get(queue.wrapping_sub(1)) {
                    task = task.queue(queue);
                }
                if let Some(expiry) = expiry {
                    task = task.expires_in(SECOND * expiry as u32);
                }
                match task.try_submit() {
                    Ok(handle) => {
                        tasks.push((handle, gate));
                        let expires = expiry.map(|expiry| reference.now + expiry);
                        let since = reference.now + delay;
                        reference.waits.push(Waits { id, class, queue, since, expires });
                    }
                    Err(error) => {
                        assert!(error.is_expired());
                        assert!(expiry.is_some_and(|expiry| expiry <= delay), "{expiry:?} {delay}");
                    }
                }
            }
            Step::Advance(seconds) => {
                time.advance(SECOND * seconds as u32);
                reference.now += seconds;
            }
            Step::End(which) => {
                // First what is idle: whoever frees a queue's width is polled in no particular order with others.
                settle(&mut driver);
                reference.settle(workers);
                if which < reference.runs.len() {
                    tasks[reference.runs.remove(which).id].1.open();
                }
                settle(&mut driver);
                reference.settle(workers);
            }
            Step::Settle => {
                settle(&mut driver);
                reference.settle(workers);
            }
        }
        assert_eq!(*begun.lock().unwrap(), reference.begun);
        let stats = balanced(pool.stats());
        let ended = reference.begun.len() - reference.runs.len();
        assert_eq!((stats.expired, stats.completed), (reference.expired.len() as u64, ended as u64));
        assert_eq!(
            (stats.queued, stats.running),
            (reference.waits.len() as u64, reference.runs.len() as u64)
        );
    }
    for id in reference.expired {
        assert!(futures_executor::block_on(&mut tasks[id].0).unwrap_err().is_expired());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    // WP14, WP15, WP18
    #[test]
    fn tasks_are_begun_in_the_order_of_the_reference(workers in 1..4usize, steps in vec(step(), 0..80)) {
        compare(workers, steps);
    }
}
