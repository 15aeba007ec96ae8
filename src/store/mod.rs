//! Where the state of all scopes lives: one trait, each method one atomic step that brings its own time.
//! A store decides about the call it is asked about. Who asks next is the queue's business.

mod book;
mod memory;

use std::sync::Arc;

pub use memory::MemoryStore;

use crate::clock::Time;
use crate::error::{Ended, Misfit, Result};
use crate::quota::{Amounts, Dimension, Limit, Quota};

/// A scope known to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(u32);

/// A live claim on all scopes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    slot: u32,
    generation: u32,
}

/// How many scopes one call can fall under.
pub const MAX_DEPTH: usize = 8;

/// The scopes that a call falls under, outermost first; no scope twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    scopes: [ScopeId; MAX_DEPTH],
    len: usize,
}

impl Path {
    /// A path of one scope.
    #[must_use]
    pub const fn of(scope: ScopeId) -> Self {
        Self { scopes: [scope; MAX_DEPTH], len: 1 }
    }

    /// This path with one scope more inside it; None if it is [`MAX_DEPTH`] deep already.
    #[must_use]
    pub fn with(mut self, scope: ScopeId) -> Option<Self> {
        *self.scopes.get_mut(self.len)? = scope;
        self.len += 1;
        Some(self)
    }

    /// The scopes, outermost first.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeId] {
        &self.scopes[..self.len]
    }
}

/// The answer to a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All dimensions of all scopes are charged, and the permits taken.
    Granted(LeaseId),
    /// Nothing is changed: there is no room yet.
    Wait(Blocked),
    /// Nothing is changed: there never will be room.
    Never(Misfit),
}

/// What stands in the way, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The scope without room.
    pub scope: ScopeId,
    /// Its dimension without room, the last one to have room if there are several.
    pub dimension: Dimension,
    /// When all dimensions have room; None where that depends on a permit somebody holds.
    pub ready_at: Option<Time>,
    /// When to ask again although nothing was given back: at `ready_at`, or when the next lease expires.
    pub ask_again_at: Time,
}

/// One limit as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// The limit.
    pub limit: Limit,
    /// What is left of its burst; negative for a debt.
    pub remaining: i64,
    /// When its burst is whole again.
    pub full_at: Time,
}

/// A scope as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its limits.
    pub limits: Vec<LimitStatus>,
    /// Its permits, if bounded.
    pub concurrency: Option<u32>,
    /// Its permits held.
    pub in_flight: u32,
}

/// The state of all scopes.
pub trait Store: Send + Sync {
    /// The store's time.
    fn now(&self) -> Time;

    /// Makes the scope of that name known, or sets its quota anew; what is used stays used.
    fn configure(&self, name: &str, quota: &Quota) -> ScopeId;

    /// Makes the scope of that name known for as long as it is in use: with permits held, a bucket not full, or `is_awaited`.
    fn cap(&self, name: &str, quota: &Quota, is_awaited: &dyn Fn(ScopeId) -> bool) -> ScopeId;

    /// The scope of that name, if it is known.
    fn known(&self, name: &str) -> Option<ScopeId>;

    /// Takes `amounts` and one permit from all scopes of the path, or nothing.
    fn reserve(&self, path: &Path, amounts: &Amounts) -> Decision;

    /// The earliest time at which the rates of the path have room for `amounts` after `ahead` was charged, and
    /// which of them is the last to have it; None where there is room already. Permits are not looked at.
    ///
    /// # Errors
    /// [`Error::NeverFits`](crate::error::Error::NeverFits) for more than a limit could ever grant.
    fn earliest(&self, path: &Path, ahead: &Amounts, amounts: &Amounts) -> Result<Option<Blocked>>;

    /// Ends a lease; `actual` replaces what was reserved.
    ///
    /// # Errors
    /// How the lease ended, if it is over.
    fn settle(&self, lease: LeaseId, actual: &Amounts) -> std::result::Result<(), Ended>;

    /// Sets the lease's expiry anew.
    ///
    /// # Errors
    /// How the lease ended, if it is over.
    fn renew(&self, lease: LeaseId) -> std::result::Result<(), Ended>;

    /// The scope as it stands.
    fn status(&self, scope: ScopeId) -> ScopeStatus;

    /// Drops all leases without giving their amounts back: in a forked child they are the parent's.
    fn forget_leases(&self);
}
