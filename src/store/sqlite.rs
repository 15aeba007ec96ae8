//! The store of the processes of one host: the book's steps on rows of a SQLite file, each step one transaction.
//!
//! A step begins by taking the file for itself, reads the rows of the scopes it is about, decides with the book's own arithmetic, and
//! writes what has changed. Leases stay here; the rows say how many permits each process holds.
//!
//! Nobody is woken by another process, so whoever waits looks again soon. Looking writes nothing.

mod file;
mod lost;
mod patience;
mod purses;
mod schema;
mod shared;
mod sweep;
mod tree;

use std::collections::HashSet;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::book::{Book, Lease};
use super::{Condition, Decision, LeaseId, PLACE_KEPT, Policy, ScopeStatus, Store};
use crate::clock::{Clock, Time};
use crate::error::{Ended, Error, Result};
use crate::pace::{Setback, Told};
use crate::quota::{Amounts, Quota};
use crate::scope::{Blocked, Path, ScopeId};

use file::{File, State, nanos};
pub use file::{before_fork, turns};
pub use lost::{leave_all, pulse_all};
pub(crate) use patience::insist;
pub use purses::{SqlitePurses, purses_in};
use shared::ProcessId;
use tree::{Fault, Tree};

/// Who waits looks again after a part of the wait that is foreseen,
const LOOKS_A_WAIT: u32 = 16;
/// but no sooner
const SOONEST_LOOK: Duration = Duration::from_millis(4);
/// and no later: a settled call or a new limit of another process may have made room.
const LATEST_LOOK: Duration = Duration::from_millis(200);

/// State in a SQLite file, for all processes of a host.
pub struct SqliteStore {
    file: Arc<File>,
    tree: Arc<Mutex<Tree>>,
}

impl SqliteStore {
    /// The store in that file, which is made if it is not there, in a folder that is. A lease that is neither ended nor renewed
    /// for `lease_ttl` loses its permit, and all leases of a process that is gone do within ten seconds. The policy says what is done
    /// while the file cannot be used, once it was.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be written, is damaged, something else, or of a newer version.
    pub fn open(
        path: &FilePath,
        lease_ttl: Duration,
        policy: Policy,
        clock: Option<Arc<dyn Clock>>,
    ) -> Result<Self> {
        let file = File::at(path, policy, clock)?;
        let tree = Arc::new(Mutex::new(Tree::new(Book::new(lease_ttl))));
        file.attend(&tree);
        Ok(Self { file, tree })
    }

    /// Whether the store in that file can be used.
    ///
    /// # Errors
    /// [`Error::Store`] if not, also where this process has used it before and goes on without it.
    pub fn check(path: &FilePath, policy: Policy) -> Result<()> {
        let file = File::at(path, policy, None)?;
        let mut state = file.state.lock();
        file.prepare(&mut state)
    }

    /// One step: reads the scopes, acts, and writes them back, with nobody in between.
    fn step<T>(
        &self,
        tree: &mut Tree,
        scopes: &[ScopeId],
        act: impl FnOnce(&mut Tree, ProcessId, Time) -> T,
    ) -> Result<T> {
        let done = self.within(tree, true, |connection, tree, process, now| {
            scopes.iter().try_for_each(|id| tree.load(connection, *id))?;
            let done = act(tree, process, now());
            scopes.iter().try_for_each(|id| tree.save(connection, *id))?;
            Ok(done)
        });
        done.inspect_err(|_| tree.undo(scopes))
    }

    /// Reads the scopes and looks at them.
    fn look<T>(
        &self,
        tree: &mut Tree,
        scopes: &[ScopeId],
        act: impl FnOnce(&Tree, ProcessId, Time) -> T,
    ) -> Result<T> {
        self.within(tree, false, |connection, tree, process, now| {
            scopes.iter().try_for_each(|id| tree.load(connection, *id))?;
            Ok(act(tree, process, now()))
        })
    }

    fn within<T>(
        &self,
        tree: &mut Tree,
        writes: bool,
        act: impl FnOnce(&Connection, &mut Tree, ProcessId, &dyn Fn() -> Time) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let mut state = self.file.state.lock();
        self.file.prepare(&mut state)?;
        self.follow(&mut state, tree)?;
        let done = self.transact(&state, writes, |connection, process| {
            act(connection, tree, process, &|| self.file.now())
        });
        match &done {
            Ok(_) => state.health.succeeded(|| self.file.url(), self.file.policy, self.file.now()),
            Err(why) => self.file.lose(&mut state, why),
        }
        done
    }

    fn transact<T>(
        &self,
        state: &State,
        writes: bool,
        act: impl FnOnce(&Connection, ProcessId) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let connection = state.connection();
        if writes {
            run(connection, "BEGIN IMMEDIATE").map_err(|error| self.file.failure(&error))?;
        }
        let done = match act(connection, state.process) {
            Ok(done) if writes => run(connection, "COMMIT").map(|()| done).map_err(Fault::Sqlite),
            done => done,
        };
        done.map_err(|fault| {
            // Where SQLite has rolled back by itself there is nothing left to roll back.
            if !connection.is_autocommit()
                && let Err(error) = run(connection, "ROLLBACK")
            {
                return self.file.failure(&error);
            }
            self.file.fault(fault)
        })
    }

    fn reserve_once(&self, tree: &mut Tree, path: &Path, amounts: &Amounts) -> Result<Decision> {
        if path.scopes().iter().any(|id| tree.places.iter().any(|(place, _)| place == id)) {
            let refusal = self
                .look(tree, path.scopes(), |tree, process, now| tree.refusal(path, amounts, process, now))?;
            if let Some(refusal) = refusal {
                return Ok(refusal);
            }
        }
        let mut granted = None;
        let done = self.step(tree, path.scopes(), |tree, process, now| {
            let decision = tree.reserve(path, amounts, process, now);
            if let Decision::Granted(id) = decision {
                granted = Some(id);
            }
            decision
        });
        match (&done, granted) {
            (Ok(_), Some(_)) => tree.places.retain(|(place, _)| !path.scopes().contains(place)),
            (Err(_), Some(id)) => tree.book.end(id, false),
            _ => {}
        }
        done
    }

    fn ask(&self, tree: &mut Tree, path: &Path, amounts: &Amounts) -> Result<Decision> {
        let decision = self.reserve_once(tree, path, amounts)?;
        if matches!(decision, Decision::Wait(Blocked { ready_at: None, .. })) && self.make_room(tree)? {
            return self.reserve_once(tree, path, amounts);
        }
        Ok(decision)
    }

    /// Ends the leases of silent calls and of processes that are gone; tells whether that may have made room.
    fn make_room(&self, tree: &mut Tree) -> Result<bool> {
        let now = self.file.now();
        let mut any = false;
        for id in tree.book.silent(now) {
            self.end(tree, id, None, |book, _| {
                book.end(id, true);
                Ok(())
            })?;
            any = true;
        }
        Ok(self.sweep(tree)? || any)
    }

    fn sweep(&self, tree: &mut Tree) -> Result<bool> {
        let is_due =
            self.within(tree, false, |connection, _, _, now| Ok(sweep::is_due(connection, nanos(now()))?))?;
        if !is_due {
            return Ok(false);
        }
        self.within(tree, true, |connection, _, _, now| sweep::strike_off(connection, nanos(now()), 0))
    }

    /// Ends a lease in all scopes of its path, and in the rows of what this process holds; or here alone, to be told later. `actual` is
    /// what it used, if that is known.
    fn end<T>(
        &self,
        tree: &mut Tree,
        id: LeaseId,
        actual: Option<&Amounts>,
        act: impl Fn(&mut Book, Time) -> std::result::Result<T, Ended>,
    ) -> Result<T> {
        let lease: Lease = tree.book.lease(id).map_err(Error::LeaseEnded)?;
        let mut is_over = false;
        let done = self.step(tree, lease.path.scopes(), |tree, process, now| {
            let done = act(&mut tree.book, now)?;
            tree.gave_back(&lease, process);
            is_over = true;
            Ok(done)
        });
        if done.is_err() && is_over {
            tree.book.restore(id, lease);
        }
        if let (Ok(Ok(_)), Some(easing)) = (&done, &mut tree.easing) {
            let actual = actual.unwrap_or(&lease.sent.amounts);
            easing.ended(&lease.path, &lease.sent, actual, self.file.now());
        }
        self.or_alone(tree, done, |_, book, now| act(book, now))?.map_err(Error::LeaseEnded)
    }

    /// A decision with the time at which to look again.
    fn looked_at_again(&self, decision: Decision) -> Decision {
        let Decision::Wait(blocked) = decision else { return decision };
        let now = self.file.now();
        let wait = blocked.ready_at.map_or(Duration::ZERO, |ready_at| ready_at.since(now));
        let look_at = now + (wait / LOOKS_A_WAIT).clamp(SOONEST_LOOK, LATEST_LOOK);
        let due = blocked.ready_at.unwrap_or(look_at).max(now + Duration::from_nanos(1));
        Decision::Wait(Blocked { ask_again_at: due.min(look_at), ..blocked })
    }
}

impl Store for SqliteStore {
    fn now(&self) -> Time {
        self.file.now()
    }

    fn configure(&self, name: &str, quota: &Quota) -> Result<ScopeId> {
        let mut tree = self.tree.lock();
        let id = tree.book.known(name).unwrap_or_else(|| tree.register(name, quota, false));
        self.agree(&mut tree, id, quota)?;
        Ok(id)
    }

    fn be_careful(&self, scope: ScopeId) -> Result<()> {
        let mut tree = self.tree.lock();
        let done = self.step(&mut tree, &[scope], |tree, _, _| tree.book.be_careful(scope));
        self.or_alone(&mut tree, done, |outage, book, now| outage.be_careful(book, scope, now))
    }

    fn cap(&self, name: &str, quota: &Quota, awaited: &dyn Fn() -> HashSet<ScopeId>) -> Result<ScopeId> {
        let mut tree = self.tree.lock();
        if let Some(id) = tree.book.known(name) {
            return Ok(id);
        }
        if tree.book.is_crowded() {
            let caps: Vec<ScopeId> = tree.caps().collect();
            let done =
                self.step(&mut tree, &caps, |tree, _, now| tree.book.forget_idle_caps(&awaited(), now));
            // While the file is lost, nothing is forgotten.
            self.or_alone(&mut tree, done, |_, _, _| ())?;
        }
        let id = tree.register(name, quota, true);
        self.agree(&mut tree, id, quota)?;
        Ok(id)
    }

    fn known(&self, name: &str) -> Option<ScopeId> {
        self.tree.lock().book.known(name)
    }

    fn name(&self, scope: ScopeId) -> Arc<str> {
        self.tree.lock().book.name(scope)
    }

    fn reserve(&self, path: &Path, amounts: &Amounts) -> Result<Decision> {
        let mut tree = self.tree.lock();
        if let Some(blocked) = self.eased(&mut tree, path, amounts) {
            return Ok(self.looked_at_again(Decision::Wait(blocked)));
        }
        let decision = match self.ask(&mut tree, path, amounts) {
            Err(why @ Error::Store { .. }) => self.reserve_alone(&mut tree, path, amounts).ok_or(why)?,
            done => done?,
        };
        if let (Decision::Granted(_), Some(easing)) = (&decision, &mut tree.easing) {
            easing.granted(path, amounts, self.file.now());
        }
        Ok(self.looked_at_again(decision))
    }

    fn wait(&self, blocked: &Blocked, amounts: &Amounts) -> Result<()> {
        let mut tree = self.tree.lock();
        let (scope, now) = (blocked.scope, self.file.now());
        let is_kept = |(place, until): &(ScopeId, Time)| *place == scope && until.since(now) > PLACE_KEPT / 2;
        if tree.places.iter().any(is_kept) {
            return Ok(());
        }
        let until = self.step(&mut tree, &[scope], |tree, process, now| {
            Some(tree.row(scope).around.stand(process, amounts, now))
        });
        // While the file is lost, nobody else stands in line.
        let until = self.or_alone(&mut tree, until, |_, _, _| None)?;
        tree.places.retain(|(place, _)| *place != scope);
        tree.places.extend(until.map(|until| (scope, until)));
        Ok(())
    }

    fn leave(&self) {
        let mut tree = self.tree.lock();
        let places: Vec<ScopeId> =
            std::mem::take(&mut tree.places).into_iter().map(|(scope, _)| scope).collect();
        if !places.is_empty() {
            // What cannot be taken out lapses by itself, and the next step says why it could not be.
            self.step(&mut tree, &places, |tree, process, _| {
                for id in &places {
                    tree.row(*id).around.leave(process);
                }
            })
            .ok();
        }
    }

    fn earliest(&self, path: &Path, ahead: &Amounts, amounts: &Amounts) -> Result<Option<Blocked>> {
        let mut tree = self.tree.lock();
        let done = self.look(&mut tree, path.scopes(), |tree, process, now| {
            let others = tree.ahead(path, process, now).map_or_else(Amounts::default, |(_, others)| others);
            tree.book.earliest(path, &ahead.plus(&others), amounts, now)
        });
        self.or_alone(&mut tree, done, |_, book, now| book.earliest(path, ahead, amounts, now))?
            .map_err(Error::NeverFits)
    }

    fn learn(&self, lease: LeaseId, told: &[Told]) -> Result<bool> {
        let mut tree = self.tree.lock();
        let path = tree.book.lease(lease).map_err(Error::LeaseEnded)?.path;
        let done = self.step(&mut tree, path.scopes(), |tree, _, now| tree.book.learn(lease, told, now));
        // The provider tells of the whole, not of a share.
        self.or_alone(&mut tree, done, |_, _, _| Ok(false))?.map_err(Error::LeaseEnded)
    }

    fn settle(&self, lease: LeaseId, actual: &Amounts) -> Result<()> {
        self.end(&mut self.tree.lock(), lease, Some(actual), |book, now| book.settle(lease, actual, || now))
    }

    fn fail(&self, lease: LeaseId, kept: &Amounts, setback: &Setback) -> Result<Time> {
        self.end(&mut self.tree.lock(), lease, Some(kept), |book, now| {
            book.fail(lease, kept, setback, || now)
        })
    }

    fn renew(&self, lease: LeaseId) -> Result<()> {
        self.tree.lock().book.renew(lease, self.file.now()).map_err(Error::LeaseEnded)
    }

    fn status(&self, scope: ScopeId) -> Result<ScopeStatus> {
        let mut tree = self.tree.lock();
        let done = self
            .sweep(&mut tree)
            .and_then(|_| self.look(&mut tree, &[scope], |tree, _, now| tree.book.status(scope, now)));
        self.or_alone(&mut tree, done, |_, book, now| book.status(scope, now))
    }

    fn condition(&self) -> Option<Condition> {
        let state = self.file.state.lock();
        Some(state.health.condition(self.file.url(), self.file.policy, self.file.now()))
    }

    fn forget_leases(&self) {
        let mut tree = self.tree.lock();
        tree.forget_outage(self.file.now());
        tree.book.forget_leases(false);
        tree.distrust();
    }
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}
