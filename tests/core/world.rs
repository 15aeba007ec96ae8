//! A limiter in virtual time, with what tests ask of it.

use std::sync::Arc;
use std::time::Duration;

use ratekeeper::clock::{Clock, ManualClock, Time};
use ratekeeper::error::Result;
use ratekeeper::limiter::{Admission, Lease, Limiter, Request, Status};
use ratekeeper::queue::{ClassId, Ticket};
use ratekeeper::quota::{Amounts, Dimension, Limit, Quota};
use ratekeeper::scope::{Path, ScopeId};
use ratekeeper::store::MemoryStore;

pub(crate) const LEASE_TTL: Duration = Duration::from_mins(10);

/// Requests a minute, tokens a minute, calls in flight; 0 for no limit.
pub(crate) fn quota(rpm: u64, tpm: u64, concurrency: u32) -> Quota {
    let limit = |dimension, amount| Limit::new(dimension, amount, Duration::from_mins(1), None).ok();
    let limits = [limit(Dimension::Requests, rpm), limit(Dimension::Tokens, tpm)];
    Quota::new(limits.into_iter().flatten().collect(), (concurrency > 0).then_some(concurrency)).unwrap()
}

pub(crate) fn tokens(tokens: u64) -> Amounts {
    Amounts { requests: 1, tokens, input_tokens: tokens, output_tokens: 0 }
}

/// A scope that calls can be made under.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub scope: ScopeId,
    pub class: ClassId,
    pub path: Path,
}

pub(crate) struct World {
    pub clock: Arc<ManualClock>,
    pub limiter: Limiter<u32>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { limiter: Limiter::new(Arc::new(MemoryStore::new(clock.clone(), LEASE_TTL))), clock }
    }

    pub(crate) fn with(quota: &Quota) -> (Self, Place) {
        let world = Self::new();
        let place = world.place("model", quota, None);
        (world, place)
    }

    pub(crate) fn place(&self, name: &str, quota: &Quota, within: Option<&Place>) -> Place {
        let scope = self.limiter.configure(name, quota).unwrap();
        let path = within.map_or(Path::of(scope), |outer| outer.path.with(scope).unwrap());
        Place { scope, class: self.limiter.class(path), path }
    }

    pub(crate) fn acquire(&self, place: &Place, who: u32, amounts: Amounts) -> Result<Admission> {
        self.limiter.acquire(&request(place, amounts), || who)
    }

    pub(crate) fn lease(&self, place: &Place, amounts: Amounts) -> Lease {
        self.limiter.try_acquire(&request(place, amounts)).unwrap()
    }

    pub(crate) fn queued(&self, place: &Place, who: u32, amounts: Amounts) -> Ticket {
        self.queue(&request(place, amounts), who)
    }

    pub(crate) fn queue(&self, request: &Request<'_>, who: u32) -> Ticket {
        match self.limiter.acquire(request, || who).unwrap() {
            Admission::Queued { ticket, .. } => ticket,
            Admission::Granted(_) => panic!("caller {who} should have had to wait"),
        }
    }

    pub(crate) fn advance(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Who starts now.
    pub(crate) fn started(&self) -> Vec<u32> {
        self.limiter
            .poll()
            .done
            .into_iter()
            .filter_map(|(who, result)| result.is_ok().then_some(who))
            .collect()
    }

    pub(crate) fn status(&self, place: &Place) -> Status {
        self.limiter.status(place.scope).unwrap()
    }

    pub(crate) fn remaining(&self, place: &Place) -> Vec<i64> {
        self.status(place).scope.limits.iter().map(|limit| limit.remaining).collect()
    }
}

pub(crate) fn request(place: &Place, amounts: Amounts) -> Request<'_> {
    Request {
        class: place.class,
        path: &place.path,
        tenant: "",
        priority: 0,
        amounts,
        deadline: None,
        since: None,
    }
}
