//! Where the state of all scopes lives: one trait, each method one atomic step that brings its own time.
//! A store decides about the call it is asked about. Who asks next is the queue's business.

mod book;
mod condition;
mod health;
mod memory;
mod meter;
mod outage;
pub mod purses;
mod redis;
pub mod retries;
mod scope;
mod sqlite;
#[cfg(test)]
mod through_bytes;
#[cfg(test)]
mod through_outage;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub use condition::{Condition, Turn, TurnKind};
pub use memory::MemoryStore;
pub use outage::Policy;
pub use redis::{
    Bell, Inside, RedisStore, close_gate, end_redis, leave_all_redis, leave_purses, open_gate, pulse_purses,
    purses_at, redis_turns, tell_at_once,
};
pub(crate) use sqlite::insist;
pub use sqlite::{SqlitePurses, SqliteStore, before_fork, leave_all, pulse_all, purses_in, turns};

use crate::bytes::bytes_of_variants;
use crate::clock::Time;
use crate::error::{Misfit, Result};
use crate::pace::{Setback, Told};
use crate::quota::{Amounts, Limit, Quota};
use crate::scope::{Blocked, Path, ScopeId};

/// How long the place of a process that does not ask any more is kept in the line of those that share a scope.
const PLACE_KEPT: Duration = Duration::from_millis(750);

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

/// Who says how large a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user.
    Configured,
    /// The provider, in the headers of its answers.
    Learned,
    /// Nobody: it was found by refusals.
    Assumed,
}

bytes_of_variants!(Source [Configured, Learned, Assumed]);

impl Source {
    /// The name users read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Learned => "learned",
            Self::Assumed => "assumed",
        }
    }
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
    /// Who says so.
    pub source: Source,
    /// What the user grants, which may be more.
    pub configured: Option<u64>,
    /// Since when the limit is what it is; None if from the beginning.
    pub since: Option<Time>,
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
    /// How many may be held while the provider is overloaded, or unknown.
    pub adapted_concurrency: Option<u32>,
    /// Its permits held.
    pub in_flight: u32,
    /// When the provider says that its quota has room again, if the scope is paused.
    pub paused_until: Option<Time>,
}

/// The state of all scopes.
pub trait Store: Send + Sync {
    /// The store's time.
    fn now(&self) -> Time;

    /// Makes the scope of that name known, or sets its quota anew; what is used stays used.
    ///
    /// # Errors
    /// [`Error::Store`](crate::error::Error::Store), here and below, if the state cannot be reached and the [`Policy`] decides nothing
    /// without it: then nothing is changed.
    fn configure(&self, name: &str, quota: &Quota) -> Result<ScopeId>;

    /// Starts a scope without any limits with few calls at once, until something is known.
    ///
    /// # Errors
    /// The store's.
    fn be_careful(&self, scope: ScopeId) -> Result<()>;

    /// Makes the scope of that name known for as long as it is in use: with permits held, a bucket not full, or one of the
    /// `awaited`, who are asked for only when idle caps are looked for.
    ///
    /// # Errors
    /// The store's.
    fn cap(&self, name: &str, quota: &Quota, awaited: &dyn Fn() -> HashSet<ScopeId>) -> Result<ScopeId>;

    /// The scope of that name, if it is known.
    fn known(&self, name: &str) -> Option<ScopeId>;

    /// The name of a scope that is known.
    fn name(&self, scope: ScopeId) -> Arc<str>;

    /// Takes `amounts` and one permit from all scopes of the path, or nothing.
    ///
    /// # Errors
    /// The store's.
    fn reserve(&self, path: &Path, amounts: &Amounts) -> Result<Decision>;

    /// A call that was refused waits on, so that calls of other processes do not pass it. To be said anew each time that it is
    /// refused; whoever falls silent loses the place.
    ///
    /// # Errors
    /// The store's.
    fn wait(&self, _blocked: &Blocked, _amounts: &Amounts) -> Result<()> {
        Ok(())
    }

    /// Nobody waits any more in this process.
    fn leave(&self) {}

    /// The earliest time at which the rates of the path have room for `amounts` after `ahead` was charged, and
    /// which of them is the last to have it; None where there is room already. Permits are not looked at.
    ///
    /// # Errors
    /// [`Error::NeverFits`](crate::error::Error::NeverFits) for more than a limit could ever grant.
    fn earliest(&self, path: &Path, ahead: &Amounts, amounts: &Amounts) -> Result<Option<Blocked>>;

    /// Takes over what the answer to a call tells of the limits of its innermost scope that is no cap;
    /// whether one of them has changed.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`](crate::error::Error::LeaseEnded) if it is over.
    fn learn(&self, lease: LeaseId, told: &[Told]) -> Result<bool>;

    /// Ends the lease of a call that has its answer; `actual` replaces what was reserved.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`](crate::error::Error::LeaseEnded) if it is over.
    fn settle(&self, lease: LeaseId, actual: &Amounts) -> Result<()>;

    /// Ends the lease of a call that has none; `kept` replaces what was reserved. What it ran into concerns the innermost scope
    /// that is no cap. Returns when the lease was granted.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`](crate::error::Error::LeaseEnded) if it is over.
    fn fail(&self, lease: LeaseId, kept: &Amounts, setback: &Setback) -> Result<Time>;

    /// Sets the lease's expiry anew.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`](crate::error::Error::LeaseEnded) if it is over.
    fn renew(&self, lease: LeaseId) -> Result<()>;

    /// The scope as it stands.
    ///
    /// # Errors
    /// The store's.
    fn status(&self, scope: ScopeId) -> Result<ScopeStatus>;

    /// Whether what processes share can be reached; None where nothing is shared.
    fn condition(&self) -> Option<Condition> {
        None
    }

    /// Drops all leases without giving their amounts back: in a forked child they are the parent's.
    fn forget_leases(&self);

    /// This store, if it is a round trip away: then `reserve` and `status` wait for it, and nothing else does.
    fn remote(&self) -> Option<&dyn Remote> {
        None
    }
}

/// A store that is a round trip away, as the one sees it who asks it for everybody.
pub trait Remote: Send + Sync {
    /// Tells the store what was ended since, and asks it for all of these, in this order: where one has no room, no later one of the same
    /// scope passes it. Waits for the answers.
    fn ask(&self, asked: &[(Path, Amounts)]) -> Vec<Result<Decision>>;

    /// Tells it what is still to be told, and gives back all that this process holds there.
    ///
    /// # Errors
    /// The store's; what could not be given back comes back when this process is missed.
    fn bye(&self) -> Result<()>;

    /// When it has to be asked though nobody waits: this process has to say that it is there.
    fn due_at(&self) -> Time;

    /// Rung when there is something to do.
    fn bell(&self) -> Arc<Bell>;

    /// Keeps a fork, which waits for its end, from finding a lock that is held in here.
    fn enter(&self) -> Inside;
}
