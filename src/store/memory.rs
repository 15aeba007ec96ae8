//! The store of one process: the book under one mutex.
//! The mutex is never held while anything waits or calls out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::book::Book;
use super::{Decision, LeaseId, ScopeStatus, Store};
use crate::clock::{Clock, Time};
use crate::error::{Ended, Error, Result};
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

    fn configure(&self, name: &str, quota: &Quota) -> ScopeId {
        self.book.lock().configure(name, quota, self.clock.now())
    }

    fn be_careful(&self, scope: ScopeId) {
        self.book.lock().be_careful(scope);
    }

    fn cap(&self, name: &str, quota: &Quota, awaited: &dyn Fn() -> HashSet<ScopeId>) -> ScopeId {
        self.book.lock().cap(name, quota, awaited, self.clock.now())
    }

    fn known(&self, name: &str) -> Option<ScopeId> {
        self.book.lock().known(name)
    }

    fn reserve(&self, path: &Path, amounts: &Amounts) -> Decision {
        self.book.lock().reserve(path, amounts, self.clock.now())
    }

    fn earliest(&self, path: &Path, ahead: &Amounts, amounts: &Amounts) -> Result<Option<Blocked>> {
        self.book.lock().earliest(path, ahead, amounts, self.clock.now()).map_err(Error::NeverFits)
    }

    fn learn(&self, lease: LeaseId, told: &[Told]) -> std::result::Result<bool, Ended> {
        self.book.lock().learn(lease, told, self.clock.now())
    }

    fn settle(&self, lease: LeaseId, actual: &Amounts) -> std::result::Result<(), Ended> {
        self.book.lock().settle(lease, actual, || self.clock.now())
    }

    fn fail(&self, lease: LeaseId, kept: &Amounts, setback: &Setback) -> std::result::Result<Time, Ended> {
        self.book.lock().fail(lease, kept, setback, || self.clock.now())
    }

    fn renew(&self, lease: LeaseId) -> std::result::Result<(), Ended> {
        self.book.lock().renew(lease, self.clock.now())
    }

    fn status(&self, scope: ScopeId) -> ScopeStatus {
        self.book.lock().status(scope, self.clock.now())
    }

    fn forget_leases(&self) {
        self.book.lock().forget_leases();
    }
}
