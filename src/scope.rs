//! Whose quota it is: scopes by number, the path of scopes that a call falls under, and what blocks one.
//! Values alone: what stands behind a number is the store's business.

use crate::clock::Time;
use crate::quota::Dimension;

/// A scope known to a store, which gives out the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub(crate) u32);

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

/// What kind of obstacle it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A dimension has no room.
    Room,
    /// The scope is paused: the provider said so.
    Pause,
    /// The scope is paused for longer than callers are willing to wait.
    LongPause,
}

/// What stands in the way, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What kind of obstacle it is.
    pub cause: Cause,
    /// The scope without room.
    pub scope: ScopeId,
    /// Its dimension without room, the last one to have room if there are several.
    pub dimension: Dimension,
    /// When all dimensions have room, or the time that the provider named; None where that depends on a permit somebody holds.
    pub ready_at: Option<Time>,
    /// When to ask again although nothing was given back: at `ready_at`, when the next lease expires, or when a
    /// pause is put to the test.
    pub ask_again_at: Time,
}
