//! In line for room: until it is one's turn, or in vain.

#![forbid(unsafe_code)]

use super::limit::Limit;
use crate::pool::error::Refusal;
use crate::pool::room::Turn;
use crate::pool::shared::Shared;
use crate::wait::Slot;
use std::pin::Pin;
use std::task::{Context, Poll};

/// In line: how often it was overtaken, when it is invited; or why it is not in line any more.
pub(in crate::pool) fn turn(
    shared: &Shared,
    lane: u16,
    limit: &mut Option<Box<Limit>>,
    slot: Pin<&Slot<u8>>,
    cx: &mut Context<'_>,
) -> Poll<Result<u8, Refusal>> {
    let room = shared.room(lane);
    let free = || shared.free(lane);
    loop {
        match room.poll(slot, cx.waker()) {
            Turn::Closed => return Poll::Ready(Err(Refusal::Closed)),
            Turn::Invited(overtaken) => return Poll::Ready(Ok(overtaken)),
            Turn::Waiting => {
                let reason = if let Err(reason) = shared.check() {
                    reason
                } else {
                    let Some(limit) = limit else { return Poll::Pending };
                    let Poll::Ready(reason) = limit.poll(&shared.settings.clock, cx) else {
                        return Poll::Pending;
                    };
                    // Of a free place it may not have been told yet, if tasks give way.
                    room.admit(free);
                    if slot.outcome().is_some() {
                        continue;
                    }
                    reason
                };
                // Out of line at once, not when the future is dropped; an invitation that came just now goes to the next.
                room.abandon(slot, free);
                return Poll::Ready(Err(reason));
            }
        }
    }
}
