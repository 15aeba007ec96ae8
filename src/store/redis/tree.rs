//! What this process knows of the scopes that it uses, its leases on them, and what the server is still to be told. No I/O and no clock.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::state::{Member, State};
use super::wire;
use crate::clock::Time;
use crate::error::{Ended, Misfit};
use crate::pace::{Setback, Told};
use crate::quota::{Amounts, Dimension, Quota};
use crate::scope::{Blocked, Cause, Path, ScopeId};
use crate::store::book::{Book, Lease};
use crate::store::outage::{Easing, MakeUp, Outage};
use crate::store::scope::Sent;
use crate::store::{Decision, LeaseId};

/// A cap that has not been used for so long may be forgotten.
const IDLE: Duration = Duration::from_secs(30);

/// What is known of the value of a scope's key.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen {
    #[default]
    Nothing,
    Absent,
    Value(Vec<u8>),
}

/// One scope beside its state, which is in the book as it was last heard of.
pub(super) struct Row {
    pub(super) name: Arc<str>,
    pub(super) quota: Quota,
    pub(super) is_cap: bool,
    is_careful: bool,
    /// Whether the server has heard of the quota.
    pub(super) is_agreed: bool,
    pub(super) seen: Seen,
    pub(super) members: Vec<Member>,
    pub(super) used_at: Time,
}

/// What the server decides by plain arithmetic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) path: Path,
    /// The scope that hears of the success, if it was one.
    pub(super) own: Option<ScopeId>,
    pub(super) sent: Sent,
    pub(super) kept: Amounts,
}

/// What is decided here and swapped in, scope by scope.
#[derive(Clone, Debug)]
pub(super) enum Cold {
    Learn {
        sent: Sent,
        told: Vec<Told>,
    },
    End {
        sent: Sent,
        kept: Amounts,
        setback: Option<Setback>,
        is_success: bool,
    },
    /// What was done without the server.
    MakeUp(MakeUp),
}

/// What the server is still to be told.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) endings: Vec<Ending>,
    pub(super) cold: BTreeMap<ScopeId, Vec<Cold>>,
    /// Scopes in whose line this process stands no longer.
    pub(super) left: Vec<ScopeId>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.endings.is_empty() && self.cold.is_empty() && self.left.is_empty()
    }

    /// The calls that are over, by their scopes.
    pub(super) fn ended(&self) -> impl Iterator<Item = (ScopeId, Sent)> {
        let plain = self.endings.iter().flat_map(|ending| {
            let ids = ending.path.scopes().iter().copied();
            ids.map(|id| (id, ending.sent))
        });
        let cold = self.cold.iter().flat_map(|(id, cold)| {
            cold.iter().filter_map(|cold| match cold {
                Cold::End { sent, .. } => Some((*id, *sent)),
                Cold::Learn { .. } | Cold::MakeUp(_) => None,
            })
        });
        plain.chain(cold)
    }

    /// The first so many things that were to be decided of a scope are in force.
    pub(super) fn done(&mut self, id: ScopeId, many: usize) {
        if let Some(cold) = self.cold.get_mut(&id) {
            cold.drain(..many);
        }
        self.cold.retain(|_, cold| !cold.is_empty());
    }
}

pub(super) struct Tree {
    pub(super) book: Book,
    pub(super) rows: Vec<Option<Row>>,
    pub(super) outbox: Outbox,
    /// The scopes in whose lines this process stands.
    pub(super) places: HashSet<ScopeId>,
    pub(super) pulse_at: Time,
    /// Scopes in which it is still to be said that this process is there.
    pub(super) unspoken: Vec<ScopeId>,
    /// While the server is lost.
    pub(super) outage: Option<Outage>,
    /// For a moment after it is back.
    pub(super) easing: Option<Easing>,
}

impl Tree {
    pub(super) fn new(book: Book) -> Self {
        let (rows, outbox, places) = (Vec::new(), Outbox::default(), HashSet::new());
        Self {
            book,
            rows,
            outbox,
            places,
            pulse_at: Time::ZERO,
            unspoken: Vec::new(),
            outage: None,
            easing: None,
        }
    }

    pub(super) fn register(&mut self, name: &str, quota: &Quota, is_cap: bool, now: Time) -> ScopeId {
        let row = Row {
            name: name.into(),
            quota: quota.clone(),
            is_cap,
            is_careful: false,
            is_agreed: false,
            seen: Seen::Nothing,
            members: Vec::new(),
            used_at: now,
        };
        self.rows.push(Some(row));
        let id = self.book.add(name, quota, is_cap);
        if let Some(outage) = &mut self.outage {
            outage.add(&mut self.book, id, now);
        }
        id
    }

    pub(super) fn row(&mut self, id: ScopeId) -> Option<&mut Row> {
        self.rows[id.0 as usize].as_mut()
    }

    pub(super) fn configure(&mut self, id: ScopeId, quota: &Quota, now: Time) {
        if let Some(row) = self.row(id) {
            (row.quota, row.is_agreed) = (quota.clone(), false);
        }
        if let Some(outage) = &mut self.outage {
            outage.configure(&mut self.book, id, quota, now);
        } else if let Some(scope) = self.book.scope_mut(id) {
            scope.configure(quota, now);
        }
    }

    pub(super) fn be_careful(&mut self, id: ScopeId, now: Time) {
        if let Some(row) = self.row(id) {
            row.is_careful = true;
        }
        match &mut self.outage {
            Some(outage) => outage.be_careful(&mut self.book, id, now),
            None => self.book.be_careful(id),
        }
    }

    /// Whoever asks for a scope, or has just ended a call of it, is about to name it to the server: it is not forgotten meanwhile.
    pub(super) fn touch(&mut self, scopes: &[ScopeId], now: Time) {
        for id in scopes {
            if let Some(row) = self.row(*id) {
                row.used_at = now;
            }
        }
    }

    /// Makes room for another cap, where there are many.
    pub(super) fn forget_idle_caps(&mut self, awaited: &HashSet<ScopeId>, now: Time) {
        let rows = (0..).map(ScopeId).zip(&self.rows);
        let used = rows.filter(|(_, row)| row.as_ref().is_some_and(|row| now.since(row.used_at) < IDLE));
        let kept = used.map(|(id, _)| id).chain(awaited.iter().copied()).collect();
        self.book.forget_idle_caps(&kept, now);
        for (index, row) in (0..).zip(&mut self.rows) {
            row.take_if(|_| self.book.scope(ScopeId(index)).is_none());
        }
        let is_known = |id: &ScopeId| self.rows[id.0 as usize].is_some();
        self.places.retain(is_known);
        self.outbox.left.retain(is_known);
        self.outbox.cold.retain(|id, _| is_known(id));
    }

    /// In the child of a fork nothing of this is its own.
    pub(super) fn begin_anew(&mut self, now: Time) {
        if let Some(outage) = self.outage.take() {
            outage.end(&mut self.book, now);
        }
        self.easing = None;
        self.book.forget_leases(false);
        (self.outbox, self.places) = (Outbox::default(), HashSet::new());
        self.distrust();
        self.pulse_at = Time::ZERO;
        self.unspoken.clear();
    }

    /// What is known of the server may be outdated.
    pub(super) fn distrust(&mut self) {
        for row in self.rows.iter_mut().flatten() {
            (row.seen, row.is_agreed) = (Seen::Nothing, false);
        }
    }

    /// Ends a lease here; the server is to be told.
    pub(super) fn settle(&mut self, id: LeaseId, actual: &Amounts, now: Time) -> Result<(), Ended> {
        let lease = self.book.lease(id)?;
        self.book.settle(id, actual, || now)?;
        let own = self.own_scope(&lease.path);
        self.ended(Ending { path: lease.path, own, sent: lease.sent, kept: *actual }, now);
        Ok(())
    }

    /// The same for a lease whose call has no answer.
    pub(super) fn fail(
        &mut self,
        id: LeaseId,
        kept: &Amounts,
        setback: &Setback,
        now: Time,
    ) -> Result<Time, Ended> {
        let lease = self.book.lease(id)?;
        let granted_at = self.book.fail(id, kept, setback, || now)?;
        let (sent, kept) = (lease.sent, *kept);
        if *setback == Setback::Other {
            self.ended(Ending { path: lease.path, own: None, sent, kept }, now);
            return Ok(granted_at);
        }
        self.ease(&lease.path, &sent, &kept, now);
        self.touch(lease.path.scopes(), now);
        if self.outage.is_some() {
            return Ok(granted_at);
        }
        let own = self.own_scope(&lease.path);
        for id in lease.path.scopes() {
            let setback = (own == Some(*id)).then_some(*setback);
            let cold = Cold::End { sent, kept, setback, is_success: false };
            self.outbox.cold.entry(*id).or_default().push(cold);
        }
        Ok(granted_at)
    }

    /// Takes over what an answer tells; whether a limit has changed by what is known here.
    pub(super) fn learn(&mut self, id: LeaseId, told: &[Told], now: Time) -> Result<bool, Ended> {
        let lease = self.book.lease(id)?;
        // What is told is of the whole, and here is a share.
        if self.outage.is_some() {
            return Ok(false);
        }
        let has_changed = self.book.learn(id, told, now)?;
        if let Some(own) = self.own_scope(&lease.path)
            && !told.is_empty()
        {
            let cold = Cold::Learn { sent: lease.sent, told: told.to_vec() };
            self.outbox.cold.entry(own).or_default().push(cold);
        }
        Ok(has_changed)
    }

    /// Gives up the places in the lines of a path.
    pub(super) fn leave(&mut self, path: &Path) {
        let left = path.scopes().iter().filter(|id| self.places.remove(id));
        self.outbox.left.extend(left);
    }

    /// Ends the leases whose callers have been silent for too long.
    pub(super) fn end_silent(&mut self, now: Time) {
        for id in self.book.silent(now) {
            let Ok(Lease { path, sent, .. }) = self.book.lease(id) else { continue };
            self.book.end(id, true);
            self.ended(Ending { path, own: None, sent, kept: sent.amounts }, now);
        }
    }

    /// What is done without the server is made up for in one, later.
    fn ended(&mut self, ending: Ending, now: Time) {
        self.touch(ending.path.scopes(), now);
        self.ease(&ending.path, &ending.sent, &ending.kept, now);
        if self.outage.is_none() {
            self.outbox.endings.push(ending);
        }
    }

    fn ease(&mut self, path: &Path, sent: &Sent, kept: &Amounts, now: Time) {
        if let Some(easing) = &mut self.easing {
            easing.ended(path, sent, kept, now);
        }
    }

    /// Takes the state of a scope over as the server has it; whether it can be read.
    pub(super) fn take_over(&mut self, id: ScopeId, bytes: Vec<u8>) -> bool {
        let Some(row) = self.rows[id.0 as usize].as_mut() else { return true };
        let Some(state) = wire::decode(row.name.clone(), &bytes) else { return false };
        // What all have agreed on is not to be said again: where many use a scope, somebody else would nearly always be faster.
        row.is_agreed |= state.quota == row.quota;
        (row.members, row.seen) = (state.members, Seen::Value(bytes));
        self.book.put(id, state.scope);
        true
    }

    /// The state of a scope to begin with: new, or as it was last known where the server has lost it. Who held what is told anew by each.
    pub(super) fn first_state(&self, id: ScopeId) -> Option<State> {
        let row = self.rows[id.0 as usize].as_ref()?;
        let mut state = State::new(row.name.clone(), &row.quota, row.is_cap);
        let known = self.book.scope(id).filter(|_| !row.members.is_empty());
        if let Some(scope) = known.cloned() {
            state.scope = scope;
            state.scope.hold_nothing();
        } else if row.is_careful {
            state.scope.be_careful();
        }
        Some(state)
    }

    /// Why a call has to wait, by what was last heard; None if it has room by that.
    pub(super) fn refusal(
        &self,
        path: &Path,
        amounts: &Amounts,
        process: &str,
        now: Time,
    ) -> Option<Decision> {
        self.book.refusal(path, amounts, self.ahead(path, process, now), now)
    }

    /// The earliest time at which there is room after `ahead`, and after those of other processes who stand before this one.
    pub(super) fn earliest(
        &self,
        path: &Path,
        ahead: &Amounts,
        amounts: &Amounts,
        process: &str,
        now: Time,
    ) -> Result<Option<Blocked>, Misfit> {
        let others = self.ahead(path, process, now).map_or_else(Amounts::default, |(_, others)| others);
        self.book.earliest(path, &ahead.plus(&others), amounts, now)
    }

    fn ahead(&self, path: &Path, process: &str, now: Time) -> Option<(ScopeId, Amounts)> {
        let ahead = path.scopes().iter().filter_map(|id| {
            let row = self.rows[id.0 as usize].as_ref()?;
            Some((*id, super::state::ahead_of(&row.members, process, now)?))
        });
        ahead.reduce(|(first, sum), (_, amounts)| (first, sum.plus(&amounts)))
    }

    /// How many processes use one of the scopes, this one included.
    pub(super) fn processes(&self) -> u32 {
        let counts = self.rows.iter().flatten().map(|row| row.members.len());
        u32::try_from(counts.max().unwrap_or_default()).unwrap_or(u32::MAX).max(1)
    }

    /// The innermost scope that is no cap.
    fn own_scope(&self, path: &Path) -> Option<ScopeId> {
        let is_own = |id: &&ScopeId| self.rows[id.0 as usize].as_ref().is_some_and(|row| !row.is_cap);
        path.scopes().iter().rev().find(is_own).copied()
    }
}

/// Nothing is known of why there is no room, so it is looked at again soon.
pub(super) fn unknown_wait(scope: ScopeId, ask_again_at: Time) -> Decision {
    let (cause, dimension, ready_at) = (Cause::Room, Dimension::Concurrency, None);
    Decision::Wait(Blocked { cause, scope, dimension, ready_at, ask_again_at })
}
