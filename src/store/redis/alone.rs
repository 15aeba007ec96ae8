//! What a process does while its Redis is lost, and how it comes back.
//! The steps are those of [`crate::store::outage`]; here is when they are taken.

use std::collections::HashSet;

use super::exchange::LATEST_LOOK;
use super::gate::Inside;
use super::store::{RedisStore, Ties};
use super::tree::{Cold, Seen, Tree, unknown_wait};
use crate::clock::Time;
use crate::error::Result;
use crate::quota::Amounts;
use crate::scope::{Path, ScopeId};
use crate::store::outage::Outage;
use crate::store::{Decision, Policy};

impl RedisStore {
    /// Tells the server what was done without it, if it was lost and is there again.
    ///
    /// # Errors
    /// If it still is lost.
    pub(super) fn come_back(&self, ties: &Ties) -> Result<()> {
        if let Some(failure) = ties.link.failure() {
            return Err(failure);
        }
        {
            let _inside = Inside::enter();
            let mut tree = self.tree.lock();
            if tree.outage.is_none() {
                return Ok(());
            }
            tree.end_outage(self.clock.now());
        }
        self.swap_cold(ties)
    }

    /// Decides by policy about those who have no decision yet; none where that is to decide nothing.
    pub(super) fn decide_alone(
        &self,
        ties: &Ties,
        asked: &[(Path, Amounts)],
        decisions: &mut [Option<Decision>],
    ) {
        let granted = self.decide_here(asked, decisions);
        ties.link.count(None, granted);
    }

    /// How many of them are granted.
    fn decide_here(&self, asked: &[(Path, Amounts)], decisions: &mut [Option<Decision>]) -> u64 {
        let _inside = Inside::enter();
        let (mut tree, now) = (self.tree.lock(), self.clock.now());
        tree.begin_outage(self.policy, now);
        let mut blocked: HashSet<ScopeId> = HashSet::new();
        let mut granted = 0;
        for ((path, amounts), decision) in
            asked.iter().zip(decisions).filter(|(_, decision)| decision.is_none())
        {
            // No small call passes a large one.
            if let Some(scope) = path.scopes().iter().find(|scope| blocked.contains(scope)) {
                *decision = Some(unknown_wait(*scope, now + LATEST_LOOK));
                continue;
            }
            *decision = tree.reserve_alone(path, amounts, now);
            match decision {
                Some(Decision::Wait(reason)) => _ = blocked.insert(reason.scope),
                Some(Decision::Granted(_)) => granted += 1,
                _ => {}
            }
        }
        granted
    }

    /// Has those wait for whom a process that has just come back has no share left, though the whole may have room.
    pub(super) fn hold_back(&self, asked: &[(Path, Amounts)], decisions: &mut [Option<Decision>]) {
        let _inside = Inside::enter();
        let (mut tree, now) = (self.tree.lock(), self.clock.now());
        for (path, _) in asked {
            tree.touch(path.scopes(), now);
        }
        tree.easing.take_if(|easing| easing.is_over(now));
        let Some(easing) = &tree.easing else { return };
        for ((path, amounts), decision) in asked.iter().zip(decisions) {
            *decision = easing.refusal(path, amounts, now).map(Decision::Wait);
        }
    }
}

impl Tree {
    /// The server is lost. What it was not told yet is in the shares.
    pub(super) fn begin_outage(&mut self, policy: Policy, now: Time) {
        if self.outage.is_some() {
            return;
        }
        self.easing = None;
        self.places.clear();
        (self.outbox.endings, self.outbox.left) = (Vec::new(), Vec::new());
        for cold in self.outbox.cold.values_mut() {
            // What was done in an earlier loss is still to be made up for.
            cold.retain(|cold| matches!(cold, Cold::MakeUp(_)));
        }
        self.outbox.cold.retain(|_, cold| !cold.is_empty());
        let processes = self.processes();
        self.outage = Some(Outage::begin(&mut self.book, policy, processes, now));
    }

    pub(super) fn reserve_alone(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Option<Decision> {
        self.outage.as_ref()?.reserve(&mut self.book, path, amounts, now)
    }

    /// The server is there again: what was done meanwhile goes into the scopes as it has them.
    pub(super) fn end_outage(&mut self, now: Time) {
        let Some(outage) = self.outage.take() else { return };
        for make_up in outage.make_ups(&self.book, now) {
            self.outbox.cold.entry(make_up.scope).or_default().push(Cold::MakeUp(make_up));
        }
        self.easing = Some(outage.end(&mut self.book, now));
        for row in self.rows.iter_mut().flatten() {
            row.seen = Seen::Nothing;
        }
    }
}
