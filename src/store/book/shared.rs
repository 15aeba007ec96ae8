//! What stores need of the book whose scopes other processes use too, while the leases are this one's.

use std::collections::HashMap;

use super::{Book, Lease, Slot};
use crate::clock::Time;
use crate::error::Ended;
use crate::quota::{Amounts, Dimension};
use crate::scope::{Blocked, Cause, Path, ScopeId};
use crate::store::scope::Scope;
use crate::store::{Decision, LeaseId};

impl Book {
    /// Takes a scope over as somebody else has left it.
    pub(in crate::store) fn put(&mut self, id: ScopeId, scope: Scope) {
        self.scopes[id.0 as usize] = Some(Box::new(scope));
    }

    /// Why a call has to wait, where others stand before it who ask for so much, the first of them in that scope; None if it has not.
    pub(in crate::store) fn refusal(
        &self,
        path: &Path,
        amounts: &Amounts,
        ahead: Option<(ScopeId, Amounts)>,
        now: Time,
    ) -> Option<Decision> {
        let Some((scope, ahead)) = ahead else {
            let has_room = self.has_room(path, amounts, now);
            return (!has_room).then(|| self.refuse(path, amounts, now));
        };
        Some(match self.earliest(path, &ahead, amounts, now) {
            Err(misfit) => Decision::Never(misfit),
            Ok(Some(paused)) if paused.cause != Cause::Room => Decision::Wait(paused),
            Ok(Some(late)) => Decision::Wait(Blocked { scope, ..late }),
            // There is room for both, but somebody else is about to come for it, or waits for a permit.
            Ok(None) => Decision::Wait(Blocked {
                cause: Cause::Room,
                scope,
                dimension: Dimension::Concurrency,
                ready_at: None,
                ask_again_at: now,
            }),
        })
    }

    /// What the leases hold of each scope: permits and amounts.
    pub(in crate::store) fn holdings(&self) -> HashMap<ScopeId, (u32, Amounts)> {
        let mut held: HashMap<ScopeId, (u32, Amounts)> = HashMap::new();
        for lease in self.slots.iter().filter_map(|slot| slot.lease.as_ref()) {
            for id in lease.path.scopes() {
                let (permits, amounts) = held.entry(*id).or_default();
                *permits += 1;
                *amounts = amounts.plus(&lease.sent.amounts);
            }
        }
        held
    }

    /// A lease that is not over.
    pub(in crate::store) fn lease(&mut self, id: LeaseId) -> std::result::Result<Lease, Ended> {
        self.slot(id)?.lease.ok_or(Ended::Over)
    }

    /// Undoes the end of a lease that could not be written down.
    pub(in crate::store) fn restore(&mut self, id: LeaseId, lease: Lease) {
        self.free.retain(|slot| *slot != id.slot);
        self.slots[id.slot as usize] = Slot { generation: id.generation, lease: Some(lease), expired: false };
    }

    /// Leases whose holders have been silent for too long, and when the next of the others will have been.
    pub(in crate::store) fn silent(&mut self, now: Time) -> Vec<LeaseId> {
        if now < self.next_expiry {
            return Vec::new();
        }
        let live = self.slots.iter().filter_map(|slot| slot.lease).map(|lease| lease.expires_at);
        self.next_expiry = live.filter(|at| *at > now).min().unwrap_or(Time::MAX);
        let leases = (0..).zip(&self.slots);
        let silent = leases.filter(|(_, slot)| slot.lease.is_some_and(|lease| lease.expires_at <= now));
        silent.map(|(index, slot)| LeaseId { slot: index, generation: slot.generation }).collect()
    }
}
