//! Where the state of all scopes lives: one trait, each method one atomic step that brings its own time.
//! A store decides about the call it is asked about. Who asks next is the queue's business.

mod book;
mod memory;

use std::collections::HashSet;
use std::sync::Arc;

pub use memory::MemoryStore;

use crate::clock::Time;
use crate::error::{Ended, Misfit, Result};
use crate::quota::{Amounts, Limit, Quota};
use crate::scope::{Blocked, Path, ScopeId};

/// A live claim on all scopes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    slot: u32,
    generation: u32,
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

    /// Makes the scope of that name known for as long as it is in use: with permits held, a bucket not full, or one of the
    /// `awaited`, who are asked for only when idle caps are looked for.
    fn cap(&self, name: &str, quota: &Quota, awaited: &dyn Fn() -> HashSet<ScopeId>) -> ScopeId;

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
