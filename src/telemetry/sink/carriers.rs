//! What is current for `tracing` and for OpenTelemetry, taken along by work that is handed over.

#[cfg(feature = "opentelemetry")]
pub use self::opentelemetry::OpenTelemetryCarrier;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingCarrier;

#[cfg(feature = "tracing")]
mod tracing {
    use crate::task::{Carried, Carrier, Errand};
    use ::tracing::field::Empty;
    use ::tracing::{Level, Span, dispatcher, info_span, span_enabled};

    /// Takes the current span of `tracing` along: for [`PoolBuilder::carry`](crate::pool::PoolBuilder::carry) and
    /// [`Carrying`](crate::task::Carrying).
    ///
    /// ```
    /// use cofferdam::pool::WorkerPool;
    /// use cofferdam::telemetry::TracingCarrier;
    ///
    /// let builder = WorkerPool::builder().name("thumbnails").carry(TracingCarrier::with_span());
    /// # drop(builder);
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct TracingCarrier {
        own: bool,
    }

    impl TracingCarrier {
        /// Work runs in the span in which it was handed over, which stays open until its end. Where there is none, nothing goes
        /// along.
        pub const fn new() -> Self {
            Self { own: false }
        }

        /// Work runs in a span of its own, a child of the one in which it was handed over, and a root where there is none.
        ///
        /// It is opened where the work is taken up, so that it tells how long that ran and not how long it waited, and closed at
        /// its end, before whoever waits for it is told. It has the target `cofferdam` and the level `INFO`, is called
        /// `pool.task` or `task`, and has the fields `name`, `number`, `attempts` and `outcome`. Work that ends without having
        /// been taken up has one, too, for the sake of its outcome. Repeated work has one for all its attempts.
        ///
        /// Where such spans are switched off it is as with [`new`](Self::new).
        pub const fn with_span() -> Self {
            Self { own: true }
        }
    }

    impl Default for TracingCarrier {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Carrier for TracingCarrier {
        fn pick_up(&self) -> Option<Box<dyn Carried>> {
            let around = Span::current();
            let own = self.own && (!around.is_disabled() || span_enabled!(target: "cofferdam", Level::INFO));
            (own || !around.is_disabled()).then(|| Box::new(Within { around, own, span: None }) as _)
        }
    }

    struct Within {
        around: Span,
        own: bool,
        /// Of its own, from the beginning on.
        span: Option<Span>,
    }

    impl Within {
        fn open(&self, errand: &Errand<'_>) -> Span {
            let open = || {
                let (parent, Errand { name, number, attempts, .. }) = (self.around.id(), errand);
                match errand.kind {
                    "pool.task" => info_span!(
                        target: "cofferdam", parent: parent, "pool.task", name, number, attempts, outcome = Empty
                    ),
                    _ => info_span!(
                        target: "cofferdam", parent: parent, "task", name, number, attempts, outcome = Empty
                    ),
                }
            };
            // By the subscriber that knows the parent, whichever this thread has.
            let theirs = self.around.with_subscriber(|(_, subscriber)| subscriber.clone());
            theirs.map_or_else(open, |theirs| dispatcher::with_default(&theirs, open))
        }
    }

    impl Carried for Within {
        fn begin(&mut self, errand: &Errand<'_>) {
            if self.own {
                self.span = Some(self.open(errand)).filter(|span| !span.is_disabled());
            }
        }

        fn around(&self, poll: &mut dyn FnMut()) {
            self.span.as_ref().unwrap_or(&self.around).in_scope(poll);
        }

        fn end(mut self: Box<Self>, errand: &Errand<'_>, outcome: &'static str) {
            if self.span.is_none() && errand.attempts == 0 {
                self.begin(errand);
            }
            if let Some(span) = &self.span {
                span.record("attempts", errand.attempts).record("outcome", outcome);
            }
        }
    }
}

#[cfg(feature = "opentelemetry")]
mod opentelemetry {
    use crate::task::{Carried, Carrier};
    use ::opentelemetry::Context;

    /// Takes the current [`Context`] of OpenTelemetry along, with its span and its baggage: for
    /// [`PoolBuilder::carry`](crate::pool::PoolBuilder::carry) and [`Carrying`](crate::task::Carrying).
    ///
    /// Not needed for spans that are made by way of `tracing`: those go along with a `TracingCarrier`.
    ///
    /// ```
    /// use cofferdam::pool::WorkerPool;
    /// use cofferdam::telemetry::OpenTelemetryCarrier;
    ///
    /// let builder = WorkerPool::builder().carry(OpenTelemetryCarrier);
    /// # drop(builder);
    /// ```
    #[derive(Clone, Copy, Debug, Default)]
    pub struct OpenTelemetryCarrier;

    impl Carrier for OpenTelemetryCarrier {
        fn pick_up(&self) -> Option<Box<dyn Carried>> {
            Some(Box::new(Attached(Context::current())))
        }
    }

    struct Attached(Context);

    impl Carried for Attached {
        fn around(&self, poll: &mut dyn FnMut()) {
            let _attached = self.0.clone().attach();
            poll();
        }
    }
}
