//! What may cross threads, be shared between them, and be moved after it was polled; and what may not.

use cofferdam::limit::concurrency::{self, AdaptiveLimiter, ConcurrencyLimiter, Fixed};
use cofferdam::observe::{Observe, Observers};
use cofferdam::resilience::breaker::{self, CircuitBreaker};
use cofferdam::resilience::{
    self, Admission, Bulkhead, Exhausted, Kind, Layer, Lint, LintCode, Reason, Rejection, Retry, Scope, Stack,
};
use cofferdam::resilience::{admission, cache, chaos, fallback};
use cofferdam::sync::{self, Semaphore};
use cofferdam::task::Spawn;
use cofferdam::time::Timer;
use cofferdam::{
    ConfigError, group, health, limit, parallel, pool, stream, task, telemetry, testkit, time, tower,
};
use static_assertions::{assert_impl_all, assert_not_impl_any, assert_obj_safe};
use std::cell::Cell;
use std::marker::PhantomPinned;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Parameters that lack one trait each: what is made of them must lack it too, and must have it without them.
type Local = Rc<u8>;
type Unshared = Cell<u8>;
type Pinned = PhantomPinned;

macro_rules! claim {
    (yes, $type:ty, $auto:ident) => {
        assert_impl_all!($type: $auto);
    };
    (no, $type:ty, $auto:ident) => {
        assert_not_impl_any!($type: $auto);
    };
}

/// One row a type: `Send`, `Sync`, `Unpin`.
macro_rules! table {
    ($($type:ty => $send:ident $sync:ident $unpin:ident;)+) => {
        $(claim!($send, $type, Send); claim!($sync, $type, Sync); claim!($unpin, $type, Unpin);)+
    };
}

table! {
    ConfigError                                 => yes yes yes;

    // time
    time::Clock                                 => yes yes yes;
    time::Sleep                                 => yes no  yes;
    time::Deadline                              => yes yes yes;
    time::Elapsed                               => yes yes yes;
    time::Timeout<u8>                           => yes no  yes;
    time::Timeout<Local>                        => no  no  yes;
    time::Timeout<Pinned>                       => yes no  no;
    time::Backoff                               => yes yes yes;
    time::Delays                                => yes yes yes;
    time::Jitter                                => yes yes yes;

    // task, observe
    task::BoxTask                               => yes no  yes;
    task::Carrying<u8>                          => yes yes yes;
    task::Carrying<Local>                       => no  no  yes;
    task::Errand<'static>                       => yes yes yes;
    Box<dyn task::Carrier>                      => yes yes yes;
    Box<dyn task::Carried>                      => yes no  yes;
    Observers<u8>                               => yes yes yes;
    Observers<Unshared>                         => yes yes yes;
    Observers<Local>                            => no  no  yes;

    cofferdam::observe::Attached                => yes yes yes;

    // testkit
    testkit::ManualClock                        => yes yes yes;
    testkit::WakeCounter                        => yes yes yes;
    testkit::Polled<u8>                         => yes yes yes;
    testkit::Polled<Local>                      => no  no  yes;
    testkit::Polled<Pinned>                     => yes yes yes;
    testkit::Sim                                => yes yes yes;
    testkit::SimTask<u8>                        => yes yes yes;
    testkit::SimTask<Unshared>                  => yes yes yes;
    testkit::SimTask<Local>                     => no  no  yes;
    testkit::DropPoint                          => yes yes yes;
    testkit::Busy                               => yes yes yes;
    testkit::LeakCheck<'static>                 => no  no  yes;

    // sync: semaphore
    Semaphore                                   => yes yes yes;
    sync::SemaphoreBuilder                      => yes yes yes;
    sync::SemaphoreStats                        => yes yes yes;
    sync::SemaphoreEvent                        => yes yes yes;
    sync::Permit<&'static Semaphore>            => yes yes yes;
    sync::OwnedPermit                           => yes yes yes;
    sync::Acquire<&'static Semaphore>           => yes yes no;
    sync::Acquire<Arc<Semaphore>>               => yes yes no;
    sync::AcquireTimeout<Arc<Semaphore>>        => yes no  no;
    sync::Order                                 => yes yes yes;
    sync::Priority                              => yes yes yes;
    sync::Request                               => yes yes yes;
    sync::AcquireError                          => yes yes yes;
    sync::TryAcquireError                       => yes yes yes;

    // sync: cancellation, context, gate
    sync::CancelToken                           => yes yes yes;
    sync::DropGuard                             => yes yes yes;
    sync::Cause                                 => yes yes yes;
    sync::Cancelled                             => yes yes yes;
    sync::UntilCancelled                        => yes yes no;
    sync::RunUntilCancelled<u8>                 => yes yes no;
    sync::RunUntilCancelled<Local>              => no  no  no;
    sync::Context                               => yes yes yes;
    sync::ContextError                          => yes yes yes;
    sync::Scope<u8>                             => yes yes yes;
    sync::Scope<Local>                          => no  no  yes;
    sync::RunInContext<u8>                      => yes no  no;
    sync::RunInContext<Local>                   => no  no  no;
    sync::Gate                                  => yes yes yes;
    sync::GateWait<&'static sync::Gate>         => yes yes no;
    sync::GateWait<Arc<sync::Gate>>             => yes yes no;

    // sync: channels, counters
    sync::Sender<Unshared>                      => yes yes yes;
    sync::Sender<Local>                         => no  no  yes;
    sync::SendFuture<'static, u8>               => yes yes no;
    sync::SendFuture<'static, Local>            => no  no  no;
    sync::SendTimeoutFuture<'static, u8>        => yes no  no;
    sync::Receiver<Unshared>                    => yes yes yes;
    sync::Receiver<Local>                       => no  no  yes;
    sync::RecvFuture<'static, u8>               => yes yes no;
    sync::RecvFuture<'static, Local>            => no  no  no;
    sync::RecvTimeoutFuture<'static, u8>        => yes no  no;
    sync::RecvManyFuture<'static, u8>           => yes yes no;
    sync::RecvManyFuture<'static, Local>        => no  no  no;
    sync::Drain<'static, u8>                    => yes yes yes;
    sync::Drain<'static, Local>                 => no  no  yes;
    sync::SendError<u8>                         => yes yes yes;
    sync::SendError<Local>                      => no  no  yes;
    sync::TrySendError<Local>                   => no  no  yes;
    sync::SendTimeoutError<Local>               => no  no  yes;
    sync::RecvError                             => yes yes yes;
    sync::TryRecvError                          => yes yes yes;
    sync::RecvTimeoutError                      => yes yes yes;
    sync::oneshot::Sender<Unshared>             => yes yes yes;
    sync::oneshot::Sender<Local>                => no  no  yes;
    sync::oneshot::Receiver<Unshared>           => yes yes yes;
    sync::oneshot::Receiver<Local>              => no  no  yes;
    sync::oneshot::Closed<'static, Unshared>    => yes yes yes;
    sync::oneshot::Closed<'static, Local>       => no  no  yes;
    sync::oneshot::RecvError                    => yes yes yes;
    sync::oneshot::TryRecvError                 => yes yes yes;
    sync::Window<3>                             => yes yes yes;

    // limit
    limit::Rate                                 => yes yes yes;
    limit::Quota                                => yes yes yes;
    limit::Denied                               => yes yes yes;
    limit::WaitError                            => yes yes yes;
    limit::TokenBucket                          => yes yes yes;
    limit::TokenBucketBuilder                   => yes yes yes;
    limit::Gcra                                 => yes yes yes;
    limit::Limiter                              => yes yes yes;
    limit::LimiterBuilder                       => yes yes yes;
    limit::AllOf                                => yes yes yes;
    limit::Joint                                => yes yes yes;
    limit::JointBuilder                         => yes yes yes;
    limit::FixedWindow                          => yes yes yes;
    limit::SlidingWindow                        => yes yes yes;
    limit::SlidingWindowLog                     => yes yes yes;
    limit::LeakyBucket                          => yes yes yes;
    limit::Shaper                               => yes yes yes;
    limit::WarmUpLimiter                        => yes yes yes;
    limit::MultiQuota                        => yes yes yes;
    limit::Fixed                                => yes yes yes;
    limit::FixedState                           => yes yes yes;
    limit::SlidingCounter                       => yes yes yes;
    limit::CounterState                         => yes yes yes;
    limit::SlidingLog                           => yes yes yes;
    limit::LogState                             => yes yes yes;
    limit::Leaky                                => yes yes yes;
    limit::Spacing                              => yes yes yes;
    limit::WarmUp                               => yes yes yes;
    limit::WarmUpState                          => yes yes yes;
    limit::Several                              => yes yes yes;
    limit::SeveralBuilder                       => yes yes yes;
    limit::SeveralState                         => yes yes yes;
    limit::LimiterStats                         => yes yes yes;
    limit::LimiterEvent                         => yes yes yes;
    limit::Decided                              => yes yes yes;
    limit::Reservation                          => yes yes yes;
    limit::Acquire<'static>                     => yes yes no;
    limit::Acquire<'static, limit::SlidingLog>  => yes yes no;
    limit::Keyed<u8>                            => yes yes yes;
    limit::Keyed<Unshared>                      => yes yes yes;
    limit::Keyed<Local>                         => no  no  yes;
    limit::KeyedBuilder<Local, limit::Gcra>     => yes yes yes;
    limit::KeyedStats                           => yes yes yes;
    limit::KeyedEvent<u8>                       => yes yes yes;
    limit::KeyedEvent<Local>                    => no  no  yes;
    limit::Forgotten                            => yes yes yes;
    limit::KeyState                             => yes yes yes;
    limit::KeyDenied                            => yes yes yes;
    limit::KeyWaitError                         => yes yes yes;
    limit::TooManyKeys                          => yes yes yes;
    limit::WhenFull                             => yes yes yes;
    limit::Seeded                               => yes yes yes;
    limit::SeededHasher                         => yes yes yes;
    limit::AcquireKey<'static, u8, u8, limit::Gcra, limit::Seeded> => yes yes no;
    limit::KeyedMap<u8, u8>                     => yes yes yes;
    limit::KeyedMap<u8, Unshared>               => no  no  yes;
    limit::KeyedMap<Local, u8>                  => no  no  yes;
    limit::KeyedMapBuilder<Local, Local>        => yes yes yes;
    limit::KeyedMapStats                        => yes yes yes;
    limit::CreateError<u8>                      => yes yes yes;
    limit::CreateError<Local>                   => no  no  yes;
    limit::AdmissionControl                     => yes yes yes;
    limit::AdmissionBuilder                     => yes yes yes;
    limit::AdmissionPermit<&'static limit::AdmissionControl> => yes yes yes;
    limit::OwnedAdmissionPermit                 => yes yes yes;
    limit::AdmissionStats                       => yes yes yes;
    limit::Answer                               => yes yes yes;
    limit::NotAdmitted                          => yes yes yes;

    // limit: concurrency
    concurrency::ConcurrencyLimiter             => yes yes yes;
    concurrency::ConcurrencyLimiterBuilder      => yes yes yes;
    concurrency::ConcurrencyStats               => yes yes yes;
    concurrency::ConcurrencyEvent               => yes yes yes;
    concurrency::PartitionStats                 => yes yes yes;
    concurrency::Discipline                     => yes yes yes;
    concurrency::Partition                      => yes yes yes;
    concurrency::Request                        => yes yes yes;
    concurrency::AcquireError                   => yes yes yes;
    concurrency::Permit<&'static ConcurrencyLimiter>  => yes yes yes;
    concurrency::OwnedPermit                    => yes yes yes;
    concurrency::Acquire<&'static ConcurrencyLimiter> => yes no no;
    concurrency::Acquire<ConcurrencyLimiter>    => yes no no;
    concurrency::AdaptiveLimiter                => yes yes yes;
    concurrency::AdaptiveLimiterBuilder         => yes no  yes;
    concurrency::AdaptiveStats                  => yes yes yes;
    concurrency::AdaptiveEvent                  => yes yes yes;
    concurrency::LimitReason                    => yes yes yes;
    concurrency::adaptive::Guard<&'static AdaptiveLimiter>   => yes yes yes;
    concurrency::adaptive::OwnedGuard           => yes yes yes;
    concurrency::adaptive::Acquire<&'static AdaptiveLimiter> => yes no no;
    concurrency::Outcome                        => yes yes yes;
    concurrency::Sample                         => yes yes yes;
    concurrency::Statistic                      => yes yes yes;
    concurrency::Fixed                          => yes yes yes;
    concurrency::Aimd                           => yes yes yes;
    concurrency::adaptive::AimdBuilder          => yes yes yes;
    concurrency::Vegas                          => yes yes yes;
    concurrency::adaptive::VegasBuilder         => yes yes yes;
    concurrency::Gradient2                      => yes yes yes;
    concurrency::adaptive::Gradient2Builder     => yes yes yes;
    limit::Feedback                             => yes yes yes;
    limit::Tiered                               => yes yes yes;
    limit::tiered::TieredBuilder                => yes yes yes;
    limit::tiered::TieredStats                  => yes yes yes;
    limit::tiered::TieredEvent                  => yes yes yes;
    limit::tiered::TierBucket<'static>          => yes yes yes;
    limit::tiered::Request<'static>             => yes yes yes;
    limit::tiered::Route                        => yes yes yes;
    limit::tiered::ResourceTiers                => yes yes yes;
    limit::tiered::Tier                         => yes yes yes;
    limit::tiered::Refusal                      => yes yes yes;
    limit::tiered::WaitError                    => yes yes yes;
    limit::tiered::Acquire<'static>             => yes yes no;

    // resilience
    Stack                                       => yes yes yes;
    Stack<Local>                                => no  no  yes;
    resilience::Chain<u8, u8>                   => yes yes yes;
    resilience::Chain<u8, Local>                => no  no  yes;
    resilience::Error<u8>                       => yes yes yes;
    resilience::Error<Local>                    => no  no  yes;
    resilience::GaveUp                          => yes yes yes;
    Exhausted<u8>                               => yes yes yes;
    Exhausted<Local>                            => no  no  yes;
    Rejection                                   => yes yes yes;
    Reason                                      => yes yes yes;
    Scope                                       => yes yes yes;
    Kind                                        => yes yes yes;
    Layer                                       => yes yes yes;
    Lint                                        => yes yes yes;
    LintCode                                    => yes yes yes;
    resilience::Timeout                         => yes yes yes;
    resilience::TimeoutBuilder                  => yes yes yes;
    resilience::TimeoutAttempt<'static, u8>     => yes no  yes;
    resilience::TimeoutAttempt<'static, Local>  => no  no  yes;
    resilience::TimeoutAttempt<'static, Pinned> => yes no  no;
    resilience::Operation<u8, u8>               => yes yes yes;
    resilience::Operation<u8, Local>            => no  no  yes;
    resilience::Operation<u8, Pinned>           => yes yes no;
    resilience::Once<u8, u8>                        => yes yes yes;
    resilience::Once<u8, Local>                     => no  no  yes;
    resilience::Once<u8, Pinned>                    => yes yes no;
    resilience::Call<Ready>                     => yes yes yes;
    resilience::Call<NotSend>                   => no  no  yes;
    resilience::Optional<u8, u8>                => yes yes yes;
    resilience::Optional<u8, Local>             => no  no  yes;
    resilience::Optional<Pinned, u8>            => yes yes no;

    // resilience: fallback, cache, chaos
    resilience::Fallback<u8>                    => yes yes yes;
    resilience::Fallback<Local>                 => no  no  yes;
    resilience::FallbackFailed<u8>              => yes yes yes;
    resilience::FallbackFailed<Local>           => no  no  yes;
    fallback::FallbackAttempt<'static, u8, u8, u8, u8, u8> => yes yes yes;
    fallback::FallbackAttempt<'static, u8, Local, u8, u8, u8> => no no yes;
    fallback::Answering<'static, u8, u8, Pinned, u8, u8> => yes yes no;
    fallback::Answer<u8, u8>                    => yes yes yes;
    fallback::Answer<u8, Local>                 => no  no  yes;
    fallback::Path<u8>                          => yes yes yes;
    fallback::Value<u8>                         => yes yes yes;
    fallback::By<u8>                            => yes yes yes;
    fallback::ByAsync<u8>                       => yes yes yes;
    fallback::Backend<u8>                       => yes yes yes;
    fallback::AsyncRecovery<u8>                 => yes yes yes;
    fallback::AsyncRecovery<Pinned>             => yes yes no;
    fallback::Handled                           => yes yes yes;
    fallback::When<u8>                          => yes yes yes;
    fallback::FallbackEvent                     => yes yes yes;
    fallback::FallbackStats                     => yes yes yes;
    cache::Cache<u8, u8, u8>                    => yes yes yes;
    cache::Cache<u8, Local, u8>                 => no  no  yes;
    cache::Cache<Local, u8, u8>                 => no  no  yes;
    cache::Cache<u8, u8, Local>                 => no  no  yes;
    cache::CacheBuilder<Local, Local, Local>    => yes yes yes;
    cache::Cached<u8>                           => yes yes yes;
    cache::Cached<Unshared>                     => no  no  yes;
    cache::Origin                               => yes yes yes;
    cache::CacheEvent                           => yes yes yes;
    cache::CacheStats                           => yes yes yes;
    cache::CacheLayer<u8, u8, u8, u8>           => yes yes yes;
    cache::CacheLayer<u8, u8, u8, Local>        => no  no  yes;
    cache::CacheAttempt<'static, u8, u8, u8, u8, u8> => yes no  no;
    cache::CacheAttempt<'static, Local, u8, u8, u8, u8> => no no no;
    cache::GetOrLoad<'static, u8, u8, u8, u8, u8> => yes no no;
    cache::GetOrLoad<'static, u8, u8, u8, u8, Local> => no no no;
    cache::Loader<u8, u8, u8, u8>               => yes yes yes;
    cache::Loader<u8, u8, u8, Local>            => no  no  yes;
    cache::Stale<u8, u8, u8, u8>                => yes yes yes;
    cache::Stale<u8, u8, u8, Local>             => no  no  yes;
    chaos::Chaos<Local, Local>                  => yes yes yes;
    chaos::ChaosBuilder<Local, Local>           => yes yes yes;
    chaos::ChaosAttempt<'static, u8, Local, Local> => yes no  yes;
    chaos::ChaosAttempt<'static, Local, u8, u8>  => no  no  yes;
    chaos::ChaosEvent                           => yes yes yes;
    chaos::ChaosStats                           => yes yes yes;
    chaos::Injected                             => yes yes yes;
    chaos::Plan                                 => yes yes yes;
    chaos::ClockSkew                            => yes yes yes;
    chaos::ClockSkewBuilder                     => yes yes yes;
    chaos::ClockSkewStats                       => yes yes yes;
    resilience::AtZero                          => yes yes yes;
    resilience::config::CacheSettings           => yes yes yes;
    resilience::config::ChaosSettings           => yes yes yes;

    // resilience: bulkhead, retry
    resilience::Bulkhead                        => yes yes yes;
    resilience::BulkheadBuilder                 => yes yes yes;
    resilience::BulkheadStats                   => yes yes yes;
    resilience::BulkheadAttempt<'static, u8>    => yes no  no;
    resilience::BulkheadEvent                   => yes yes yes;
    resilience::Place                           => yes yes yes;
    resilience::AcquirePlace                    => yes no  no;
    resilience::Shortage                        => yes yes yes;
    resilience::BulkheadAttempt<'static, Local> => no  no  no;
    resilience::AdaptiveBulkhead                => yes yes yes;
    resilience::AdaptiveBulkhead<Local>         => no  no  yes;
    resilience::ByResult                        => yes yes yes;
    resilience::AdaptiveAttempt<'static, u8, u8>     => yes no no;
    resilience::AdaptiveAttempt<'static, Local, u8>  => no  no no;
    resilience::Throttle                        => yes yes yes;
    resilience::ThrottleBuilder                 => yes yes yes;
    resilience::ThrottleAttempt<'static, u8>    => yes yes no;
    resilience::ThrottleAttempt<'static, Local> => no  no  no;
    Admission                                   => yes yes yes;
    Admission<Local>                            => no  no  yes;
    admission::Builder<Unshared>                => yes no  yes;
    admission::ByDefault                        => yes yes yes;
    admission::Admitted<'static, u8, u8>        => yes yes yes;
    admission::Admitted<'static, Local, u8>     => no  no  yes;
    admission::Admitted<'static, u8, Local>     => no  no  yes;
    admission::Admitted<'static, Pinned, u8>    => yes yes no;
    resilience::Retry                           => yes yes yes;
    resilience::RetryBuilder                    => yes yes yes;
    resilience::Retry<Local>                    => no  no  yes;
    resilience::RetryAttempt<'static, u8, u8, u8>     => yes no yes;
    resilience::RetryAttempt<'static, u8, Local, u8>  => no  no yes;
    resilience::RetryAttempt<'static, u8, Pinned, u8> => yes no no;
    resilience::RetryAttempt<'static, u8, u8, Local>  => no  no yes;
    resilience::RetryEvent                      => yes yes yes;
    resilience::AttemptMark                     => yes yes yes;
    resilience::Verdict                         => yes yes yes;
    resilience::Retryable                       => yes yes yes;
    resilience::When<u8, u8>                    => yes yes yes;
    resilience::When<u8, Local>                 => no  no  yes;
    resilience::WhenCause<u8, u8>                        => yes yes yes;
    resilience::WhenOk<u8, u8>                           => yes yes yes;
    resilience::AbortOn<u8, u8>                          => yes yes yes;
    resilience::AbortOnCause<u8, u8>                     => yes yes yes;
    resilience::AfterError<u8, u8>                       => yes yes yes;
    resilience::DelayBy<u8, u8>                          => yes yes yes;
    resilience::Notify<u8, u8>                           => yes yes yes;
    resilience::OnGiveUp<u8, u8>                         => yes yes yes;
    resilience::Lent<'static, u8>               => yes yes yes;
    resilience::Lent<'static, Local>            => no  no  yes;
    resilience::Retrying<'static, u8, u8>       => yes yes yes;
    resilience::Retrying<'static, u8, Local>    => no  no  yes;
    resilience::RetryStats                      => yes yes yes;
    resilience::DelaySource                     => yes yes yes;
    resilience::Next                            => yes yes yes;
    resilience::NotRetryable                    => yes yes yes;
    resilience::ShareBudgetBuilder              => yes yes yes;
    resilience::Hedge                           => yes yes yes;
    resilience::Hedge<Local>                    => no  no  yes;
    resilience::HedgeBuilder                    => yes yes yes;
    resilience::HedgeEvent                      => yes yes yes;
    resilience::HedgeStats                      => yes yes yes;
    resilience::HedgeMark                       => yes yes yes;
    resilience::Suppressed                      => yes yes yes;
    resilience::OnFailure                       => yes yes yes;
    resilience::Latencies                       => yes yes yes;
    resilience::LatenciesBuilder                => yes yes yes;
    resilience::HedgeAttempt<'static, u8, u8, u8, u8>     => yes no yes;
    resilience::HedgeAttempt<'static, u8, Local, u8, u8>  => no  no yes;
    resilience::HedgeAttempt<'static, u8, Pinned, u8, u8> => yes no no;
    resilience::HedgeAttempt<'static, u8, u8, Local, u8>  => no  no yes;
    resilience::TimeoutEvent                    => yes yes yes;
    resilience::DetachingTimeout                => yes yes yes;
    resilience::Abandoned                       => yes yes yes;
    resilience::DetachingAttempt<'static, u8>     => yes no  yes;
    resilience::DetachingAttempt<'static, Pinned> => yes no  yes;
    resilience::DetachingAttempt<'static, Local>  => no  no  yes;
    resilience::Budget                          => yes yes yes;
    resilience::BudgetStats                     => yes yes yes;
    resilience::QuotaBudgetBuilder              => yes yes yes;
    resilience::RatioBudgetBuilder              => yes yes yes;

    // resilience: items in bulk
    resilience::Map<'static, u8, u8, u8>            => yes yes yes;
    resilience::Map<'static, u8, Local, u8>         => no  no  yes;
    resilience::map::Ordered<BulkItems, BulkUnder>   => yes no  yes;
    resilience::map::Unordered<BulkItems, BulkUnder> => yes no  yes;
    resilience::map::Collect<BulkItems, BulkUnder>   => yes no  yes;
    resilience::map::Items<u8>                      => yes yes yes;
    resilience::map::Items<Pinned>                  => yes yes yes;
    resilience::map::ItemOperation<u8, u8, u8>      => yes yes yes;
    resilience::map::ItemOperation<u8, u8, Local>   => no  no  yes;
    resilience::map::ItemOperation<u8, u8, Pinned>  => yes yes no;
    resilience::map::Under<'static, u8, u8, u8>     => yes yes yes;
    resilience::map::Under<'static, u8, Local, u8>  => no  no  yes;
    resilience::map::Under<'static, u8, u8, Local>  => no  no  yes;
    resilience::map::Cloned<u8>                     => yes yes yes;
    resilience::map::Cloned<Local>                  => no  no  yes;
    resilience::map::Given<u8>                      => yes yes yes;
    resilience::map::Given<Local>                   => no  no  yes;
    resilience::map::Repeat                         => yes yes yes;
    resilience::map::OnlyOnce                       => yes yes yes;
    resilience::ItemError<u8, u8>                   => yes yes yes;
    resilience::ItemError<Local, u8>                => no  no  yes;
    resilience::Ended                               => yes yes yes;

    // resilience: names, settings, reload
    resilience::Registry<Unshared>                  => no  no  yes;
    resilience::Registry<u8>                        => yes yes yes;
    resilience::registry::RegistryEvent<u8>         => yes yes yes;
    resilience::registry::RegistryError             => yes yes yes;
    resilience::registry::InsertError<u8>           => yes yes yes;
    resilience::config::StackSettings               => yes yes yes;
    resilience::config::StandardStack               => yes yes yes;
    resilience::config::SettingsError               => yes yes yes;
    resilience::config::EnvError                    => yes yes yes;
    resilience::config::Reloadable<resilience::config::StandardStack> => yes yes yes;
    resilience::config::Reader<resilience::config::StandardStack>     => yes yes yes;
    resilience::config::ReloadEvent<u8>             => yes yes yes;
    resilience::registry::RegistryBuilder<u8>       => yes yes yes;
    resilience::registry::RegistryBuilder<Unshared> => no  no  yes;
    resilience::config::HedgedSettings              => yes yes yes;
    resilience::config::HedgedStack                 => yes yes yes;
    resilience::config::StandardPolicies            => yes yes yes;
    resilience::config::NoHedge                     => yes yes yes;
    resilience::config::HedgeSettings               => yes yes yes;
    resilience::config::HedgeDelay                  => yes yes yes;
    resilience::config::BackoffShape                => yes yes yes;
    resilience::config::BackoffSettings             => yes yes yes;
    resilience::config::BreakerSettings             => yes yes yes;
    resilience::config::BulkheadSettings            => yes yes yes;
    resilience::config::OrderSettings               => yes yes yes;
    resilience::config::RetrySettings               => yes yes yes;
    resilience::config::BudgetSettings              => yes yes yes;
    resilience::config::ThrottleSettings            => yes yes yes;
    resilience::config::Problem                     => yes yes yes;

    // resilience: the circuit breaker
    CircuitBreaker                              => yes yes yes;
    breaker::Builder                            => yes yes yes;
    breaker::BreakerStats                       => yes yes yes;
    breaker::WindowCounts                       => yes yes yes;
    breaker::Window                             => yes yes yes;
    breaker::KeyedBreaker<u8>                   => yes yes yes;
    breaker::KeyedBreakerBuilder<u8>            => yes yes yes;
    breaker::KeyedOpen                          => yes yes yes;
    breaker::BreakerEvent                       => yes yes yes;
    breaker::Trigger                            => yes yes yes;
    breaker::State                              => yes yes yes;
    breaker::Outcome                            => yes yes yes;
    breaker::OnCancel                           => yes yes yes;
    breaker::OnOverdue                          => yes yes yes;
    breaker::Trip                               => yes yes yes;
    breaker::Open                               => yes yes yes;
    breaker::IllegalTransition                  => yes yes yes;
    breaker::ByDefault                          => yes yes yes;
    breaker::Classified<u8>                     => yes yes yes;
    breaker::Classified<Local>                  => no  no  yes;
    breaker::Guard<&'static CircuitBreaker>     => yes yes yes;
    breaker::OwnedGuard                         => yes yes yes;
    breaker::Guarded<'static, u8, u8>           => yes yes yes;
    breaker::Guarded<'static, Local, u8>        => no  no  yes;
    breaker::Guarded<'static, Pinned, u8>       => yes yes no;
    breaker::Drained<'static>                   => yes no  yes;

    // resilience: owned calls, the limit of a key
    resilience::OwnedCall<u8, u8>               => yes yes yes;
    resilience::OwnedCall<Local, u8>            => no  no  yes;
    resilience::OwnedCall<Unshared, u8>         => no  no  yes;
    resilience::OwnedCall<u8, Local>            => no  no  yes;
    resilience::OwnedCall<u8, Unshared>         => yes no  yes;
    resilience::OwnedCall<u8, Pinned>           => yes yes no;
    resilience::KeyThrottle<u8>                 => yes yes yes;
    resilience::KeyThrottle<Local>              => no  no  yes;
    resilience::KeyThrottleAttempt<'static, u8, u8>     => yes yes no;
    resilience::KeyThrottleAttempt<'static, Local, u8>  => no  no  no;

    // tower
    tower::PolicyLayer<u8>                      => yes yes yes;
    tower::PolicyLayer<Local>                   => no  no  yes;
    tower::PolicyLayer<u8, Local>               => yes yes yes;
    tower::PolicyService<u8, u8, Local>         => yes yes yes;
    tower::PolicyService<Local, u8, u8>         => no  no  yes;
    tower::PolicyService<u8, Local, u8>         => no  no  yes;
    tower::Same<u8>                             => yes yes yes;
    tower::Same<Local>                          => no  no  yes;
    tower::ByRequest<u8, Local>                 => yes yes yes;
    tower::ByRequest<Local, u8>                 => no  no  yes;
    tower::Cloned                               => yes yes yes;
    tower::Moved                                => yes yes yes;
    tower::Spent                                => yes yes yes;
    tower::Fresh<u8, u8>                        => yes yes yes;
    tower::Fresh<Local, u8>                     => no  no  yes;
    tower::Fresh<u8, Local>                     => no  no  yes;
    tower::RequestAttempt<u8, u8, u8, u8>       => yes yes yes;
    tower::RequestAttempt<u8, u8, u8, Local>    => no  no  yes;
    tower::RequestAttempt<u8, u8, u8, Pinned>   => yes yes no;
    tower::RequestAttempt<u8, Local, u8, u8>    => no  no  yes;
    tower::RequestAttempt<u8, Pinned, u8, u8>   => yes yes yes;
    tower::RespondLayer                         => yes yes yes;
    tower::RespondLayer<Local>                  => no  no  yes;
    tower::Standard                             => yes yes yes;
    tower::RespondService<u8, u8>               => yes yes yes;
    tower::RespondService<Local, u8>            => no  no  yes;
    tower::RespondFuture<u8, u8>                => yes yes yes;
    tower::RespondFuture<Local, u8>             => no  no  yes;
    tower::RespondFuture<Pinned, u8>            => yes yes no;

    // pool
    pool::WorkerPool                            => yes yes yes;
    pool::PoolBuilder                           => yes yes yes;
    pool::PoolStats                             => yes yes yes;
    pool::QueueStats                            => yes yes yes;
    pool::ShutdownReport                        => yes yes yes;
    pool::Workers                               => yes no  no;
    pool::Worker                                => yes no  no;
    pool::Driver                                => yes no  yes;
    pool::Shutdown                              => yes no  no;
    pool::Submit<'static, u8>                   => yes no  no;
    pool::Submit<'static, Local>                => no  no  no;
    pool::Submit<'static, u8, pool::Detached>   => yes no  no;
    pool::Submit<'static, u8, pool::Joined, pool::Arranged> => yes no no;
    pool::PoolTask<'static, u8>                 => yes yes yes;
    pool::PoolTask<'static, Local>              => no  no  yes;
    pool::NamedQueue                            => yes yes yes;
    pool::Priority                              => yes yes yes;
    pool::Plain                                 => yes yes yes;
    pool::Arranged                              => yes yes yes;
    pool::Joined                                => yes yes yes;
    pool::Detached                              => yes yes yes;
    pool::SubmitError<u8>                       => yes yes yes;
    pool::SubmitError<Local>                    => no  no  yes;
    pool::JoinHandle<Unshared>                  => yes yes yes;
    pool::JoinHandle<Local>                     => no  no  yes;
    pool::JoinError                             => yes yes yes;
    pool::TaskId                                => yes yes yes;
    pool::SubmitAll<'static, std::vec::IntoIter<std::future::Ready<u8>>, pool::Joined> => yes yes no;
    pool::SubmitAllError<std::vec::IntoIter<u8>, u8> => yes yes yes;
    pool::Threads                               => yes yes yes;
    pool::HandBack                              => yes no  no;
    pool::UnstartedTask                         => yes no  yes;
    pool::TaskPanic<'static>                    => no  no  yes;
    pool::PoolEvent                             => yes yes yes;
    pool::TaskReport                            => yes yes yes;
    pool::Outcome                               => yes yes yes;
    pool::TaskStatus                            => yes yes yes;
    pool::TaskRecord                            => yes yes yes;
    pool::LiveTask                              => yes yes yes;
    pool::ContextStats                          => yes yes yes;
    pool::Reports                               => yes yes yes;
    pool::TaskFuture                            => yes no  yes;
    pool::RetryPolicy<u8>                       => yes yes yes;
    pool::RetryPolicy<Local>                    => yes yes yes;
    pool::Verdict                               => yes yes yes;
    pool::Retried<u8, u8, u8>                   => yes yes yes;
    pool::Retried<Local, u8, u8>                => no  no  yes;
    pool::Retried<u8, Local, u8>                => no  no  yes;
    pool::Retried<u8, Pinned, u8>               => yes yes no;
    pool::DeadLetter                            => yes yes yes;
    pool::DeadLetters<'static>                  => yes yes yes;
    pool::RequeueError                          => yes yes yes;
    pool::Message                               => yes yes yes;
    pool::FrameCodec                            => yes yes yes;
    pool::FrameError                            => yes yes yes;
    pool::MessageError                          => yes yes yes;
    pool::Handlers<u8>                          => yes yes yes;
    pool::Handlers<Local>                       => yes yes yes;
    pool::Handling<u8>                          => yes no  yes;

    // task: batches
    task::Panic                                 => yes yes yes;
    task::Ended                                 => yes yes yes;
    task::ItemError<u8, u8>                     => yes yes yes;
    task::ItemError<u8, Local>                  => no  no  yes;
    task::Items<Pinned>                         => yes yes yes;

    // stream
    stream::Generator<u8, u8, Done<u8>>         => yes yes yes;
    stream::Generator<Unshared, u8, Done<u8>>   => yes yes yes;
    stream::Generator<Local, u8, Done<u8>>      => no  no  yes;
    stream::Generator<u8, Local, Done<u8>>      => no  no  yes;
    stream::Generator<u8, u8, Done<Local>>      => no  no  yes;
    stream::Emitter<Unshared>                   => yes yes yes;
    stream::Emitter<Local>                      => no  no  yes;
    stream::Emit<'static, u8>                   => yes yes yes;
    stream::Emit<'static, Local>                => no  no  yes;
    stream::Emit<'static, Pinned>               => yes yes yes;
    stream::Blocking<u8>                        => yes yes yes;
    stream::Next<'static, u8>                   => yes yes yes;
    stream::Next<'static, Local>                => no  no  yes;
    stream::Collect<BulkItems>                  => yes yes yes;
    stream::CollectN<'static, BulkItems>        => yes yes yes;
    stream::Merge<u8>                           => yes yes yes;
    stream::Merge<Local>                        => no  no  yes;
    stream::Merge<Pinned>                       => yes yes yes;
    stream::MergeAll<BulkItems>                 => yes yes yes;
    stream::OneOf2<u8, u8>                      => yes yes yes;
    stream::OneOf2<u8, Local>                   => no  no  yes;
    stream::OneOf3<u8, u8, Pinned>              => yes yes no;
    stream::OneOf4<u8, u8, u8, u8>              => yes yes yes;
    stream::OneOf5<u8, u8, u8, u8, u8>          => yes yes yes;
    stream::OneOf6<u8, u8, u8, u8, u8, u8>      => yes yes yes;

    // group
    group::TaskGroup<u8>                        => yes yes yes;
    group::TaskGroup<Unshared>                  => yes no  yes;
    group::TaskGroup<Local>                     => no  no  yes;
    group::InPlaceGroup<Done<u8>>               => yes no  yes;
    group::InPlaceGroup<Done<Local>>            => no  no  yes;
    group::GroupStats                           => yes yes yes;
    group::GroupError<u8, u8>                   => yes yes yes;
    group::GroupError<u8, Local>                => no  no  yes;
    group::MemberError                          => yes yes yes;
    group::SpawnError<u8>                       => yes yes yes;
    group::SpawnError<Local>                    => no  no  yes;
    group::Outcome<u8>                          => yes yes yes;
    group::FanOut<u8, u8>                       => yes yes yes;
    group::FanOut<u8, u8, group::Placed>        => yes yes yes;
    group::FanOut<Local, u8>                    => no  no  yes;
    group::ParOrdered<BulkItems, BulkWork>      => yes no  yes;
    group::ParUnordered<BulkItems, BulkWork>    => yes no  yes;
    group::Progress                             => yes yes yes;
    group::Report<u8, u8>                       => yes yes yes;
    group::Plain<u8>                            => yes yes yes;
    group::Fallible<u8>                         => yes yes yes;
    group::Always<Pinned>                       => yes yes no;

    // parallel
    parallel::Parallel                          => yes yes yes;
    parallel::TryMapError<u8>                   => yes yes yes;
    parallel::TryMapError<Local>                => no  no  yes;

    // telemetry
    telemetry::Telemetry                        => yes yes yes;
    telemetry::TelemetryBuilder                 => yes yes yes;
    telemetry::WatchError                       => yes yes yes;
    telemetry::Publisher                        => yes no  no;
    telemetry::Metric                           => yes yes yes;
    telemetry::MetricKind                       => yes yes yes;
    telemetry::Unit                             => yes yes yes;
    telemetry::Label                            => yes yes yes;
    telemetry::Series<'static>                  => yes yes yes;
    telemetry::Level                            => yes yes yes;
    telemetry::Record<'static>                  => no  no  yes;
    telemetry::CallOutcome                      => yes yes yes;
    telemetry::Scope<'static>                   => yes yes yes;
    telemetry::Log                              => yes yes yes;
    telemetry::LabelValues                      => yes yes yes;
    telemetry::Timing                           => yes yes yes;
    telemetry::HistogramSnapshot                => yes yes yes;
    telemetry::Value                            => yes yes yes;
    telemetry::Sample                           => yes yes yes;
    telemetry::Readings<'static>                => no  no  yes;
    telemetry::Collector                        => yes yes yes;
    telemetry::Collected                        => yes yes yes;
    telemetry::Line                             => yes yes yes;
    telemetry::SpanLine                         => yes yes yes;
    telemetry::Instrument                       => yes yes yes;
    telemetry::Instrumented<'static, u8>        => yes yes yes;
    telemetry::Instrumented<'static, Local>     => no  no  yes;
    telemetry::Instrumented<'static, Pinned>    => yes yes no;
    telemetry::LogFacade                        => yes yes yes;
    telemetry::MetricsFacade                    => yes yes yes;
    telemetry::OpenTelemetry                    => yes yes yes;
    telemetry::PrometheusText                   => yes yes yes;
    telemetry::TracingFacade                    => yes yes yes;
    telemetry::TracingCarrier                   => yes yes yes;
    telemetry::OpenTelemetryCarrier             => yes yes yes;
    telemetry::inspect::Inspector               => yes yes yes;
    telemetry::inspect::Inspected               => yes yes yes;
    telemetry::inspect::Inspection<Local>       => yes yes yes;
    telemetry::inspect::View                    => yes yes yes;
    telemetry::inspect::BreakerView             => yes yes yes;
    telemetry::inspect::BreakerChange           => yes yes yes;
    telemetry::inspect::SemaphoreView           => yes yes yes;
    telemetry::inspect::WaiterView              => yes yes yes;
    telemetry::inspect::ConcurrencyView         => yes yes yes;
    telemetry::inspect::LimiterView             => yes yes yes;
    telemetry::inspect::PoolView                => yes yes yes;
    telemetry::inspect::TaskView                => yes yes yes;
    telemetry::inspect::Roster                  => yes yes yes;
    telemetry::inspect::RosterView              => yes yes yes;
    telemetry::inspect::Presence                => yes yes yes;
    telemetry::inspect::Entry                   => yes yes yes;
    telemetry::inspect::Held<u8>                => yes yes yes;
    telemetry::inspect::Held<Local>             => no  no  yes;

    // health
    health::Health                              => yes yes yes;
    health::HealthBuilder                       => yes yes yes;
    health::HealthEvent                         => yes yes yes;
    health::Check                               => yes yes yes;
    health::Kind                                => yes yes yes;
    health::Driver                              => yes no  yes;
    health::Report                              => yes yes yes;
    health::CheckReport                         => yes yes yes;
    health::Status                              => yes yes yes;
    health::Finding                             => yes yes yes;
    health::Reading                             => yes yes yes;
    health::CallsRule                           => yes yes yes;
    health::Baseline                            => yes yes yes;
    health::BaselineBuilder                     => yes yes yes;
    health::BaselineStats                       => yes yes yes;
    health::Resources                           => yes yes yes;
    health::ResourceLimits                      => yes yes yes;
    health::GracefulShutdown                    => yes yes yes;
    health::GracefulShutdownBuilder             => yes no  yes;
    health::Phase                               => yes no  yes;
    health::ShutdownReport                      => yes yes yes;
    health::StepReport                          => yes yes yes;
    health::StepOutcome                         => yes yes yes;
}

type Done<T> = std::future::Ready<Result<T, u8>>;
type BulkItems = resilience::map::Items<std::ops::Range<u8>>;
type BulkUnder = resilience::map::Under<'static, (), fn(u8) -> Done<u8>, resilience::map::Repeat>;
type BulkWork = group::Fallible<fn(u8) -> Done<u8>>;
type Ready = resilience::Once<fn() -> Done<u8>, Done<u8>>;
type NotSend = resilience::Once<fn() -> Done<Local>, Done<Local>>;

// The traits that users implement are those that handles are made of.
assert_obj_safe!(Timer, Spawn, Observe<u8>, health::Healthy, testkit::AtRest);

/// Whole tasks as they are handed to a multi-threaded runtime, with borrows and boxed errors in them. That each future
/// alone is `Send` does not say it: a projection in a field can keep the compiler from seeing it inside a task.
#[test]
fn a_task_that_waits_for_anything_may_be_spawned() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;

    async fn operation(text: &str) -> Result<&'static str, Boxed> {
        if text.is_empty() { Err("nothing".into()) } else { Ok("something") }
    }
    fn spawnable<F: Future<Output: Send> + Send + 'static>(_: F) {}

    let text = || String::from("text");
    let retry = || Retry::builder().build().expect("valid");
    let breaker = || CircuitBreaker::builder().build().expect("valid");
    let bulkhead = || Bulkhead::new(1).expect("valid");
    let timeout = || resilience::Timeout::total(Duration::from_secs(1));

    let (policy, own) = (retry(), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (breaker(), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) =
        (breaker().classify(|_: &Result<&str, resilience::Error<Boxed>>| breaker::Outcome::Success), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (bulkhead(), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let adaptive = || resilience::AdaptiveBulkhead::new(AdaptiveLimiter::new(Fixed(1)).expect("valid"));
    let (policy, own) = (adaptive(), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (resilience::Fallback::value("another"), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (chaos::Chaos::builder().latency(0.5, Duration::ZERO).build(), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (bulkhead(), text());
    spawnable(async move {
        let _place = policy.acquire().await;
        policy.call_with_place(|_place| operation(&own)).await.is_ok()
    });
    let (cache, own) = (cache::Cache::<String, String, u8>::new(1).expect("valid"), text());
    spawnable(async move {
        let load = || async { operation(&own).await.map(str::to_owned).map_err(|_| 1) };
        let _ = cache.get_or_load("key", load).await;
        let _ = cache.loader(|key| async move { Ok(key) }).get(own.as_str()).await;
        Stack::new().layer(cache.at(own.clone())).call(load).await.is_ok()
    });
    let (policy, own) = (timeout(), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let stack = Stack::new().timeout(timeout()).retry(retry()).breaker(breaker()).bulkhead(bulkhead());
    let (policy, own) = (Arc::new(stack), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (Stack::new().layer(Some(retry())).layer(Arc::new(bulkhead())), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) =
        (Arc::new(Stack::new().timeout(timeout()).retry(retry()).bulkhead(bulkhead())), text());
    let own = Arc::new(own);
    spawnable(policy.call_owned(move || {
        let own = Arc::clone(&own);
        async move { operation(&own).await }
    }));
    let own = text();
    spawnable(async move { policy.call_owned(|| operation(&own)).await });
    let by_key = limit::Keyed::<String>::new("100/s".parse().expect("valid"));
    let (policy, own) = (Stack::new().layer(resilience::KeyThrottle::new(by_key, text())), text());
    spawnable(async move { policy.call(|| operation(&own)).await });
    let (policy, own) = (Stack::new().timeout(timeout()).breaker(breaker()), text());
    spawnable(async move { policy.call_once(|| operation(&own)).await });

    let (health, shutdown) = (health::Health::new(), health::GracefulShutdown::builder().build());
    spawnable(async move { drop((health.check_now().await, shutdown.run().await)) });

    let (semaphore, own) = (Semaphore::new(1), text());
    spawnable(async move {
        let _permit = semaphore.acquire_timeout(Duration::from_secs(1)).await;
        operation(&own).await
    });
    let (bucket, own) = (limit::TokenBucket::new("100/s".parse().expect("valid")), text());
    spawnable(async move {
        let _ = bucket.acquire_timeout(Duration::from_secs(1)).await;
        operation(&own).await
    });
    let (limiter, adaptive, own) =
        (ConcurrencyLimiter::new(1).expect("valid"), AdaptiveLimiter::new(Fixed(1)).expect("valid"), text());
    spawnable(async move {
        let _permit = limiter.acquire_timeout(Duration::from_secs(1)).await;
        let _guard = adaptive.acquire().await;
        operation(&own).await
    });
    let (limiter, own) = (limit::Keyed::<String>::new("100/s".parse().expect("valid")), text());
    spawnable(async move {
        let _ = limiter.acquire_timeout(&own, Duration::from_secs(1)).await;
        operation(&own).await
    });
    let ((workers, crew), own) = (pool::WorkerPool::builder().build().expect("valid"), text());
    spawnable(async move {
        let task = workers.submit(async move { operation(&own).await }).await;
        let _ = workers.execute(async {}).await;
        let _ = workers.drain().await;
        drop(crew);
        task.is_ok()
    });
    let ((sender, receiver), own) = (sync::channel::<Boxed>(1).expect("valid"), text());
    spawnable(async move {
        let _ = sender.send_timeout(own.as_str().into(), Duration::ZERO).await;
        let _ = receiver.recv_timeout(Duration::ZERO).await;
        let _ = receiver.recv_many(&mut Vec::new(), 3).await;
    });
    let ((mut sender, receiver), own) = (sync::oneshot::channel::<Boxed>(), text());
    spawnable(async move {
        sender.closed().await;
        let _ = receiver.await;
        own.len()
    });
    let (token, context, gate, own) =
        (sync::CancelToken::new(), sync::Context::background(), sync::Gate::new(true), text());
    spawnable(async move {
        gate.wait().await;
        let _ = token.run(operation(&own)).await;
        let _ = context.run(operation(&own)).await;
        time::timeout(Duration::from_secs(1), context.scope(operation(&own))).await.is_ok()
    });
}

/// Whatever the policies: a stack is handed about by cloning it.
#[test]
fn a_stack_of_all_policies_is_cloned_and_shares_what_they_hold() {
    fn clone_of<T: Clone>(it: &T) -> T {
        it.clone()
    }
    let bulkhead = Bulkhead::new(1).expect("valid");
    let bucket = limit::TokenBucket::new("2/h".parse().expect("valid"));
    let stack = Stack::new()
        .timeout(resilience::Timeout::total(Duration::from_secs(1)))
        .retry(Retry::builder().max_attempts(1).build().expect("valid"))
        .breaker(CircuitBreaker::new())
        .throttle(resilience::Throttle::new(bucket))
        .bulkhead(bulkhead.clone());
    let other = clone_of(&stack);
    let mut running = testkit::Polled::new(stack.call(std::future::pending::<Result<(), ()>>));
    assert!(running.poll().is_none());
    assert_eq!(bulkhead.stats().running, 1);
    let ok = || async { Ok::<_, ()>(()) };
    assert!(futures_executor::block_on(other.call(ok)).is_err_and(|error| error.is_full()));
    assert!(futures_executor::block_on(other.call(ok)).is_err_and(|error| error.is_rate_limited()));
}

/// Nameable only by the sealed traits that they are for.
const SEALED: &[&str] = &[
    "Refused", "Intake", "Want", "Ask", "Entry", "Counts", "Chain", "Plan", "Knock", "Packed", "Params",
    "Step", "Terms", "Delay", "Because", "Prepared",
];

/// Nobody adds a type and forgets to say what it is.
#[test]
fn every_public_type_is_in_the_table() {
    let table = include_str!("auto_traits.rs");
    let (_, table) = table.split_once("\ntable! {").expect("the table");
    let (table, _) = table.split_once("\n}\n").expect("its end");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let known: std::collections::BTreeSet<_> =
        table.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let mut missing = Vec::new();
    for (file, line) in crate::architecture::code_lines("src") {
        for start in ["pub struct ", "pub enum ", "pub union ", "pub type "] {
            if let Some(rest) = line.trim_start().strip_prefix(start) {
                let name = rest.split(|c: char| !is_word(c)).next().unwrap_or_default();
                // What a macro makes has its name where the macro is used: those are in the table by hand.
                if rest.starts_with('$') {
                    continue;
                }
                if !known.contains(name) && !SEALED.contains(&name) {
                    missing.push(format!("{name} ({file})"));
                }
            }
        }
    }
    assert_eq!(missing, [""; 0], "each needs a row");
}
