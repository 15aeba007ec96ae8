//! All scopes and leases as plain state, and the steps on it: pure functions of (state, request, now).
//! No lock and no clock; a store wraps it in what makes a step atomic.

mod shared;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::outage::Held;
use super::scope::{Scope, Sent};
use super::{Decision, LeaseId, ScopeStatus};
use crate::clock::Time;
use crate::error::{Ended, Misfit};
use crate::pace::{Setback, Told};
use crate::quota::{Amounts, Dimension, Quota};
use crate::scope::{Blocked, Cause, Path, ScopeId};

/// Below this many scopes no cap is forgotten.
const SCOPES_BEFORE_SWEEP: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) path: Path,
    pub(super) sent: Sent,
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

    pub(super) fn be_careful(&mut self, id: ScopeId) {
        if let Some(scope) = self.scope_mut(id) {
            scope.be_careful();
        }
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
        if self.is_crowded() {
            self.forget_idle_caps(&awaited(), now);
        }
        self.add(name, quota, true)
    }

    pub(super) fn add(&mut self, name: &str, quota: &Quota, is_cap: bool) -> ScopeId {
        let id = ScopeId(u32::try_from(self.scopes.len()).expect("fewer than 2^32 scopes"));
        let name: Arc<str> = name.into();
        self.scopes.push(Some(Box::new(Scope::new(name.clone(), quota, is_cap))));
        self.names.insert(name, id);
        id
    }

    /// Whether it is time to look for idle caps.
    pub(super) fn is_crowded(&self) -> bool {
        self.names.len() >= self.sweep_at
    }

    /// A scope, unless it was forgotten.
    pub(super) fn scope(&self, id: ScopeId) -> Option<&Scope> {
        self.scopes[id.0 as usize].as_deref()
    }

    pub(super) fn forget_idle_caps(&mut self, awaited: &HashSet<ScopeId>, now: Time) {
        let Self { names, scopes, .. } = self;
        names.retain(|_, id| {
            let is_idle =
                |scope: &mut Box<Scope>| scope.is_cap && scope.is_idle(now) && !awaited.contains(id);
            scopes[id.0 as usize].take_if(is_idle).is_none()
        });
        self.sweep_at = SCOPES_BEFORE_SWEEP.max(2 * self.names.len());
    }

    pub(super) fn name(&self, id: ScopeId) -> Arc<str> {
        let scope = self.scopes[id.0 as usize].as_deref().expect("whoever asks for a name keeps the scope");
        scope.name.clone()
    }

    pub(super) fn known(&self, name: &str) -> Option<ScopeId> {
        self.names.get(name).copied()
    }

    pub(super) fn reserve(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        if self.has_room(path, amounts, now) {
            return Decision::Granted(self.grant(path, amounts, now));
        }
        match self.refuse(path, amounts, now) {
            Decision::Wait(Blocked { ready_at: None, .. }) if self.next_expiry <= now => {
                self.expire(now);
                self.reserve(path, amounts, now)
            }
            refusal => refusal,
        }
    }

    /// Why a call that has no room is not granted.
    pub(super) fn refuse(&self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        match self.earliest(path, &Amounts::default(), amounts, now) {
            Err(misfit) => Decision::Never(misfit),
            Ok(Some(paused)) if paused.cause != Cause::Room => Decision::Wait(paused),
            Ok(late) => match self.without_permit(path) {
                Some(scope) => Decision::Wait(Blocked {
                    cause: Cause::Room,
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
            let found = scope.obstacle(id, ahead, amounts, now)?;
            latest = match (latest, found) {
                (Some(latest), Some(found)) if found.ask_again_at > latest.ask_again_at => Some(found),
                (latest, found) => latest.or(found),
            };
        }
        Ok(latest)
    }

    pub(super) fn learn(
        &mut self,
        id: LeaseId,
        told: &[Told],
        now: Time,
    ) -> std::result::Result<bool, Ended> {
        let lease = self.slot(id)?.lease.as_ref().ok_or(Ended::Over)?;
        let (sent, path) = (lease.sent, lease.path);
        let scope = self.own_scope(&path).and_then(|own| self.scope_mut(own));
        Ok(scope.is_some_and(|scope| scope.learn(&sent, told, now)))
    }

    pub(super) fn settle(
        &mut self,
        id: LeaseId,
        actual: &Amounts,
        now: impl Fn() -> Time,
    ) -> std::result::Result<(), Ended> {
        let lease = self.take(id, false)?;
        let mut is_own = true;
        for id in lease.path.scopes().iter().rev() {
            let Some(scope) = self.scope_mut(*id) else { continue };
            if is_own && !scope.is_cap {
                is_own = false;
                scope.succeeded(&lease.sent);
            }
            scope.settle(&lease.sent, actual, &now);
        }
        Ok(())
    }

    pub(super) fn fail(
        &mut self,
        id: LeaseId,
        kept: &Amounts,
        setback: &Setback,
        now: impl Fn() -> Time,
    ) -> std::result::Result<Time, Ended> {
        let lease = self.take(id, false)?;
        for id in lease.path.scopes() {
            if let Some(scope) = self.scope_mut(*id) {
                scope.settle(&lease.sent, kept, &now);
            }
        }
        if *setback != Setback::Other
            && let Some(scope) = self.own_scope(&lease.path).and_then(|own| self.scope_mut(own))
        {
            scope.failed(&lease.sent, setback, now());
        }
        Ok(lease.sent.at)
    }

    /// The scope whose quota is the provider's own: caps of tenants are no business of its.
    fn own_scope(&self, path: &Path) -> Option<ScopeId> {
        let is_own = |id: &&ScopeId| self.scopes[id.0 as usize].as_ref().is_some_and(|scope| !scope.is_cap);
        path.scopes().iter().rev().find(is_own).copied()
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Time) -> std::result::Result<(), Ended> {
        let expires_at = now + self.lease_ttl;
        self.slot(id)?.lease.as_mut().ok_or(Ended::Over)?.expires_at = expires_at;
        Ok(())
    }

    pub(super) fn status(&self, id: ScopeId, now: Time) -> ScopeStatus {
        let scope = self.scopes[id.0 as usize].as_deref().expect("whoever asks for a status keeps the scope");
        scope.status(now)
    }

    /// Drops all leases, as expired or as somebody else's.
    pub(super) fn forget_leases(&mut self, expired: bool) {
        for slot in 0..self.slot_count() {
            self.drop_lease(slot, expired);
        }
    }

    pub(super) fn scope_mut(&mut self, id: ScopeId) -> Option<&mut Scope> {
        self.scopes[id.0 as usize].as_deref_mut()
    }

    /// All scopes that are known and were not forgotten.
    pub(super) fn ids(&self) -> Vec<ScopeId> {
        let known = (0..).zip(&self.scopes).filter(|(_, scope)| scope.is_some());
        known.map(|(index, _)| ScopeId(index)).collect()
    }

    /// Takes a scope over as it stands, and leaves another in its place.
    pub(super) fn replace(&mut self, id: ScopeId, scope: Scope) -> Option<Scope> {
        self.scopes[id.0 as usize].replace(Box::new(scope)).map(|before| *before)
    }

    /// What the leases on a scope hold.
    pub(super) fn held(&self, id: ScopeId) -> Held {
        let leases = self.slots.iter().filter_map(|slot| slot.lease.as_ref());
        let on_it = leases.filter(|lease| lease.path.scopes().contains(&id));
        on_it.fold(Held::default(), |held, lease| held.plus(&lease.sent.amounts))
    }

    /// The scopes of a path. One that was forgotten had all its room, and has no say.
    fn along<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a ScopeId, &'a Scope)> {
        path.scopes().iter().filter_map(|id| Some((id, self.scopes[id.0 as usize].as_deref()?)))
    }

    #[inline]
    pub(super) fn has_room(&self, path: &Path, amounts: &Amounts, now: Time) -> bool {
        self.along(path).all(|(_, scope)| scope.has_room(amounts, now))
    }

    pub(super) fn without_permit(&self, path: &Path) -> Option<ScopeId> {
        self.along(path).find(|(_, scope)| !scope.has_permit()).map(|(id, _)| *id)
    }

    #[inline]
    pub(super) fn grant(&mut self, path: &Path, amounts: &Amounts, now: Time) -> LeaseId {
        for id in path.scopes() {
            if let Some(scope) = self.scope_mut(*id) {
                scope.grant(amounts, now);
            }
        }
        self.lease_out(path, amounts, now)
    }

    /// A lease on what its scopes have given already.
    #[inline]
    pub(super) fn lease_out(&mut self, path: &Path, amounts: &Amounts, now: Time) -> LeaseId {
        let expires_at = now + self.lease_ttl;
        self.next_expiry = self.next_expiry.min(expires_at);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slot_count() - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.lease = Some(Lease { path: *path, sent: Sent { at: now, amounts: *amounts }, expires_at });
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
    fn expire(&mut self, now: Time) {
        self.next_expiry = Time::MAX;
        for slot in 0..self.slot_count() {
            match &self.slots[slot as usize].lease {
                Some(lease) if lease.expires_at <= now => self.drop_lease(slot, true),
                Some(lease) => self.next_expiry = self.next_expiry.min(lease.expires_at),
                None => {}
            }
        }
    }

    fn slot_count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("fewer than 2^32 leases")
    }

    fn drop_lease(&mut self, slot: u32, expired: bool) {
        let id = LeaseId { slot, generation: self.slots[slot as usize].generation };
        self.end(id, expired);
    }

    /// Ends a lease whose call nobody speaks for any more.
    pub(super) fn end(&mut self, id: LeaseId, expired: bool) {
        let Ok(lease) = self.take(id, expired) else { return };
        for id in lease.path.scopes() {
            if let Some(scope) = self.scope_mut(*id) {
                scope.release(&lease.sent.amounts);
            }
        }
    }
}
