//! What a hub can wait for: a limiter or a throttle, behind one face.

use std::sync::Arc;

use super::scopes::Scopes;
use super::waiter::Waiter;
use crate::clock::Time;
use crate::error::Result;
use crate::limiter::{self, Admission, Limiter, Request};
use crate::pace::{Setback, Told};
use crate::queue::Ticket;
use crate::quota::Amounts;
use crate::store::Remote;
use crate::throttle::{self, Throttle, Turn};

/// Who decides.
pub(super) enum Engine {
    Limiter(Limiter<Arc<Waiter>>),
    Throttle(Throttle<Arc<Waiter>>),
}

/// What a caller asks for.
#[derive(Clone)]
pub(super) enum Ask {
    Limiter { scopes: Arc<Scopes>, tenant: Option<Box<str>>, priority: i8, amounts: Amounts },
    Throttle { key: Box<str> },
}

/// How a held grant ends; amounts replace what was reserved, None keeps it.
pub(super) enum Ending<'a> {
    Answered(&'a Amounts),
    Failed(Option<&'a Amounts>, Setback),
}

/// What a caller got.
#[derive(Clone)]
pub(super) enum Grant {
    Lease(limiter::Lease),
    Turn(Box<str>),
}

/// Where a caller waits.
pub(super) enum Place {
    Queue(Ticket),
    Line(throttle::Place),
}

/// Whether a caller may go.
pub(super) enum Start {
    Now(Grant),
    Later {
        place: Place,
        /// Whether pumping now may start it, or refuse it.
        poll_now: bool,
    },
}

/// Who waits no longer, and when to look again.
pub(super) type Poll = (Vec<(Arc<Waiter>, Result<Grant>)>, Option<Time>);

impl Engine {
    pub(super) fn now(&self) -> Time {
        match self {
            Self::Limiter(limiter) => limiter.now(),
            Self::Throttle(throttle) => throttle.now(),
        }
    }

    pub(super) fn start(
        &self,
        ask: &Ask,
        deadline: Option<Time>,
        since: Option<Time>,
        waiter: impl FnOnce() -> Arc<Waiter>,
    ) -> Result<Start> {
        match (self, ask) {
            (Self::Limiter(limiter), Ask::Limiter { .. }) => {
                match with_request(limiter, ask, (deadline, since), |request| {
                    limiter.acquire(request, waiter)
                })? {
                    Admission::Granted(lease) => Ok(Start::Now(Grant::Lease(lease))),
                    Admission::Queued { ticket, poll_now } => {
                        Ok(Start::Later { place: Place::Queue(ticket), poll_now })
                    }
                }
            }
            (Self::Throttle(throttle), Ask::Throttle { key }) => {
                match throttle.acquire(key, deadline, waiter)? {
                    Turn::Now => Ok(Start::Now(Grant::Turn(key.clone()))),
                    Turn::Later(place) => Ok(Start::Later { place: Place::Line(place), poll_now: false }),
                }
            }
            _ => unreachable!("an engine is asked for what it gives"),
        }
    }

    pub(super) fn try_start(&self, ask: &Ask) -> Result<Grant> {
        match (self, ask) {
            (Self::Limiter(limiter), Ask::Limiter { .. }) => {
                with_request(limiter, ask, (None, None), |request| limiter.try_acquire(request))
                    .map(Grant::Lease)
            }
            _ => unreachable!("a throttle is tried by its key"),
        }
    }

    pub(super) fn poll(&self) -> Poll {
        match self {
            Self::Limiter(limiter) => {
                let poll = limiter.poll();
                let done = poll.done.into_iter().map(|(waiter, result)| (waiter, result.map(Grant::Lease)));
                (done.collect(), poll.wake_at)
            }
            Self::Throttle(throttle) => {
                let (turns, wake_at) = throttle.poll();
                let done = turns.into_iter().map(|(key, waiter)| (waiter, Ok(Grant::Turn((*key).into()))));
                (done.collect(), wake_at)
            }
        }
    }

    /// The store, if it is a round trip away.
    pub(super) fn remote(&self) -> Option<&dyn Remote> {
        match self {
            Self::Limiter(limiter) => limiter.remote(),
            Self::Throttle(_) => None,
        }
    }

    /// When somebody who waits has to look; never, where an agent does.
    pub(super) fn wake_at(&self) -> Option<Time> {
        match self {
            Self::Limiter(limiter) if limiter.remote().is_some() => None,
            Self::Limiter(limiter) => limiter.wake_at(),
            Self::Throttle(throttle) => throttle.wake_at(),
        }
    }

    /// Gives a place up; what was in it is dropped by the caller, outside all locks.
    pub(super) fn cancel(&self, place: &Place) -> Option<Arc<Waiter>> {
        match (self, place) {
            (Self::Limiter(limiter), Place::Queue(ticket)) => limiter.cancel(*ticket),
            (Self::Throttle(throttle), Place::Line(place)) => throttle.cancel(place),
            _ => None,
        }
    }

    /// Ends a grant; tells when it was given, if it failed. A turn has nothing to end.
    pub(super) fn end(&self, grant: &Grant, ending: &Ending<'_>) -> Result<Option<Time>> {
        match (self, grant, ending) {
            (Self::Limiter(limiter), Grant::Lease(lease), Ending::Answered(actual)) => {
                limiter.settle(lease, actual).map(|()| None)
            }
            (Self::Limiter(limiter), Grant::Lease(lease), Ending::Failed(kept, setback)) => {
                limiter.fail(lease, kept.unwrap_or(lease.amounts()), setback).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Takes over what the answer to a call tells of the provider's limits; whether one of them has changed.
    pub(super) fn learn(&self, grant: &Grant, told: &[Told]) -> Result<bool> {
        match (self, grant) {
            (Self::Limiter(limiter), Grant::Lease(lease)) => limiter.learn(lease, told),
            _ => Ok(false),
        }
    }

    /// Sets a grant's expiry anew.
    pub(super) fn renew(&self, grant: &Grant) -> Result<()> {
        match (self, grant) {
            (Self::Limiter(limiter), Grant::Lease(lease)) => limiter.renew(lease),
            _ => Ok(()),
        }
    }

    /// Undoes a grant whose caller has gone; returns who gets it instead, if that is settled already.
    pub(super) fn give_back(&self, grant: &Grant) -> Option<(Arc<Waiter>, Grant)> {
        match (self, grant) {
            (Self::Limiter(limiter), Grant::Lease(lease)) => {
                // A lease that has expired meanwhile has nothing left to give back; what a store cannot take back now comes back by
                // expiry.
                limiter.fail(lease, &Amounts::default(), &Setback::Other).ok();
                None
            }
            (Self::Throttle(throttle), Grant::Turn(key)) => {
                throttle.hand_on(key).map(|waiter| (waiter, Grant::Turn(key.clone())))
            }
            _ => None,
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        match self {
            Self::Limiter(limiter) => limiter.has_waiting(),
            Self::Throttle(throttle) => throttle.wake_at().is_some(),
        }
    }

    pub(super) fn forget(&self) -> Vec<Arc<Waiter>> {
        match self {
            Self::Limiter(limiter) => limiter.forget(),
            Self::Throttle(throttle) => throttle.forget(),
        }
    }
}

/// Has `act` decide about the request that a limiter is asked for.
fn with_request<T>(
    limiter: &Limiter<Arc<Waiter>>,
    ask: &Ask,
    (deadline, since): (Option<Time>, Option<Time>),
    act: impl FnOnce(&Request<'_>) -> Result<T>,
) -> Result<T> {
    let Ask::Limiter { scopes, tenant, priority, amounts } = ask else {
        unreachable!("only limiters take requests")
    };
    let tenant = tenant.as_deref().unwrap_or("");
    let capped;
    let path = if let Some(path) = scopes.fixed_path(tenant) {
        path
    } else {
        let _inside = limiter.inside();
        capped = scopes.path_of(limiter, tenant)?;
        &capped
    };
    act(&Request {
        class: scopes.class,
        path,
        tenant,
        priority: *priority,
        amounts: *amounts,
        deadline,
        since,
    })
}
