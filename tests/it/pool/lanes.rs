//! The managed queue: classes and ageing, delays, expiry, named queues, limits of single tasks.

use super::*;
use cofferdam::pool::{NamedQueue, PoolTask, Priority};

type Log = Arc<Mutex<Vec<&'static str>>>;

fn managed() -> PoolBuilder {
    WorkerPool::builder().workers(1).queue(100).managed()
}

fn note(log: &Log, name: &'static str) -> impl Future<Output = ()> + Send + 'static + use<> {
    let log = Arc::clone(log);
    async move { log.lock().unwrap().push(name) }
}

fn noted(log: &Log) -> Vec<&'static str> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn task<'a>(
    pool: &'a WorkerPool,
    log: &Log,
    name: &'static str,
) -> PoolTask<'a, impl Future<Output = ()> + Send + 'static + use<>> {
    pool.task(note(log, name))
}

// WP14
#[test]
fn higher_classes_come_first_and_within_a_class_who_came_first() {
    let (pool, mut workers) = driven(managed());
    let log = Log::default();
    for (name, priority) in [
        ("n1", Priority::Normal),
        ("l1", Priority::Low),
        ("c1", Priority::Critical),
        ("h1", Priority::High),
        ("n2", Priority::Normal),
        ("c2", Priority::Critical),
        ("h2", Priority::High),
        ("l2", Priority::Low),
    ] {
        task(&pool, &log, name).priority(priority).try_execute().unwrap();
    }
    pool.try_execute(note(&log, "n3")).unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["c1", "c2", "h1", "h2", "n1", "n2", "n3", "l1", "l2"]);
}

// WP18
#[test]
fn a_delayed_task_is_run_at_its_time_and_costs_nothing_before() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()));
    let log = Log::default();
    assert_eq!(time.armed(), 0);
    settle(&mut workers);
    task(&pool, &log, "later").delay(2 * SECOND).try_execute().unwrap();
    task(&pool, &log, "sooner").at(time.clock().now() + SECOND).try_execute().unwrap();
    task(&pool, &log, "now").try_execute().unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["now"]);
    assert_eq!((pool.stats().queued, pool.stats().delayed, time.armed()), (2, 2, 1));
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!((noted(&log), time.armed()), (vec!["sooner"], 1));
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!((noted(&log), time.armed()), (vec!["later"], 0));
}
