//! What is put back into a key's state.

use super::hash::Short;
use super::shard::{Found, Shard};
use crate::limit::Algorithm;
use crate::limit::limiter::line::{Line, Want};
use std::borrow::Borrow;

impl<K: Eq, A: Algorithm> Shard<K, A> {
    /// Puts tokens back, if the key is there.
    pub(super) fn refund<Q>(&mut self, hash: Short, key: &Q, now: u64, n: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.put_back(
            hash,
            key,
            |algorithm, state| algorithm.refund(state, now, n),
            |line| line.refund(n, now),
        );
    }

    /// Puts back what was granted to somebody whose line has ended, if the key is there.
    pub(super) fn give_back<Q>(&mut self, hash: Short, key: &Q, want: &Want, now: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.put_back(
            hash,
            key,
            |algorithm, state| algorithm.give_back(state, want.due(), now, want.n),
            |line| line.give_back(want, now),
        );
    }

    fn put_back<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        state: impl FnOnce(&A, &mut A::State),
        line: impl FnOnce(&mut A::Line),
    ) where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let moved = self.with(hash, key, |found| match found {
            Found::State(algorithm, of_key) => {
                let before = algorithm.fresh_at(of_key);
                state(algorithm, of_key);
                let after = algorithm.fresh_at(of_key);
                (after < before).then_some(after)
            }
            Found::Line(of_key) => {
                line(of_key);
                Some(0)
            }
        });
        if let Some(at) = moved.flatten() {
            self.moved(hash, key, at);
        }
    }
}
