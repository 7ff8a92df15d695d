//! What it costs to be looked at: each component by nobody, with metrics, with `tracing`, side by side.

mod contenders;

use contenders::{contenders, subscribe};
use criterion::{Criterion, criterion_group, criterion_main};

fn looked_at(criterion: &mut Criterion) {
    subscribe();
    for mut contender in contenders() {
        let mut group = criterion.benchmark_group(format!("telemetry/{}", contender.component));
        group.bench_function(contender.by, |bencher| bencher.iter(&mut contender.path));
        group.finish();
    }
}

criterion_group!(benches, looked_at);
criterion_main!(benches);
