//! A limiter in virtual time, with what tests ask of it.

use std::sync::Arc;
use std::time::Duration;

use ratekeeper::clock::{ManualClock, Time};
use ratekeeper::error::Result;
use ratekeeper::limiter::{Admission, Lease, Limiter, Poll, Request, Status};
use ratekeeper::queue::{ClassId, Ticket};
use ratekeeper::quota::{Amounts, Dimension, Limit, Quota};
use ratekeeper::scope::{Path, ScopeId};
use ratekeeper::store::Store;

use crate::stores::Common;

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
    store: Arc<dyn Store>,
    /// Kept for as long as the limiter asks it.
    _common: Common,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Common::in_memory())
    }

    /// One whose limiter is a round trip away from its store.
    pub(crate) fn far() -> Self {
        Self::on(Common::on_server())
    }

    fn on(common: Common) -> Self {
        let store = common.process(LEASE_TTL);
        Self { clock: common.clock.clone(), limiter: Limiter::new(store.clone()), store, _common: common }
    }

    /// Whether a server did not answer in time, on a machine too busy for it.
    pub(crate) fn has_lost_its_store(&self) -> bool {
        self.store.condition().is_some_and(|condition| condition.losses > 0)
    }

    /// Where both kinds of limiters have to do alike.
    pub(crate) fn both() -> [Self; 2] {
        [Self::new(), Self::far()]
    }

    pub(crate) fn both_with(quota: &Quota) -> [(Self, Place); 2] {
        Self::both().map(|world| {
            let place = world.place("model", quota, None);
            (world, place)
        })
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
        self.limiter.now()
    }

    /// Moves on to a time of the limiter, in whole microseconds as servers count.
    pub(crate) fn advance_to(&self, time: Time) {
        let nanos = u64::try_from(time.since(self.now()).as_nanos()).unwrap();
        self.clock.advance(Duration::from_micros(nanos.div_ceil(1_000)));
    }

    /// Lets everybody start who can; where the store is a round trip away by the two halves of a round. The agent asks those who were
    /// refused when it looks next; here rounds go on until one changes nothing, as they do near the store.
    pub(crate) fn poll(&self) -> Poll<u32> {
        let Some(remote) = self.limiter.remote() else { return self.limiter.poll() };
        let (mut done, mut is_anew, mut before) = (Vec::new(), true, 0);
        loop {
            let asked = self.limiter.asks(64, is_anew);
            let questions: Vec<_> =
                asked.iter().map(|asked| (asked.call().path, asked.call().amounts)).collect();
            let answers = remote.ask(&questions);
            let poll = self.limiter.answers(asked.into_iter().zip(answers).collect());
            done.extend(poll.done);
            is_anew = !self.limiter.has_open();
            if is_anew && done.len() == before {
                return Poll { done, wake_at: poll.wake_at };
            }
            before = if is_anew { done.len() } else { before };
        }
    }

    /// Who starts now.
    pub(crate) fn started(&self) -> Vec<u32> {
        self.poll().done.into_iter().filter_map(|(who, result)| result.is_ok().then_some(who)).collect()
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
