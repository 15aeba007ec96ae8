//! What a limiter tells of itself. Values only.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Time;
use crate::quota::Dimension;
use crate::store::{Condition, ScopeStatus};

/// A scope as it stands, with those who wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The scope's buckets and permits.
    pub scope: ScopeStatus,
    /// Calls waiting that fall under the scope, by tenant.
    pub waiting: BTreeMap<Arc<str>, usize>,
    /// Why the head of the queue waits.
    pub head: Option<Head>,
    /// Whether what processes share can be reached; None where nothing is shared.
    pub store: Option<Condition>,
    /// When this was.
    pub now: Time,
}

/// What the head of the queue waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose call it is.
    pub tenant: Arc<str>,
    /// The scope without room.
    pub scope: Arc<str>,
    /// Its dimension without room.
    pub dimension: Dimension,
    /// When there is room; None where that depends on a permit somebody holds.
    pub ready_at: Option<Time>,
}
