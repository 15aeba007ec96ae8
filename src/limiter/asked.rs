//! What a limiter is asked for, and what it answers. Values only.

use crate::clock::Time;
use crate::error::Result;
use crate::queue::{ClassId, TenantId, Ticket};
use crate::quota::Amounts;
use crate::scope::Path;
use crate::store::LeaseId;

/// A live claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) id: LeaseId,
    /// Whose share was charged; None while nobody was told apart.
    pub(super) tenant: Option<TenantId>,
    pub(super) amounts: Amounts,
}

impl Lease {
    /// What was reserved.
    #[must_use]
    pub const fn amounts(&self) -> &Amounts {
        &self.amounts
    }
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its class, from [`Limiter::class`](super::Limiter::class).
    pub class: ClassId,
    /// All scopes it falls under: its class's and its tenant's caps.
    pub path: &'a Path,
    /// Whose share of the quota it takes; empty for nobody in particular.
    pub tenant: &'a str,
    /// Steps of head start among the calls of its tenant.
    pub priority: i8,
    /// What it asks.
    pub amounts: Amounts,
    /// When it would rather be refused.
    pub deadline: Option<Time>,
    /// When it first came, if this is another attempt: it stands where it stood. None for a call that comes now.
    pub since: Option<Time>,
}

/// The answer to [`Limiter::acquire`](super::Limiter::acquire).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go.
    Granted(Lease),
    /// Wait; [`Limiter::poll`](super::Limiter::poll) will tell.
    Queued {
        /// The place.
        ticket: Ticket,
        /// Whether somebody has to poll now: it may start or be refused, or has to be refused before anybody would look again.
        poll_now: bool,
    },
}

/// What [`Limiter::poll`](super::Limiter::poll) found.
#[derive(Debug)]
pub struct Poll<W> {
    /// Who waits no longer, in the order of admission: with a lease, or refused.
    pub done: Vec<(W, Result<Lease>)>,
    /// When to poll again though nobody gives anything back.
    pub wake_at: Option<Time>,
}
