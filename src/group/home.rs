//! Where spawned work runs.

#[cfg(feature = "pool")]
use crate::pool::WorkerPool;
use crate::task::{BoxTask, Spawn};
use std::fmt;
use std::sync::Arc;

/// An executor, or the workers of a pool.
#[derive(Clone)]
pub(super) enum Home {
    Spawner(Arc<dyn Spawn>),
    #[cfg(feature = "pool")]
    Pool(WorkerPool),
}

impl Home {
    pub(super) fn spawner(spawner: impl Spawn + 'static) -> Self {
        Self::Spawner(Arc::new(spawner))
    }

    /// Hands a task over that may wait for its turn. A pool without room: what must be polled to get it in, and gives it up
    /// where the pool refuses it for another reason.
    pub(super) fn start(&self, task: BoxTask) -> Option<BoxTask> {
        match self {
            Self::Spawner(spawner) => {
                spawner.spawn(task);
                None
            }
            #[cfg(feature = "pool")]
            Self::Pool(pool) => match pool.try_execute(task) {
                Ok(()) => None,
                Err(refused) if refused.is_full() => {
                    let (pool, task) = (pool.clone(), refused.into_inner());
                    Some(Box::pin(async move { drop(pool.execute(task).await) }))
                }
                Err(_) => None,
            },
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawner(_) => f.write_str("Spawner"),
            #[cfg(feature = "pool")]
            Self::Pool(pool) => f.debug_tuple("Pool").field(&pool.name()).finish(),
        }
    }
}
