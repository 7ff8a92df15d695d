//! Shutting down without losing what was accepted: stop the intake, serve what is in the queue, cut off what hangs.
//!
//! Run: `cargo run --example graceful_shutdown`
//!
//! Expected output:
//! ```text
//! open for business
//! intake: cancelled: closing time
//! every order that was taken was served
//! delivery: the deadline of the context has passed
//! ```

use cofferdam::sync::{Context, Gate, channel};
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let service = Context::background().child();
        let (orders, inbox) = channel::<u32>(8)?;
        let (taken, served) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (ready, busy) = (Arc::new(Gate::new(false)), Arc::new(Gate::new(false)));

        // Two cooks, who work until the queue is closed and empty: they are not told to stop.
        let cooks: Vec<_> = (0..2)
            .map(|_| {
                let (inbox, ready, served) = (inbox.clone(), Arc::clone(&ready), Arc::clone(&served));
                smol::spawn(async move {
                    ready.wait().await;
                    while inbox.recv().await.is_ok() {
                        served.fetch_add(1, Ordering::Relaxed);
                        smol::future::yield_now().await;
                    }
                })
            })
            .collect();
        drop(inbox);

        // The counter, which takes orders until the service is cancelled. Its end drops the sender, and that closes the
        // queue; an order that it was just about to queue was not taken.
        let intake = smol::spawn({
            let (taken, busy) = (Arc::clone(&taken), Arc::clone(&busy));
            service.run(async move {
                for order in 1.. {
                    if orders.send(order).await.is_err() {
                        break;
                    }
                    if taken.fetch_add(1, Ordering::Relaxed) == 100 {
                        busy.open();
                    }
                }
            })
        });

        // A delivery that will never arrive. It was accepted, so it is detached from the request, but it has its limits.
        let delivery = smol::spawn(service.detached().scope(pending::<()>()));

        ready.open();
        busy.wait().await;
        println!("open for business");

        // From here on, what a handler of SIGTERM would do.
        service.cancel("closing time");
        // Ended by `run`, or by a `send` that the context refused: whichever saw it first.
        let _ = intake.await;
        if let Err(end) = service.check() {
            println!("intake: {end}");
        }
        for cook in cooks {
            cook.await;
        }
        assert_eq!(taken.load(Ordering::Relaxed), served.load(Ordering::Relaxed));
        println!("every order that was taken was served");

        let grace = Context::background().with_timeout(Duration::from_millis(5));
        if let Err(end) = grace.run(delivery).await {
            println!("delivery: {end}");
        }
        Ok(())
    })
}
