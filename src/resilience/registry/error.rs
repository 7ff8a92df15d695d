//! Why a registry has nothing of a name, or does not take what it is given.

use super::MOST_NAMES;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A component of this name could not be made.
///
/// ```
/// use cofferdam::resilience::registry::Registry;
/// use cofferdam::resilience::Bulkhead;
/// use std::error::Error;
///
/// let registry = Registry::new(|_| Bulkhead::new(0));
/// let error = registry.get_or_create("orders").unwrap_err();
/// assert_eq!(error.to_string(), "registry: \"orders\" could not be made");
/// assert_eq!(error.source().unwrap().to_string(), "bulkhead: running = 0: must be at least 1");
/// ```
#[derive(Debug)]
pub struct RegistryError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// There may be so many.
    Full(usize),
    Names,
    Failed(Box<dyn Error + Send + Sync>),
}

impl RegistryError {
    pub(super) fn full(name: &str, most: usize) -> Self {
        Self(Box::new(Inner { name: name.to_owned(), why: Why::Full(most) }))
    }

    pub(super) fn names(name: &str) -> Self {
        Self(Box::new(Inner { name: name.to_owned(), why: Why::Names }))
    }

    pub(super) fn failed(name: &str, error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Box::new(Inner { name: name.to_owned(), why: Why::Failed(error) }))
    }

    /// The name that was asked for.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether there are as many names as there may be, in the registry or in the process.
    pub fn is_full(&self) -> bool {
        matches!(self.0.why, Why::Full(_) | Why::Names)
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, why } = &*self.0;
        match why {
            Why::Full(most) => write!(f, "registry: no room for {name:?}, all {most} names are taken"),
            Why::Names => {
                write!(f, "registry: no room for {name:?}, all {MOST_NAMES} names of the process are taken")
            }
            Why::Failed(_) => write!(f, "registry: {name:?} could not be made"),
        }
    }
}

impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.why {
            Why::Full(_) | Why::Names => None,
            Why::Failed(error) => Some(&**error),
        }
    }
}

/// A component was not taken in: here it is.
pub struct InsertError<C> {
    pub(super) name: String,
    pub(super) component: Arc<C>,
    /// How many names there may be; `None`: the name is taken.
    pub(super) full: Option<usize>,
}

impl<C> InsertError<C> {
    /// The name that it was to have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is one of that name already.
    pub fn is_taken(&self) -> bool {
        self.full.is_none()
    }

    /// Whether there are as many names as there may be.
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// The component.
    pub fn into_inner(self) -> Arc<C> {
        self.component
    }
}

impl<C> fmt::Debug for InsertError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InsertError")
            .field("name", &self.name)
            .field("full", &self.full)
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Display for InsertError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.full {
            None => write!(f, "registry: there is a {name:?} already"),
            Some(most) => write!(f, "registry: no room for {name:?}, all {most} names are taken"),
        }
    }
}

impl<C> Error for InsertError<C> {}
