//! What a store does while its file is lost, and how it goes on with it.

use super::file::{self, State};
use super::tree::Tree;
use super::{SqliteStore, purses};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::quota::{Amounts, Quota};
use crate::scope::{Blocked, Path, ScopeId};
use crate::store::Decision;
use crate::store::book::Book;
use crate::store::outage::Outage;

/// Says in all files that this process is there, where it has them open, and sees to those that are lost.
pub fn pulse_all() {
    file::pulse_all();
    purses::pulse_all();
}

/// Gives back at once what this process holds in all files: it is about to end.
///
/// # Errors
/// The first [`Error::Store`]; what could not be given back comes back when it is missed.
pub fn leave_all() -> Result<()> {
    // What was taken without a file is told before this process is a stranger there.
    purses::leave_all().and(file::leave_all())
}

impl SqliteStore {
    /// Does as the file says: tells it what was done without it, or that this process has begun anew.
    pub(super) fn follow(&self, state: &mut State, tree: &mut Tree) -> Result<()> {
        if tree.losses == state.health.losses && tree.outage.is_none() {
            tree.follow(state.epoch);
            return Ok(());
        }
        self.begin_outage(tree, state);
        let told = self.tell(state, tree);
        match &told {
            Ok(()) => tree.is_back(state.epoch, state.health.losses, self.file.now()),
            Err(why) => self.file.lose(state, why),
        }
        told
    }

    /// Tells all rows what this process did without them, in one step.
    fn tell(&self, state: &State, tree: &Tree) -> Result<()> {
        let now = self.file.now();
        let mut make_ups =
            tree.outage.as_ref().map_or_else(Vec::new, |outage| outage.make_ups(&tree.book, now));
        if tree.epoch != state.epoch {
            for make_up in &mut make_ups {
                make_up.was_struck_off();
            }
        }
        self.transact(state, true, |connection, process| {
            make_ups.iter().try_for_each(|make_up| tree.make_up(connection, make_up, process, now))
        })
    }

    fn begin_outage(&self, tree: &mut Tree, state: &State) {
        if tree.outage.is_none() {
            tree.easing = None;
            let (policy, processes) = (self.file.policy, state.health.processes);
            tree.outage = Some(Outage::begin(&mut tree.book, policy, processes, self.file.now()));
        }
    }

    /// What was done with the file, or else what is done without it.
    pub(super) fn or_alone<T>(
        &self,
        tree: &mut Tree,
        done: Result<T>,
        alone: impl FnOnce(&mut Outage, &mut Book, Time) -> T,
    ) -> Result<T> {
        match done {
            Err(why @ Error::Store { .. }) => self.alone(tree, alone).ok_or(why),
            done => done,
        }
    }

    /// Does something without the file, if it was there once.
    fn alone<T>(&self, tree: &mut Tree, act: impl FnOnce(&mut Outage, &mut Book, Time) -> T) -> Option<T> {
        {
            let state = self.file.state.lock();
            if !state.health.is_lost() {
                return None;
            }
            self.begin_outage(tree, &state);
        }
        Some(act(tree.outage.as_mut()?, &mut tree.book, self.file.now()))
    }

    /// Takes a lease without the file; None if the policy is against it.
    pub(super) fn reserve_alone(&self, tree: &mut Tree, path: &Path, amounts: &Amounts) -> Option<Decision> {
        let decision = self.alone(tree, |outage, book, now| outage.reserve(book, path, amounts, now))??;
        if matches!(decision, Decision::Granted(_)) {
            self.file.state.lock().health.granted_alone += 1;
        }
        Some(decision)
    }

    /// Why a call has to wait a moment longer for its share, though the file is there again.
    pub(super) fn eased(&self, tree: &mut Tree, path: &Path, amounts: &Amounts) -> Option<Blocked> {
        let now = self.file.now();
        tree.easing.take_if(|easing| easing.is_over(now));
        tree.easing.as_ref()?.refusal(path, amounts, now)
    }

    /// Sets a scope's quota, unless it was set to just that before, by whatever process: what was learned since then stays.
    pub(super) fn agree(&self, tree: &mut Tree, id: ScopeId, quota: &Quota) -> Result<()> {
        let done = self.step(tree, &[id], |tree, _, now| {
            if tree.row(id).around.quota != *quota {
                tree.row(id).around.quota = quota.clone();
                if let Some(scope) = tree.book.scope_mut(id) {
                    scope.configure(quota, now);
                }
            }
        });
        let is_lost = done.is_err();
        self.or_alone(tree, done, |outage, book, now| {
            outage.add(book, id, now);
            outage.configure(book, id, quota, now);
        })?;
        if is_lost {
            tree.unsaid.push((id, quota.clone()));
        }
        Ok(())
    }

    /// Sees to the file though nobody asks.
    pub(super) fn look_after(&self) {
        let mut tree = self.tree.lock();
        let done = self.within(&mut tree, false, |_, _, _, _| Ok(()));
        // Whoever asks next is told, or goes on alone.
        self.or_alone(&mut tree, done, |_, _, _| ()).ok();
    }
}

impl Tree {
    /// What was done without the file was the parent's doing.
    pub(super) fn forget_outage(&mut self, now: Time) {
        if let Some(outage) = self.outage.take() {
            outage.end(&mut self.book, now);
        }
        self.easing = None;
    }
}
