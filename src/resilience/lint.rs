//! Orders of policies that are known to go wrong.

use super::{Kind, Layer, Scope};
use std::fmt;

/// Something that is known to go wrong with a stack; see [`Stack::lint`](super::Stack::lint).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lint {
    code: LintCode,
    outer: Layer,
    /// `None` if it is about one policy alone.
    inner: Option<Layer>,
}

impl Lint {
    /// Which known mistake.
    pub const fn code(&self) -> LintCode {
        self.code
    }

    /// The outer of the two policies that do not go together.
    pub const fn outer(&self) -> Layer {
        self.outer
    }

    /// The inner one; the same as the outer if the mistake is about that one alone.
    pub const fn inner(&self) -> Layer {
        match self.inner {
            Some(inner) => inner,
            None => self.outer,
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, outer, inner } = self;
        match inner {
            Some(inner) => write!(f, "{code}: {outer} around {inner}: {}", code.reason()),
            None => write!(f, "{code}: {outer}: {}", code.reason()),
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident $slug:literal $reason:literal,)+) => {
        /// The known mistakes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum LintCode {
            $($(#[doc = $doc])+ $code,)+
        }

        impl LintCode {
            const fn slug(self) -> &'static str {
                match self { $(Self::$code => $slug,)+ }
            }

            /// What goes wrong, in one sentence.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$code => $reason,)+ }
            }
        }
    };
}

codes! {
    /// A breaker around a retry sees one outcome for each run of attempts, not each attempt, and an open circuit does not
    /// stop a run.
    RetryInsideBreaker "retry-inside-breaker" "the breaker sees runs of attempts, and does not end them",
    /// A bulkhead around a retry.
    BulkheadOutsideRetry "bulkhead-outside-retry" "a place is held while the retry sleeps",
    /// A rate limit around a retry: what the callee sees is not what was limited.
    ThrottleOutsideRetry "throttle-outside-retry" "retries go past the rate limit",
    /// Admission control around a retry: it sees one outcome for each run of attempts, and retries reach the server
    /// however much it sheds.
    AdmissionOutsideRetry "admission-outside-retry" "retries go past the admission control",
    /// A timeout that says that it limits the whole call, inside a retry.
    TotalTimeoutInsideRetry "total-timeout-inside-retry" "it limits one attempt, not the call",
    /// A timeout that says that it limits an attempt, around a retry.
    AttemptTimeoutOutsideRetry "attempt-timeout-outside-retry" "it limits the call, not an attempt",
    /// An inner timeout that is not shorter than an outer one.
    InnerTimeoutNotShorter "inner-timeout-not-shorter" "the inner timeout never comes first",
    /// A retry around a retry.
    RetryInsideRetry "retry-inside-retry" "attempts multiply",
    /// A fallback inside a retry: it turns the first failure into a success, and there is nothing to retry.
    FallbackInsideRetry "fallback-inside-retry" "the retry sees no failures",
    /// Faults on purpose outside another policy, which then sees none of them.
    ChaosNotInnermost "chaos-not-innermost" "the inner policy is spared the faults",
    /// The only timeouts are around the breaker: what they end is dropped, and dropping says nothing of the callee, unless
    /// the breaker is told otherwise by [`OnCancel`](super::breaker::OnCancel). [Allow](super::Stack::allow) it then.
    TimeoutOnlyOutsideBreaker "timeout-only-outside-breaker" "the breaker does not see a callee that hangs",
    /// A hedge that nothing bounds: when all calls become slow, all of them are doubled.
    HedgeWithoutBudget "hedge-without-budget" "a callee that is slow gets twice the calls",
    /// A rate limit that lets calls wait, inside a hedge: what waits is taken for slow, and the hedge waits behind it.
    WaitInsideHedge "wait-inside-hedge" "calls that wait for the rate limit are hedged",
    /// A hedge around a retry: each hedge makes its own attempts, and a hedge is started while the retry sleeps.
    RetryInsideHedge "retry-inside-hedge" "attempts multiply, and sleeps are hedged",
    /// A hedge around a hedge.
    HedgeInsideHedge "hedge-inside-hedge" "hedges multiply",
    /// A timeout that lets what it ends run on, inside a bulkhead.
    DetachingInsideBulkhead "detaching-inside-bulkhead" "the place is given to others while the work goes on",
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

/// A set of codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed(u32);

impl Allowed {
    pub(super) const NOTHING: Self = Self(0);

    pub(super) const fn and(self, code: LintCode) -> Self {
        Self(self.0 | 1 << code as u32)
    }

    pub(super) const fn contains(self, code: LintCode) -> bool {
        self.0 & (1 << code as u32) != 0
    }
}

pub(super) fn lint(layers: &[Layer]) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (at, outer) in layers.iter().enumerate() {
        let inside = layers.get(at + 1..).unwrap_or_default();
        for inner in inside {
            if let Some(code) = pair(outer.kind(), inner.kind()) {
                lints.push(Lint { code, outer: *outer, inner: Some(*inner) });
            }
        }
        if matches!(outer.kind(), Kind::Hedge { has_budget: false, .. }) {
            lints.push(Lint { code: LintCode::HedgeWithoutBudget, outer: *outer, inner: None });
        }
        // A breaker under a timeout, with none of its own to turn a hang into an outcome.
        let breaker = inside.iter().position(|layer| layer.kind() == Kind::CircuitBreaker);
        if let (Kind::Timeout { limit: Some(_), .. }, Some(breaker)) = (outer.kind(), breaker) {
            let is_timeout = |layer: &Layer| matches!(layer.kind(), Kind::Timeout { limit: Some(_), .. });
            if !inside.iter().any(is_timeout) {
                let code = LintCode::TimeoutOnlyOutsideBreaker;
                lints.extend(inside.get(breaker).map(|inner| Lint {
                    code,
                    outer: *outer,
                    inner: Some(*inner),
                }));
            }
        }
    }
    lints
}

fn pair(outer: Kind, inner: Kind) -> Option<LintCode> {
    use Kind::{Admission, Bulkhead, Chaos, CircuitBreaker, Fallback, Hedge, Retry, Throttle, Timeout};
    Some(match (outer, inner) {
        (Retry { .. }, Retry { .. }) => LintCode::RetryInsideRetry,
        (CircuitBreaker, Retry { .. }) => LintCode::RetryInsideBreaker,
        (Bulkhead, Retry { .. }) => LintCode::BulkheadOutsideRetry,
        (Throttle { .. }, Retry { .. }) => LintCode::ThrottleOutsideRetry,
        (Admission, Retry { .. }) => LintCode::AdmissionOutsideRetry,
        (Retry { .. }, Fallback) => LintCode::FallbackInsideRetry,
        (Chaos, inner) if inner != Chaos => LintCode::ChaosNotInnermost,
        (Timeout { scope: Scope::Attempt, .. }, Retry { .. }) => LintCode::AttemptTimeoutOutsideRetry,
        (Retry { .. }, Timeout { scope: Scope::Total, .. }) => LintCode::TotalTimeoutInsideRetry,
        (Hedge { .. }, Retry { .. }) => LintCode::RetryInsideHedge,
        (Hedge { .. }, Hedge { .. }) => LintCode::HedgeInsideHedge,
        (Hedge { .. }, Throttle { wait_limit }) if !wait_limit.is_zero() => LintCode::WaitInsideHedge,
        (Bulkhead, Timeout { detaches: true, .. }) => LintCode::DetachingInsideBulkhead,
        (Timeout { limit: Some(outer), .. }, Timeout { limit: Some(inner), .. }) if inner >= outer => {
            LintCode::InnerTimeoutNotShorter
        }
        _ => return None,
    })
}
