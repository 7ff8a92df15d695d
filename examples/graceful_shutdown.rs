//! Shutting down without losing what was accepted: stop the intake, serve what is in the queue, cut off what hangs; in order, each
//! with its limit, and with a report at the end.
//!
//! Run: `cargo run --example graceful_shutdown`. It stops at Ctrl-C or SIGTERM, or by itself when it has taken a hundred orders.
//!
//! Expected output:
//! ```text
//! open for business: 200
//! readiness: done
//! intake: done
//! in flight, kitchen: done
//! in flight, delivery: not done in time
//! pool: done
//! ready now: 503
//! every order that was taken was served
//! ```

use async_signal::{Signal, Signals};
use cofferdam::health::{Check, GracefulShutdown, Health, Phase};
use cofferdam::pool::WorkerPool;
use cofferdam::sync::{Gate, channel};
use cofferdam::task::Spawn;
use futures_util::StreamExt;
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let spawner: Arc<dyn Spawn> = Arc::new(|task| smol::spawn(task).detach());
        let pool = WorkerPool::builder().workers(2).queue(8).start(&*spawner)?;
        let (orders, inbox) = channel::<u32>(8)?;
        let (taken, served) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let busy = Arc::new(Gate::new(false));

        let health = Health::new();
        health.add(Check::of("pool", &pool))?;
        let _driver = smol::spawn(health.run());
        println!("open for business: {}", health.check_now().await.http_status());

        // Two cooks on the pool, who work until the queue is closed and empty: they are not told to stop.
        let mut cooks = Vec::new();
        for _ in 0..2 {
            let (inbox, served) = (inbox.clone(), Arc::clone(&served));
            cooks.push(pool.try_submit(async move {
                while inbox.recv().await.is_ok() {
                    served.fetch_add(1, Ordering::Relaxed);
                    smol::future::yield_now().await;
                }
            })?);
        }
        drop(inbox);

        // A delivery that will never arrive.
        let delivery = smol::spawn(pending::<()>());

        // The counter, which takes orders until it is cancelled. Its end drops the sender, and that closes the queue; an order that
        // it was just about to queue was not taken.
        let closing = cofferdam::sync::CancelToken::new();
        let intake = smol::spawn({
            let (taken, busy, closing) = (Arc::clone(&taken), Arc::clone(&busy), closing.clone());
            async move {
                let taking = async {
                    for order in 1.. {
                        if orders.send(order).await.is_err() {
                            break;
                        }
                        if taken.fetch_add(1, Ordering::Relaxed) == 100 {
                            busy.open();
                        }
                    }
                };
                let _ = closing.run(taking).await;
            }
        });

        let ready = health.clone();
        let shutdown = GracefulShutdown::builder()
            .limit(SECOND * 10)
            .step("readiness", SECOND, move || async move {
                ready.take_out_of_service("closing time");
                // A service would wait here until its load balancer has seen it.
            })
            .step("intake", SECOND, move || async move {
                closing.cancel_with("closing time");
                intake.await;
            })
            .phase(
                Phase::new("in flight", Duration::from_millis(200))
                    .step("kitchen", move || async move {
                        for cook in cooks {
                            cook.await?;
                        }
                        Ok::<_, cofferdam::pool::JoinError>(())
                    })
                    .step("delivery", move || delivery),
            )
            .step("pool", SECOND, move || async move {
                if pool.shutdown(SECOND).await.is_clean() { Ok(()) } else { Err("a task was cut off") }
            })
            .build();

        #[cfg(unix)]
        let mut signals = Signals::new([Signal::Int, Signal::Term])?;
        #[cfg(not(unix))]
        let mut signals = Signals::new([Signal::Int])?;
        smol::future::or(async { drop(signals.next().await) }, busy.wait()).await;

        println!("{}", shutdown.run().await);
        println!("ready now: {}", health.readiness().http_status());
        assert_eq!(taken.load(Ordering::Relaxed), served.load(Ordering::Relaxed));
        println!("every order that was taken was served");
        Ok(())
    })
}
