//! Rates, delays and switches: values, or functions that are asked each time.

use std::time::Duration;

pub(super) enum Rate {
    Always(f64),
    By(Box<dyn Fn() -> f64 + Send + Sync>),
}

impl Rate {
    /// From 0 to 1.
    pub(super) fn get(&self) -> f64 {
        let rate = match self {
            Self::Always(rate) => *rate,
            Self::By(rate) => rate(),
        };
        if rate.is_nan() { 0.0 } else { rate.clamp(0.0, 1.0) }
    }
}

/// Whether a decision falls below a rate: of the 2^53 numbers that are drawn from, evenly spaced from 0, none is 1.
pub(super) fn strikes(seed: u64, decision: u64, rate: f64) -> bool {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    // SplitMix64 (Steele, Lea, Flood, 2014), entered at any of its numbers.
    let mut bits = seed.wrapping_add(decision.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    ((bits >> 11) as f64) * STEP < rate
}

/// A share of calls from 0 to 1, or a function that is asked for it at each attempt.
pub trait IntoRate: sealed::Rate {}

impl IntoRate for f64 {}
impl<F: Fn() -> f64 + Send + Sync + 'static> IntoRate for F {}

/// A delay, or a function that is asked for it each time.
pub trait IntoDelay: sealed::Delay {}

impl IntoDelay for Duration {}
impl<F: Fn() -> Duration + Send + Sync + 'static> IntoDelay for F {}

/// On or off, or a function that is asked at each attempt.
pub trait IntoSwitch: sealed::Switch {}

impl IntoSwitch for bool {}
impl<F: Fn() -> bool + Send + Sync + 'static> IntoSwitch for F {}

/// Whether anything is injected at all.
pub(super) enum Switch {
    Always(bool),
    By(Box<dyn Fn() -> bool + Send + Sync>),
}

impl Switch {
    pub(super) fn is_on(&self) -> bool {
        match self {
            Self::Always(on) => *on,
            Self::By(on) => on(),
        }
    }
}

pub(super) mod sealed {
    use std::time::Duration;

    pub trait Rate {
        #[doc(hidden)]
        #[allow(private_interfaces, reason = "sealed")]
        fn into_rate(self) -> super::Rate;
    }

    impl Rate for f64 {
        #[allow(private_interfaces, reason = "sealed")]
        fn into_rate(self) -> super::Rate {
            super::Rate::Always(self)
        }
    }

    impl<F: Fn() -> f64 + Send + Sync + 'static> Rate for F {
        #[allow(private_interfaces, reason = "sealed")]
        fn into_rate(self) -> super::Rate {
            super::Rate::By(Box::new(self))
        }
    }

    pub trait Delay {
        #[doc(hidden)]
        fn into_delay(self) -> Box<dyn Fn() -> Duration + Send + Sync>;
    }

    impl Delay for Duration {
        fn into_delay(self) -> Box<dyn Fn() -> Duration + Send + Sync> {
            Box::new(move || self)
        }
    }

    impl<F: Fn() -> Duration + Send + Sync + 'static> Delay for F {
        fn into_delay(self) -> Box<dyn Fn() -> Duration + Send + Sync> {
            Box::new(self)
        }
    }

    pub trait Switch {
        #[doc(hidden)]
        #[allow(private_interfaces, reason = "sealed")]
        fn into_switch(self) -> super::Switch;
    }

    impl Switch for bool {
        #[allow(private_interfaces, reason = "sealed")]
        fn into_switch(self) -> super::Switch {
            super::Switch::Always(self)
        }
    }

    impl<F: Fn() -> bool + Send + Sync + 'static> Switch for F {
        #[allow(private_interfaces, reason = "sealed")]
        fn into_switch(self) -> super::Switch {
            super::Switch::By(Box::new(self))
        }
    }
}
