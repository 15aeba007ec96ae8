//! The scopes that one limiter uses, as they were last seen in the file, and the leases on them. No locks and no clock.

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::shared::{self, Around, ProcessId};
use crate::clock::Time;
use crate::quota::{Amounts, Quota};
use crate::scope::{Path, ScopeId};
use crate::store::Decision;
use crate::store::book::{Book, Lease};
use crate::store::scope::Scope;

const BY_ID: &str = "SELECT id, state FROM scope WHERE id = ?";
const BY_NAME: &str = "SELECT id, state FROM scope WHERE name = ?";
const UPDATE: &str = "UPDATE scope SET state = ? WHERE id = ?";

/// One scope beside its state, which is in the book.
pub(super) struct Row {
    /// Its number in the file, once it is known.
    id: Option<i64>,
    quota: Quota,
    is_cap: bool,
    pub(super) around: Around,
    /// The row as it was read or written last; empty where what is here may be something else.
    bytes: Vec<u8>,
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
}

impl Tree {
    pub(super) fn row(&mut self, id: ScopeId) -> &mut Row {
        &mut self.rows[id.0 as usize]
    }

    /// Makes a scope known here; what the file says of it is read when it is used.
    pub(super) fn register(&mut self, name: &str, quota: &Quota, is_cap: bool) -> ScopeId {
        let (quota, around) = (quota.clone(), Around::new(quota.clone()));
        self.rows.push(Row { id: None, quota: quota.clone(), is_cap, around, bytes: Vec::new() });
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

    /// Takes a scope over as it stands in the file, or as new where it does not.
    pub(super) fn load(&mut self, connection: &Connection, id: ScopeId) -> Result<(), Fault> {
        let Some(name) = self.book.scope(id).map(|scope| scope.name.clone()) else { return Ok(()) };
        let row = &mut self.rows[id.0 as usize];
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
            connection
                .prepare_cached("INSERT INTO scope (name, state) VALUES (?, ?)")?
                .execute(params![&*scope.name, bytes])?;
            row.id = Some(connection.last_insert_rowid());
        }
        row.bytes = bytes;
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
