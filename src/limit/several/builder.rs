//! Which quotas hold together, and what they are called.

use super::{NAME, Several, Tier};
use crate::ConfigError;
use crate::limit::{Gcra, Quota};

/// Puts the quotas of a [`Several`] together.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct SeveralBuilder {
    tiers: Vec<Tier>,
}

impl SeveralBuilder {
    /// One more quota.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.tiers.push(Tier { name: None, gcra: Gcra::new(quota) });
        self
    }

    /// One more quota, with a name.
    pub fn named(mut self, name: impl Into<String>, quota: Quota) -> Self {
        self.tiers.push(Tier { name: Some(name.into().into()), gcra: Gcra::new(quota) });
        self
    }

    /// The quotas, to be decided together.
    ///
    /// # Errors
    /// No quota at all, or two of one name.
    pub fn build(self) -> Result<Several, ConfigError> {
        if self.tiers.is_empty() {
            return Err(ConfigError::new(NAME, "quotas", 0, "must be at least 1"));
        }
        for (index, tier) in self.tiers.iter().enumerate() {
            if let Some(name) = &tier.name {
                if self.tiers.iter().take(index).any(|other| other.name.as_ref() == Some(name)) {
                    return Err(ConfigError::new(NAME, "name", name, "must not be given twice"));
                }
            }
        }
        Ok(Several { tiers: self.tiers.into() })
    }
}
