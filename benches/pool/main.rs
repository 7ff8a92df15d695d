//! Worker pools: two workers, at most 1,024 tasks queued or in flight.
//!
//! Tasks are tiny (one shared `fetch_sub` each), or give way once before that ("yield"), or compute ("10us"). Nobody waits
//! for them ("detached"), or their producers do ("joined"); they are handed in one by one, or 64 at a time. "ext": producers
//! are OS threads; "int": they are tasks on the runtime of the workers; "p1", "p4": how many. "threads": pools that need no
//! runtime, of blocking producers; `rayon` and `threadpool` are without a bound. Times are per task, from the first submission
//! to the end of the last task. The floor is a channel of plain numbers between threads (and spinning result slots, where
//! results are awaited).
//!
//! `pool/latency` is printed, not timed by criterion: the time from the submission to the start of a task when the workers
//! are idle, one task per millisecond ("1k") or per tenth of that ("10k").

mod floor;
mod latency;
mod lines;
mod peers;
mod threads;
mod timing;

use criterion::{Criterion, criterion_group, criterion_main};

fn side_by_side(c: &mut Criterion) {
    for line in lines::lines() {
        let mut group = c.benchmark_group(&line.name);
        for contender in (line.contenders)(line.side) {
            group.bench_function(contender.name, |b| b.iter_custom(&contender.time));
        }
    }
}

fn latencies(_: &mut Criterion) {
    // The whole measurement, or a taste of it: criterion's own arguments do not reach this.
    let whole = std::env::args().any(|argument| argument == "--bench");
    for pace in latency::PACES {
        let pace = if whole { pace } else { latency::Pace { tasks: 10, ..pace } };
        for (peer, all) in latency::latencies(pace) {
            let (middle, late) = latency::quantiles(&all);
            println!("pool/latency/{}/{peer}: p50 {middle:.1} us, p99 {late:.1} us", pace.name);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = side_by_side, latencies
}
criterion_main!(benches);
