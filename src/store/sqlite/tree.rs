//! The scopes that one limiter uses, as they were last seen in the file, and the leases on them. No locks and no clock.

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::shared::{self, Around, ProcessId};
use crate::clock::Time;
use crate::quota::{Amounts, Quota};
use crate::scope::{Path, ScopeId};
use crate::store::Decision;
use crate::store::book::{Book, Lease};
use crate::store::outage::{Easing, MakeUp, Outage};
use crate::store::scope::Scope;

const BY_ID: &str = "SELECT id, state FROM scope WHERE id = ?";
const BY_NAME: &str = "SELECT id, state FROM scope WHERE name = ?";
const UPDATE: &str = "UPDATE scope SET state = ? WHERE id = ?";
const UPDATE_BY_NAME: &str = "UPDATE scope SET state = ? WHERE name = ?";
const INSERT: &str = "INSERT INTO scope (state, name) VALUES (?, ?)";

/// One scope beside its state, which is in the book.
pub(super) struct Row {
    /// Its number in the file, once it is known.
    id: Option<i64>,
    quota: Quota,
    is_cap: bool,
    pub(super) around: Around,
    /// The row as it was read or written last; empty where what is here may be something else.
    bytes: Vec<u8>,
    /// The row as it was read before it was written in this step.
    before: Option<Vec<u8>>,
}

/// Why a row could not be read or written.
pub(super) enum Fault {
    Damaged(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(super) struct Tree {
    pub(super) book: Book,
    pub(super) rows: Vec<Row>,
    /// Leases are of this epoch of the process.
    pub(super) epoch: u64,
    /// Where this process stands in line, and for how long.
    pub(super) places: Vec<(ScopeId, Time)>,
    /// While the file is lost.
    pub(super) outage: Option<Outage>,
    /// When it is there again.
    pub(super) easing: Option<Easing>,
    /// The losses of the file that were seen to.
    pub(super) losses: u64,
    /// Quotas that could not be said in the file.
    pub(super) unsaid: Vec<(ScopeId, Quota)>,
}

impl Tree {
    pub(super) fn new(book: Book) -> Self {
        Self {
            book,
            rows: Vec::new(),
            epoch: 0,
            places: Vec::new(),
            outage: None,
            easing: None,
            losses: 0,
            unsaid: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, id: ScopeId) -> &mut Row {
        &mut self.rows[id.0 as usize]
    }

    /// Makes a scope known here; what the file says of it is read when it is used.
    pub(super) fn register(&mut self, name: &str, quota: &Quota, is_cap: bool) -> ScopeId {
        let (quota, around) = (quota.clone(), Around::new(quota.clone()));
        self.rows.push(Row {
            id: None,
            quota: quota.clone(),
            is_cap,
            around,
            bytes: Vec::new(),
            before: None,
        });
        self.book.add(name, &quota, is_cap)
    }

    /// The caps that are known here.
    pub(super) fn caps(&self) -> impl Iterator<Item = ScopeId> {
        (0..).zip(&self.rows).filter(|(_, row)| row.is_cap).map(|(index, _)| ScopeId(index))
    }

    /// Does as the process does that begins anew: what it held was given back.
    pub(super) fn follow(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.book.forget_leases(true);
            self.distrust();
        }
    }

    /// What is here may be something else than what is in the file.
    pub(super) fn distrust(&mut self) {
        self.places.clear();
        self.rows.iter_mut().for_each(|row| row.bytes.clear());
    }

    /// A step has failed: what is here is again as it was before.
    pub(super) fn undo(&mut self, scopes: &[ScopeId]) {
        if self.outage.is_some() {
            // It did not even begin, and what is here are shares.
            return;
        }
        for id in scopes {
            let row = &mut self.rows[id.0 as usize];
            let bytes = row.before.take().unwrap_or_else(|| std::mem::take(&mut row.bytes));
            let known = self.book.scope(*id).map(|scope| scope.name.clone());
            if let Some((around, scope)) = known.and_then(|name| shared::read(name, &bytes)) {
                row.around = around;
                self.book.put(*id, scope);
            }
        }
        self.distrust();
    }

    /// Tells a row of the file what this process did without it. One that is gone or damaged is written as it was last seen.
    pub(super) fn make_up(
        &self,
        connection: &Connection,
        make_up: &MakeUp,
        process: ProcessId,
        now: Time,
    ) -> Result<(), Fault> {
        let id = make_up.scope;
        let Some(last_seen) = self.outage.as_ref().and_then(|outage| outage.last_seen(id)) else {
            return Ok(());
        };
        let name = last_seen.name.clone();
        let found = find(connection, BY_NAME, &*name, &[])?;
        let known = found.as_ref().and_then(|(_, bytes)| shared::read(name.clone(), bytes.as_deref()?));
        let (mut around, mut scope) = match known {
            Some(known) => known,
            None => (Around::new(self.rows[id.0 as usize].quota.clone()), held_by_nobody(last_seen)),
        };
        scope.make_up(make_up, now);
        around.holds_instead(process, &make_up.before, &make_up.held);
        for (_, quota) in self.unsaid.iter().filter(|(unsaid, _)| *unsaid == id) {
            if *quota != around.quota {
                scope.configure(quota, now);
                around.quota = quota.clone();
            }
        }
        let bytes = shared::write(&around, &scope);
        let statement = if found.is_some() { UPDATE_BY_NAME } else { INSERT };
        connection.prepare_cached(statement)?.execute(params![bytes, &*name])?;
        Ok(())
    }

    /// Goes on with the file after what was done without it has been told.
    pub(super) fn is_back(&mut self, epoch: u64, losses: u64, now: Time) {
        if let Some(outage) = self.outage.take() {
            self.easing = Some(outage.end(&mut self.book, now));
        }
        (self.epoch, self.losses) = (epoch, losses);
        self.unsaid.clear();
        // It may be another file.
        self.rows.iter_mut().for_each(|row| row.id = None);
        self.distrust();
    }

    /// Takes a scope over as it stands in the file, or as new where it does not.
    pub(super) fn load(&mut self, connection: &Connection, id: ScopeId) -> Result<(), Fault> {
        let Some(name) = self.book.scope(id).map(|scope| scope.name.clone()) else { return Ok(()) };
        let row = &mut self.rows[id.0 as usize];
        row.before = None;
        let found = match row.id {
            Some(number) => find(connection, BY_ID, number, &row.bytes)?,
            None => None,
        };
        let found = if found.is_some() { found } else { find(connection, BY_NAME, &*name, &row.bytes)? };
        let Some((number, bytes)) = found else {
            (row.id, row.around) = (None, Around::new(row.quota.clone()));
            row.bytes.clear();
            self.book.put(id, Scope::new(name, &row.quota, row.is_cap));
            return Ok(());
        };
        row.id = Some(number);
        if let Some(bytes) = bytes {
            let (around, scope) =
                shared::read(name.clone(), &bytes).ok_or_else(|| Fault::Damaged(name.to_string()))?;
            (row.around, row.bytes) = (around, bytes);
            self.book.put(id, scope);
        }
        Ok(())
    }

    /// Puts a scope into the file, if it has changed.
    pub(super) fn save(&mut self, connection: &Connection, id: ScopeId) -> rusqlite::Result<()> {
        let row = &mut self.rows[id.0 as usize];
        let Some(scope) = self.book.scope(id) else {
            if let Some(number) = row.id.take() {
                connection.prepare_cached("DELETE FROM scope WHERE id = ?")?.execute([number])?;
            }
            return Ok(());
        };
        let bytes = shared::write(&row.around, scope);
        if bytes == row.bytes {
            return Ok(());
        }
        if let Some(number) = row.id {
            connection.prepare_cached(UPDATE)?.execute(params![bytes, number])?;
        } else {
            connection.prepare_cached(INSERT)?.execute(params![bytes, &*scope.name])?;
            row.id = Some(connection.last_insert_rowid());
        }
        row.before = Some(std::mem::replace(&mut row.bytes, bytes));
        Ok(())
    }

    /// Takes a lease, if there is room and it is this process's turn.
    pub(super) fn reserve(
        &mut self,
        path: &Path,
        amounts: &Amounts,
        process: ProcessId,
        now: Time,
    ) -> Decision {
        if let Some(refusal) = self.refusal(path, amounts, process, now) {
            return refusal;
        }
        for id in path.scopes() {
            self.row(*id).around.took(process, amounts);
        }
        Decision::Granted(self.book.grant(path, amounts, now))
    }

    /// Why a call has to wait, if it has to.
    pub(super) fn refusal(
        &self,
        path: &Path,
        amounts: &Amounts,
        process: ProcessId,
        now: Time,
    ) -> Option<Decision> {
        self.book.refusal(path, amounts, self.ahead(path, process, now), now)
    }

    /// What other processes' calls ask for that come before one of this process, and in which scope the first of them waits.
    pub(super) fn ahead(&self, path: &Path, process: ProcessId, now: Time) -> Option<(ScopeId, Amounts)> {
        let ahead = path.scopes().iter().filter_map(|id| {
            let amounts = self.rows[id.0 as usize].around.ahead_of(process, now)?;
            Some((*id, amounts))
        });
        ahead.reduce(|(first, sum), (_, amounts)| (first, sum.plus(&amounts)))
    }

    /// Books that a call is over.
    pub(super) fn gave_back(&mut self, lease: &Lease, process: ProcessId) {
        for id in lease.path.scopes() {
            self.row(*id).around.gave_back(process, &lease.sent.amounts);
        }
    }
}

/// A scope as it was last seen, for a file in which nobody is known.
fn held_by_nobody(last_seen: &Scope) -> Scope {
    let mut scope = last_seen.clone();
    scope.hold_nothing();
    scope
}

/// The number of a row and its bytes, if they are not those that are known.
fn find(
    connection: &Connection,
    query: &str,
    key: impl ToSql,
    known: &[u8],
) -> rusqlite::Result<Option<(i64, Option<Vec<u8>>)>> {
    let mut statement = connection.prepare_cached(query)?;
    let found = statement.query_row([key], |row| {
        let bytes = row.get_ref(1)?.as_blob()?;
        Ok((row.get(0)?, (bytes != known).then(|| bytes.to_vec())))
    });
    found.optional()
}
