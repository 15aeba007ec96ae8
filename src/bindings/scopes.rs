//! The scopes that calls through one `RateLimiter` fall under, its tenants' caps included.
//! Values only: looked up when a call asks, since a cap is forgotten while nobody uses it.

use std::collections::HashMap;
use std::sync::Arc;

use super::quota::Quota;
use super::waiter::Waiter;
use crate::error::Result;
use crate::limiter::Limiter;
use crate::queue::ClassId;
use crate::scope::{Path, ScopeId};

/// The entry of `tenants` for those who have none of their own.
const ANYBODY: &str = "*";
/// Said where a path cannot be too deep.
pub(super) const DEPTH_CHECKED: &str = "the depth is checked when a limiter is made";

/// One limiter's scope inside those around it.
pub(super) struct Scopes {
    pub(super) name: String,
    pub(super) scope: ScopeId,
    /// Without caps.
    pub(super) path: Path,
    pub(super) class: ClassId,
    pub(super) tenants: HashMap<String, Quota>,
    pub(super) outer: Option<Arc<Self>>,
}

impl Scopes {
    /// All scopes that a tenant's calls fall under, where no cap of its own is among them.
    #[inline]
    pub(super) fn fixed_path(&self, tenant: &str) -> Option<&Path> {
        (tenant.is_empty() || !self.is_capped()).then_some(&self.path)
    }

    /// All scopes that a tenant's calls fall under.
    pub(super) fn path_of(&self, limiter: &Limiter<Arc<Waiter>>, tenant: &str) -> Result<Path> {
        if let Some(path) = self.fixed_path(tenant) {
            return Ok(*path);
        }
        let inner = match &self.outer {
            Some(outer) => outer.path_of(limiter, tenant)?.with(self.scope).expect(DEPTH_CHECKED),
            None => Path::of(self.scope),
        };
        let Some(quota) = self.tenants.get(tenant).or_else(|| self.tenants.get(ANYBODY)) else {
            return Ok(inner);
        };
        let cap = limiter.cap(&format!("{}/tenant:{tenant}", self.name), &quota.0)?;
        Ok(inner.with(cap).expect(DEPTH_CHECKED))
    }

    /// How deep the deepest path is.
    pub(super) fn depth(&self) -> usize {
        1 + usize::from(!self.tenants.is_empty()) + self.outer.as_ref().map_or(0, |outer| outer.depth())
    }

    fn is_capped(&self) -> bool {
        !self.tenants.is_empty() || self.outer.as_ref().is_some_and(|outer| outer.is_capped())
    }
}
