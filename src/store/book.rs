//! All scopes and leases as plain state, and the steps on it: pure functions of (state, request, now).
//! No lock and no clock; a store wraps it in what makes a step atomic.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Decision, LeaseId, LimitStatus, ScopeStatus};
use crate::bucket::Bucket;
use crate::clock::Time;
use crate::error::{Ended, Misfit};
use crate::quota::{Amounts, Dimension, Quota};
use crate::scope::{Blocked, Path, ScopeId};
use crate::semaphore::Permits;

/// Below this many scopes no cap is forgotten.
const SCOPES_BEFORE_SWEEP: usize = 1024;

#[derive(Debug)]
struct Scope {
    name: Arc<str>,
    buckets: Vec<Bucket>,
    permits: Permits,
    is_cap: bool,
}

#[derive(Debug)]
struct Lease {
    path: Path,
    amounts: Amounts,
    reserved_at: Time,
    expires_at: Time,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    lease: Option<Lease>,
    /// Whether the lease of the generation before ran out of time.
    expired: bool,
}

/// The state of a store.
#[derive(Debug)]
pub(super) struct Book {
    /// By their ids, which are never given twice; None where a cap was forgotten.
    scopes: Vec<Option<Box<Scope>>>,
    /// When so many scopes are known, idle caps are looked for.
    sweep_at: usize,
    names: HashMap<Arc<str>, ScopeId>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    lease_ttl: Duration,
    /// No lease expires before this.
    next_expiry: Time,
}

impl Book {
    pub(super) fn new(lease_ttl: Duration) -> Self {
        Self {
            scopes: Vec::new(),
            sweep_at: SCOPES_BEFORE_SWEEP,
            names: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            lease_ttl,
            next_expiry: Time::MAX,
        }
    }

    pub(super) fn configure(&mut self, name: &str, quota: &Quota, now: Time) -> ScopeId {
        let Some(id) = self.known(name) else { return self.add(name, quota, false) };
        if let Some(scope) = self.scope_mut(id) {
            scope.configure(quota, now);
        }
        id
    }

    pub(super) fn cap(
        &mut self,
        name: &str,
        quota: &Quota,
        awaited: &dyn Fn() -> HashSet<ScopeId>,
        now: Time,
    ) -> ScopeId {
        if let Some(id) = self.known(name) {
            return id;
        }
        if self.names.len() >= self.sweep_at {
            self.forget_idle_caps(&awaited(), now);
        }
        self.add(name, quota, true)
    }

    fn add(&mut self, name: &str, quota: &Quota, is_cap: bool) -> ScopeId {
        let id = ScopeId(u32::try_from(self.scopes.len()).expect("fewer than 2^32 scopes"));
        let name: Arc<str> = name.into();
        let buckets = quota.limits().iter().copied().map(Bucket::new).collect();
        let scope = Scope { name: name.clone(), buckets, permits: Permits::new(quota.concurrency()), is_cap };
        self.scopes.push(Some(Box::new(scope)));
        self.names.insert(name, id);
        id
    }

    fn forget_idle_caps(&mut self, awaited: &HashSet<ScopeId>, now: Time) {
        let Self { names, scopes, .. } = self;
        names.retain(|_, id| {
            let is_idle =
                |scope: &mut Box<Scope>| scope.is_cap && scope.is_idle(now) && !awaited.contains(id);
            scopes[id.0 as usize].take_if(is_idle).is_none()
        });
        self.sweep_at = SCOPES_BEFORE_SWEEP.max(2 * self.names.len());
    }

    pub(super) fn known(&self, name: &str) -> Option<ScopeId> {
        self.names.get(name).copied()
    }

    pub(super) fn reserve(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        if self.has_room(path, amounts, now) {
            return Decision::Granted(self.grant(path, amounts, now));
        }
        match self.earliest(path, &Amounts::default(), amounts, now) {
            Err(misfit) => Decision::Never(misfit),
            Ok(late) => match self.without_permit(path) {
                Some(_) if self.expire(now) => self.reserve(path, amounts, now),
                Some(scope) => Decision::Wait(Blocked {
                    scope,
                    dimension: Dimension::Concurrency,
                    ready_at: None,
                    ask_again_at: self.next_expiry,
                }),
                None => Decision::Wait(late.expect("a call with neither room nor obstacle")),
            },
        }
    }

    pub(super) fn earliest(
        &self,
        path: &Path,
        ahead: &Amounts,
        amounts: &Amounts,
        now: Time,
    ) -> std::result::Result<Option<Blocked>, Misfit> {
        let mut latest: Option<Blocked> = None;
        for (&id, scope) in self.along(path) {
            for bucket in &scope.buckets {
                let dimension = bucket.limit().dimension();
                let amount = amounts.get(dimension);
                let limit = bucket.limit().largest_call();
                if amount > limit {
                    return Err(Misfit { scope: scope.name.clone(), dimension, amount, limit });
                }
                let ready_at = bucket.ready_at(ahead.get(dimension), amount);
                if amount > 0 && ready_at > now && latest.is_none_or(|other| ready_at > other.ask_again_at) {
                    let (ask_again_at, ready_at) = (ready_at, Some(ready_at));
                    latest = Some(Blocked { scope: id, dimension, ready_at, ask_again_at });
                }
            }
        }
        Ok(latest)
    }

    pub(super) fn settle(
        &mut self,
        id: LeaseId,
        actual: &Amounts,
        now: impl Fn() -> Time,
    ) -> std::result::Result<(), Ended> {
        let lease = self.take(id, false)?;
        let (extra, unused) = (actual.minus(&lease.amounts), lease.amounts.minus(actual));
        let has_debt = extra != Amounts::default();
        for id in lease.path.scopes() {
            let Some(scope) = self.scopes[id.0 as usize].as_deref_mut() else { continue };
            scope.permits.give_back();
            for bucket in &mut scope.buckets {
                let dimension = bucket.limit().dimension();
                if has_debt {
                    bucket.charge(extra.get(dimension), now());
                }
                match unused.get(dimension) {
                    0 => {}
                    unused => bucket.refund(unused, lease.reserved_at),
                }
            }
        }
        Ok(())
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Time) -> std::result::Result<(), Ended> {
        let expires_at = now + self.lease_ttl;
        self.slot(id)?.lease.as_mut().ok_or(Ended::Over)?.expires_at = expires_at;
        Ok(())
    }

    pub(super) fn status(&self, id: ScopeId, now: Time) -> ScopeStatus {
        let scope = self.scopes[id.0 as usize].as_deref().expect("whoever asks for a status keeps the scope");
        let limits = scope.buckets.iter().map(|bucket| LimitStatus {
            limit: *bucket.limit(),
            remaining: bucket.remaining(now),
            full_at: bucket.full_at(),
        });
        ScopeStatus {
            name: scope.name.clone(),
            limits: limits.collect(),
            concurrency: scope.permits.limit(),
            in_flight: scope.permits.held(),
        }
    }

    pub(super) fn forget_leases(&mut self) {
        for slot in 0..self.slot_count() {
            self.drop_lease(slot, false);
        }
    }

    fn scope_mut(&mut self, id: ScopeId) -> Option<&mut Scope> {
        self.scopes[id.0 as usize].as_deref_mut()
    }

    /// The scopes of a path. One that was forgotten had all its room, and has no say.
    fn along<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a ScopeId, &'a Scope)> {
        path.scopes().iter().filter_map(|id| Some((id, self.scopes[id.0 as usize].as_deref()?)))
    }

    fn has_room(&self, path: &Path, amounts: &Amounts, now: Time) -> bool {
        self.along(path).all(|(_, scope)| {
            scope.permits.is_free()
                && scope
                    .buckets
                    .iter()
                    .all(|bucket| bucket.has_room(amounts.get(bucket.limit().dimension()), now))
        })
    }

    fn without_permit(&self, path: &Path) -> Option<ScopeId> {
        self.along(path).find(|(_, scope)| !scope.permits.is_free()).map(|(id, _)| *id)
    }

    fn grant(&mut self, path: &Path, amounts: &Amounts, now: Time) -> LeaseId {
        for id in path.scopes() {
            let Some(scope) = self.scopes[id.0 as usize].as_deref_mut() else { continue };
            scope.permits.take();
            for bucket in &mut scope.buckets {
                bucket.charge(amounts.get(bucket.limit().dimension()), now);
            }
        }
        let expires_at = now + self.lease_ttl;
        self.next_expiry = self.next_expiry.min(expires_at);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slot_count() - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.lease = Some(Lease { path: *path, amounts: *amounts, reserved_at: now, expires_at });
        LeaseId { slot, generation: entry.generation }
    }

    fn slot(&mut self, id: LeaseId) -> std::result::Result<&mut Slot, Ended> {
        let slot = self.slots.get_mut(id.slot as usize).ok_or(Ended::Over)?;
        match slot.generation.wrapping_sub(id.generation) {
            0 => Ok(slot),
            1 if slot.expired => Err(Ended::Expired),
            _ => Err(Ended::Over),
        }
    }

    fn take(&mut self, id: LeaseId, expired: bool) -> std::result::Result<Lease, Ended> {
        let slot = self.slot(id)?;
        let lease = slot.lease.take().ok_or(Ended::Over)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.expired = expired;
        self.free.push(id.slot);
        Ok(lease)
    }

    /// Takes the permits of silent holders back; their amounts stay charged, for they may have been used.
    fn expire(&mut self, now: Time) -> bool {
        if now < self.next_expiry {
            return false;
        }
        let mut any = false;
        self.next_expiry = Time::MAX;
        for slot in 0..self.slot_count() {
            match &self.slots[slot as usize].lease {
                Some(lease) if lease.expires_at <= now => any |= self.drop_lease(slot, true),
                Some(lease) => self.next_expiry = self.next_expiry.min(lease.expires_at),
                None => {}
            }
        }
        any
    }

    fn slot_count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("fewer than 2^32 leases")
    }

    fn drop_lease(&mut self, slot: u32, expired: bool) -> bool {
        let id = LeaseId { slot, generation: self.slots[slot as usize].generation };
        let Ok(lease) = self.take(id, expired) else { return false };
        for id in lease.path.scopes() {
            if let Some(scope) = self.scope_mut(*id) {
                scope.permits.give_back();
            }
        }
        true
    }
}

impl Scope {
    fn is_idle(&self, now: Time) -> bool {
        self.permits.held() == 0 && self.buckets.iter().all(|bucket| bucket.full_at() <= now)
    }

    fn configure(&mut self, quota: &Quota, now: Time) {
        let mut before = std::mem::take(&mut self.buckets);
        self.permits.resize(quota.concurrency());
        for &limit in quota.limits() {
            let same = |bucket: &Bucket| {
                (bucket.limit().dimension(), bucket.limit().period()) == (limit.dimension(), limit.period())
            };
            let bucket = match before.iter().position(same) {
                Some(found) => {
                    let mut bucket = before.swap_remove(found);
                    bucket.set_limit(limit, now);
                    bucket
                }
                None => Bucket::late(limit, now),
            };
            self.buckets.push(bucket);
        }
    }
}
