//! Channels: by a sender or a receiver, as either end shows the same.

use super::while_there;
use crate::sync::{ChannelLook, Receiver, Sender};
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};

static VALUES: Metric = Metric::gauge("channel_values", "Values in the channel.");
static CAPACITY: Metric = Metric::gauge("channel_capacity", "The most values there may be.");
static SENDERS: Metric = Metric::gauge("channel_senders", "Senders.");
static RECEIVERS: Metric = Metric::gauge("channel_receivers", "Receivers.");

pub(super) static METRICS: [&Metric; 4] = [&VALUES, &CAPACITY, &SENDERS, &RECEIVERS];

fn read(look: &ChannelLook, readings: &mut Readings<'_>) {
    readings.count(&VALUES, &[], look.values as u64);
    readings.count(&CAPACITY, &[], look.capacity as u64);
    readings.count(&SENDERS, &[], look.senders as u64);
    readings.count(&RECEIVERS, &[], look.receivers as u64);
}

macro_rules! watch_end {
    ($end:ident) => {
        impl<T: Send + 'static> Watch for $end<T> {
            const COMPONENT: &'static str = "channel";

            fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
                while_there(self.weak(), read)
            }

            fn identity(&self) -> usize {
                self.address()
            }
        }
    };
}

watch_end!(Sender);
watch_end!(Receiver);
