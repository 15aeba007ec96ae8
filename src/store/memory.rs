//! The store of one process: the book under one mutex.
//! The mutex is never held while anything waits or calls out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::book::Book;
use super::{Decision, LeaseId, ScopeStatus, Store};
use crate::clock::{Clock, Time};
use crate::error::{Error, Result};
use crate::pace::{Setback, Told};
use crate::quota::{Amounts, Quota};
use crate::scope::{Blocked, Path, ScopeId};

/// State in this process's memory.
pub struct MemoryStore {
    book: Mutex<Book>,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// An empty store on that clock, whose leases expire `lease_ttl` after they were granted or renewed.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, lease_ttl: Duration) -> Self {
        Self { book: Mutex::new(Book::new(lease_ttl)), clock }
    }
}

impl Store for MemoryStore {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn configure(&self, name: &str, quota: &Quota) -> Result<ScopeId> {
        Ok(self.book.lock().configure(name, quota, self.clock.now()))
    }

    fn be_careful(&self, scope: ScopeId) -> Result<()> {
        self.book.lock().be_careful(scope);
        Ok(())
    }

    fn cap(&self, name: &str, quota: &Quota, awaited: &dyn Fn() -> HashSet<ScopeId>) -> Result<ScopeId> {
        Ok(self.book.lock().cap(name, quota, awaited, self.clock.now()))
    }

    fn known(&self, name: &str) -> Option<ScopeId> {
        self.book.lock().known(name)
    }

    fn name(&self, scope: ScopeId) -> Arc<str> {
        self.book.lock().name(scope)
    }

    fn reserve(&self, path: &Path, amounts: &Amounts) -> Result<Decision> {
        Ok(self.book.lock().reserve(path, amounts, self.clock.now()))
    }

    fn earliest(&self, path: &Path, ahead: &Amounts, amounts: &Amounts) -> Result<Option<Blocked>> {
        self.book.lock().earliest(path, ahead, amounts, self.clock.now()).map_err(Error::NeverFits)
    }

    fn learn(&self, lease: LeaseId, told: &[Told]) -> Result<bool> {
        self.book.lock().learn(lease, told, self.clock.now()).map_err(Error::LeaseEnded)
    }

    fn settle(&self, lease: LeaseId, actual: &Amounts) -> Result<()> {
        self.book.lock().settle(lease, actual, || self.clock.now()).map_err(Error::LeaseEnded)
    }

    fn fail(&self, lease: LeaseId, kept: &Amounts, setback: &Setback) -> Result<Time> {
        self.book.lock().fail(lease, kept, setback, || self.clock.now()).map_err(Error::LeaseEnded)
    }

    fn renew(&self, lease: LeaseId) -> Result<()> {
        self.book.lock().renew(lease, self.clock.now()).map_err(Error::LeaseEnded)
    }

    fn status(&self, scope: ScopeId) -> Result<ScopeStatus> {
        Ok(self.book.lock().status(scope, self.clock.now()))
    }

    fn forget_leases(&self) {
        self.book.lock().forget_leases(false);
    }
}
