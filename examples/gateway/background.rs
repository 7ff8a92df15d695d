//! Work beside the requests: a worker pool adds up the access log, so that no request waits for a histogram.
//!
//! A request gives its record away and does not look back. When the pool's queue is full the record is dropped and counted:
//! a gateway under a storm must not become its own log's victim.

use crate::runtime::{Runtime, spawner};
use crate::tally::{Record, Summary, Tally};
use cofferdam::ConfigError;
use cofferdam::health::Check;
use cofferdam::pool::{PoolStats, WorkerPool};
use cofferdam::telemetry::inspect::Inspector;
use cofferdam::telemetry::{Telemetry, WatchError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WORKERS: usize = 2;
const QUEUE: usize = 4096;

pub(crate) struct Background {
    pool: WorkerPool,
    tally: Arc<Tally>,
    dropped: AtomicU64,
}

#[derive(Clone, Copy)]
pub(crate) struct BackgroundStats {
    /// Records added up.
    pub(crate) recorded: u64,
    /// Records for which the queue had no room.
    pub(crate) dropped: u64,
    pub(crate) submitted: u64,
    pub(crate) ended: u64,
}

impl Background {
    /// `observed`: with durations of its tasks, for somebody who looks.
    pub(crate) fn start<R: Runtime>(
        runtime: &R,
        upstreams: usize,
        observed: bool,
    ) -> Result<Self, ConfigError> {
        let builder = WorkerPool::builder();
        let builder = if observed { builder.observed() } else { builder };
        let pool = builder
            .workers(WORKERS)
            .queue(QUEUE)
            .name("access log")
            .clock(runtime.clock())
            .start(&spawner(runtime))?;
        Ok(Self { pool, tally: Arc::new(Tally::new(upstreams)), dropped: AtomicU64::new(0) })
    }

    /// Hands a record over.
    pub(crate) fn log(&self, record: Record) {
        let tally = Arc::clone(&self.tally);
        if self.pool.try_execute(async move { tally.add(record) }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn watched(&self, telemetry: &Telemetry) -> Result<(), WatchError> {
        telemetry.watch("access log", &self.pool)
    }

    /// Lets people look into it.
    pub(crate) fn inspected(&self, inspector: &Inspector) -> Result<(), WatchError> {
        inspector.add("access log", &self.pool)
    }

    /// Whether it keeps up, for those who ask for the health.
    pub(crate) fn check(&self, name: &'static str) -> Check {
        Check::of(name, &self.pool)
    }

    /// What the pool is doing, and for how many records it had no room.
    pub(crate) fn live(&self) -> (PoolStats, u64) {
        (self.pool.stats(), self.dropped.load(Ordering::Relaxed))
    }

    pub(crate) fn summary(&self, upstream: usize) -> Summary {
        self.tally.summary(upstream)
    }

    /// Lets the queue run empty, and ends the workers.
    pub(crate) async fn shutdown(&self, limit: Duration) -> BackgroundStats {
        let stats = self.pool.shutdown(limit).await.stats;
        BackgroundStats {
            recorded: self.tally.records(),
            dropped: self.dropped.load(Ordering::Relaxed),
            submitted: stats.submitted,
            ended: stats.ended(),
        }
    }
}
