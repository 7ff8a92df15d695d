//! Who is timed at what.

use crate::peers::{
    AsyncChannel, AsyncChannelOfBatches, Crossfire, CrossfireOfBatches, Flume, FlumeOfBatches, Kanal,
    KanalOfBatches, ours, smol, tokio_spawn,
};
use crate::timing::{SIDES, Side, Work};
use crate::{floor, threads, timing};
use cofferdam_benches::Runtime;
use std::time::Duration;

/// One of those that are timed: the time of so many tasks.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) time: Box<dyn Fn(u64) -> Duration>,
}

/// What is timed side by side. The contenders are started when it is their turn.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) contenders: fn(Side) -> Vec<Contender>,
    pub(crate) side: Side,
}

fn contender(name: &'static str, time: impl Fn(u64) -> Duration + 'static) -> Contender {
    Contender { name, time: Box::new(time) }
}

/// Contenders that need a runtime: name, runtime, and how they are started on it.
macro_rules! on_runtimes {
    ($side:ident: $floor:expr, |$running:ident, $tasks:ident, $pool:ident| $time:expr;
     $($name:literal, $runtime:ident, $start:expr;)*) => {
        vec![
            contender("floor", move |tasks| $floor(tasks)),
            $({
                let running = Runtime::$runtime.start();
                let pool = $start(&running);
                contender($name, move |$tasks| {
                    let ($running, $pool) = (&running, &pool);
                    $time
                })
            }),*
        ]
    };
}

fn detached_by(side: Side, work: Work) -> Vec<Contender> {
    on_runtimes! {
        side: move |tasks| floor::single(side, tasks, work, false),
        |running, tasks, pool| timing::detached(running, side, tasks, work, pool);
        "cofferdam", TokioMulti, ours;
        "cofferdam-async-executor", AsyncExecutor, ours;
        "tokio-spawn-semaphore", TokioMulti, tokio_spawn;
        "async-executor-semaphore", AsyncExecutor, smol;
        "async-channel", TokioMulti, AsyncChannel::start;
        "flume", TokioMulti, Flume::start;
        "kanal", TokioMulti, Kanal::start;
        "crossfire", TokioMulti, Crossfire::start;
    }
}

fn joined_by(side: Side, work: Work) -> Vec<Contender> {
    on_runtimes! {
        side: move |tasks| floor::single(side, tasks, work, true),
        |running, tasks, pool| timing::joined(running, side, tasks, work, pool);
        "cofferdam", TokioMulti, ours;
        "cofferdam-async-executor", AsyncExecutor, ours;
        "tokio-spawn", TokioMulti, tokio_spawn;
        "async-executor", AsyncExecutor, smol;
        "async-channel-oneshot", TokioMulti, AsyncChannel::start;
        "flume-oneshot", TokioMulti, Flume::start;
        "kanal-oneshot", TokioMulti, Kanal::start;
        "crossfire-oneshot", TokioMulti, Crossfire::start;
    }
}

fn detached_in_batches(side: Side) -> Vec<Contender> {
    on_runtimes! {
        side: move |tasks| floor::batches(side, tasks, false),
        |running, tasks, pool| timing::detached_batches(running, side, tasks, pool);
        "cofferdam", TokioMulti, ours;
        "cofferdam-async-executor", AsyncExecutor, ours;
        "tokio-spawn-semaphore", TokioMulti, tokio_spawn;
        "async-channel", TokioMulti, AsyncChannelOfBatches::start;
        "flume", TokioMulti, FlumeOfBatches::start;
        "kanal", TokioMulti, KanalOfBatches::start;
        "crossfire", TokioMulti, CrossfireOfBatches::start;
    }
}

fn joined_in_batches(side: Side) -> Vec<Contender> {
    on_runtimes! {
        side: move |tasks| floor::batches(side, tasks, true),
        |running, tasks, pool| timing::joined_batches(running, side, tasks, pool);
        "cofferdam", TokioMulti, ours;
        "cofferdam-async-executor", AsyncExecutor, ours;
        "tokio-spawn", TokioMulti, tokio_spawn;
        "async-channel-oneshot", TokioMulti, AsyncChannelOfBatches::start;
        "flume-oneshot", TokioMulti, FlumeOfBatches::start;
        "kanal-oneshot", TokioMulti, KanalOfBatches::start;
        "crossfire-oneshot", TokioMulti, CrossfireOfBatches::start;
    }
}

/// Contenders that are threads: name, and how they are started.
macro_rules! on_threads {
    ($side:ident, $time:ident, $results:literal; $($name:literal, $start:expr;)*) => {
        vec![
            contender("floor", move |tasks| floor::single($side, tasks, Work::Tiny, $results)),
            $({
                let pool = $start();
                contender($name, move |tasks| threads::$time($side, tasks, &pool))
            }),*
        ]
    };
}

fn detached_on_threads(side: Side) -> Vec<Contender> {
    on_threads! {
        side, detached, false;
        "cofferdam", threads::Ours::start;
        "crossbeam", threads::Crossbeam::start;
        "rayon", threads::Rayon::start;
        "threadpool", threads::Threadpool::start;
    }
}

fn joined_on_threads(side: Side) -> Vec<Contender> {
    on_threads! {
        side, joined, true;
        "cofferdam", threads::Ours::start;
        "crossbeam", threads::Crossbeam::start;
        "rayon", threads::Rayon::start;
        "threadpool", threads::Threadpool::start;
    }
}

type Contenders = fn(Side) -> Vec<Contender>;

/// What is timed, and whether with tasks of the runtime as producers, too.
const WORKLOADS: [(&str, Contenders, bool); 10] = [
    ("detached", |side| detached_by(side, Work::Tiny), true),
    ("joined", |side| joined_by(side, Work::Tiny), true),
    ("detached-yield", |side| detached_by(side, Work::Yielding), true),
    ("joined-yield", |side| joined_by(side, Work::Yielding), true),
    ("detached-10us", |side| detached_by(side, Work::Busy), true),
    ("joined-10us", |side| joined_by(side, Work::Busy), true),
    ("detached-by-64", detached_in_batches, true),
    ("joined-by-64", joined_in_batches, true),
    ("threads-detached", detached_on_threads, false),
    ("threads-joined", joined_on_threads, false),
];

pub(crate) fn lines() -> impl Iterator<Item = Line> {
    WORKLOADS.into_iter().flat_map(|(workload, contenders, inside)| {
        let sides = SIDES.into_iter().filter(move |(_, side)| inside || side.external);
        sides.map(move |(name, side)| Line { name: format!("pool/{workload}/{name}"), contenders, side })
    })
}
