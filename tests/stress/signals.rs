//! Gates and tokens: everybody who waits gets through, whatever the moment.

use crate::{ROUNDS, THREADS, on_threads};
use cofferdam::sync::{CancelToken, Gate};
use futures_executor::block_on;
use std::sync::Barrier;

#[test]
fn everybody_gets_through_a_gate_that_opens() {
    for round in 0..ROUNDS / 100 {
        let gate = Gate::new(false);
        let start = Barrier::new(THREADS);
        on_threads(|index, _| {
            start.wait();
            if index == round % THREADS {
                gate.open();
            } else {
                block_on(gate.wait());
            }
        });
        assert_eq!(gate.waiters(), 0);
    }
}

#[test]
fn cancelling_a_tree_reaches_children_born_meanwhile() {
    for _ in 0..ROUNDS / 100 {
        let root = CancelToken::new();
        let start = Barrier::new(THREADS);
        on_threads(|index, rng| {
            start.wait();
            if index == 0 {
                root.cancel_with("over");
                return;
            }
            let mut token = root.child();
            for _ in 0..rng.u32(0..5) {
                // Both a chain and short-lived siblings.
                drop(token.child());
                token = token.child();
            }
            assert_eq!(block_on(token.cancelled()).to_string(), "over");
        });
    }
}
