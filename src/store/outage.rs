//! What a process does while the store that it shares with others is lost, and how it comes back: steps on a book.
//! Pure: no I/O and no clock; a store says when it is lost, and when it is there again.
//!
//! While it is lost the book holds a share of every scope in the place of the whole. Leases stay in the book, so they end as ever, once,
//! whenever they were granted. Beside each share stands a twin to which nothing is charged: what the share has less than its twin in the
//! end was used here and has not flowed back, and is what the whole is charged. So the whole is then as full as if it had never been lost.
//!
//! The processes come back one after the other. Whoever is first finds room that the others have used and not yet said so. So each
//! keeps to its share for a moment longer ([`Easing`]), until all have had the time to come back. What flows in meanwhile is counted
//! twice in part: by the whole, and by the shares of those who are not back; within a second that is half a second's rate at most.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Decision;
use super::book::Book;
use super::scope::{Scope, Sent};
use crate::bucket::Bucket;
use crate::clock::Time;
use crate::pace::Pause;
use crate::quota::{Amounts, Dimension, Quota};
use crate::scope::{Blocked, Cause, Path, ScopeId};

/// How long a process that is back keeps to its share: a little longer than another may take to notice.
pub(super) const EASING: Duration = Duration::from_millis(2_500);

/// What a process does while the store is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It goes on with its share: each limit divided by the last known number of live processes.
    #[default]
    Share,
    /// It grants everything.
    Open,
    /// It grants nothing: whoever asks for a lease gets the store's error.
    Closed,
}

impl Policy {
    /// The policy of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Share, Self::Open, Self::Closed].into_iter().find(|policy| policy.name() == name)
    }

    /// The name users write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What a process holds of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) permits: u32,
    pub(super) amounts: Amounts,
}

/// What was used of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) dimension: Dimension,
    pub(super) period: Duration,
    pub(super) amount: u64,
}

/// What a scope is told by a process that comes back ([`Scope::make_up`]).
#[derive(Clone, Debug)]
pub(super) struct MakeUp {
    pub(super) scope: ScopeId,
    /// What the store knows it to hold.
    pub(super) before: Held,
    /// What it holds.
    pub(super) held: Held,
    pub(super) used: Vec<Used>,
    /// Whether it leaves no debt: who granted everything does not wait for it afterwards.
    pub(super) only_to_empty: bool,
    pub(super) pause: Pause,
}

impl MakeUp {
    /// The store has missed this process meanwhile, and given back what it held.
    pub(super) fn was_struck_off(&mut self) {
        self.before = Held::default();
    }
}

/// What is kept beside the share of a scope.
#[derive(Debug)]
struct Kept {
    whole: Scope,
    twins: Vec<Bucket>,
    before: Held,
}

/// A store that is lost.
#[derive(Debug)]
pub(super) struct Outage {
    policy: Policy,
    processes: u32,
    kept: BTreeMap<ScopeId, Kept>,
}

impl Outage {
    /// The store is lost, and `processes` used it when it was last seen: puts shares in the place of all scopes in the book.
    pub(super) fn begin(book: &mut Book, policy: Policy, processes: u32, now: Time) -> Self {
        let mut outage = Self { policy, processes: processes.max(1), kept: BTreeMap::new() };
        for id in book.ids() {
            let held = book.held(id);
            outage.share(book, id, held, now);
        }
        outage
    }

    /// A scope has become known meanwhile.
    pub(super) fn add(&mut self, book: &mut Book, id: ScopeId, now: Time) {
        if !self.kept.contains_key(&id) {
            self.share(book, id, Held::default(), now);
        }
    }

    fn share(&mut self, book: &mut Book, id: ScopeId, before: Held, now: Time) {
        let Some(scope) = book.scope(id) else { return };
        let share = scope.share_of(self.processes, &before, now);
        let twins = share.buckets();
        if let Some(whole) = book.replace(id, share) {
            self.kept.insert(id, Kept { whole, twins, before });
        }
    }

    /// Sets the quota of a scope anew, of the whole and of the share.
    pub(super) fn configure(&mut self, book: &mut Book, id: ScopeId, quota: &Quota, now: Time) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        kept.whole.configure(quota, now);
        if let Some(share) = book.scope_mut(id) {
            share.configure_share(quota, self.processes, now);
        }
    }

    /// Takes a lease, or says why not; None if nothing is granted while the store is lost.
    pub(super) fn reserve(
        &self,
        book: &mut Book,
        path: &Path,
        amounts: &Amounts,
        now: Time,
    ) -> Option<Decision> {
        match self.policy {
            Policy::Share => Some(book.reserve(path, amounts, now)),
            Policy::Open => Some(match book.earliest(path, &Amounts::default(), amounts, now) {
                Err(misfit) => Decision::Never(misfit),
                Ok(_) => Decision::Granted(book.grant(path, amounts, now)),
            }),
            Policy::Closed => None,
        }
    }

    /// Starts a scope without any limits with few calls at once.
    pub(super) fn be_careful(&mut self, book: &mut Book, id: ScopeId, now: Time) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        if kept.whole.be_careful() {
            let share = kept.whole.share_of(self.processes, &book.held(id), now);
            book.put(id, share);
        }
    }

    /// What the store's own scopes are to be told, now that it is there again.
    pub(super) fn make_ups(&self, book: &Book, now: Time) -> Vec<MakeUp> {
        let made_up = self.kept.iter().filter_map(|(&scope, kept)| {
            let share = book.scope(scope)?;
            let (used, pause) = (share.used_since(&kept.twins, now), share.pause().clone());
            let only_to_empty = self.policy == Policy::Open;
            Some(MakeUp { scope, before: kept.before, held: book.held(scope), used, only_to_empty, pause })
        });
        made_up.collect()
    }

    /// A scope as it was last seen, for a store that knows it no more.
    pub(super) fn last_seen(&self, id: ScopeId) -> Option<&Scope> {
        self.kept.get(&id).map(|kept| &kept.whole)
    }

    /// The store's scopes have been told: puts them back into the book as they were last seen, where the store's own follow.
    pub(super) fn end(self, book: &mut Book, now: Time) -> Easing {
        let mut easing = Easing { until: now + EASING, shares: BTreeMap::new() };
        for (id, kept) in self.kept {
            if let Some(share) = book.replace(id, kept.whole)
                && self.policy == Policy::Share
            {
                easing.shares.insert(id, share);
            }
        }
        easing
    }
}

/// The shares of a process that is back, which bound it for a moment longer.
#[derive(Debug)]
pub(super) struct Easing {
    until: Time,
    shares: BTreeMap<ScopeId, Scope>,
}

impl Easing {
    /// Whether all have had the time to come back.
    pub(super) fn is_over(&self, now: Time) -> bool {
        now >= self.until
    }

    /// Why a call has to wait for which the whole may have room.
    pub(super) fn refusal(&self, path: &Path, amounts: &Amounts, now: Time) -> Option<Blocked> {
        let shares = path.scopes().iter().filter_map(|id| Some((*id, self.shares.get(id)?)));
        let (scope, share) = shares.into_iter().find(|(_, share)| !share.has_room(amounts, now))?;
        // What one call may ask at most is the whole's business.
        let found = share.obstacle(scope, &Amounts::default(), amounts, now).ok().flatten();
        let without_permit = Blocked {
            cause: Cause::Room,
            scope,
            dimension: Dimension::Concurrency,
            ready_at: None,
            ask_again_at: self.until,
        };
        let found = found.unwrap_or(without_permit);
        Some(Blocked {
            ready_at: found.ready_at.map(|at| at.min(self.until)),
            ask_again_at: found.ask_again_at.min(self.until),
            ..found
        })
    }

    /// A call starts.
    pub(super) fn granted(&mut self, path: &Path, amounts: &Amounts, now: Time) {
        for id in path.scopes() {
            if let Some(share) = self.shares.get_mut(id) {
                share.grant(amounts, now);
            }
        }
    }

    /// A call is over: `actual` replaces what it had reserved.
    pub(super) fn ended(&mut self, path: &Path, sent: &Sent, actual: &Amounts, now: Time) {
        for id in path.scopes() {
            if let Some(share) = self.shares.get_mut(id) {
                share.settle(sent, actual, &|| now);
            }
        }
    }
}
