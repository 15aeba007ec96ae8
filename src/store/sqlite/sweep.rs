//! Giving back what processes held that are gone: killed, or ended in peace.

use std::sync::Arc;

use rusqlite::Connection;

use super::purses;
use super::shared::{self, ProcessId};
use super::tree::Fault;

/// Strikes off all who have been silent until `now`, and `also`; tells whether anything was given back. Inside a transaction.
pub(super) fn strike_off(connection: &Connection, now: i64, also: ProcessId) -> Result<bool, Fault> {
    let mut strike =
        connection.prepare_cached("DELETE FROM process WHERE until <= ? OR id = ? RETURNING id")?;
    let gone = strike.query_map([now, also.cast_signed()], |row| row.get::<_, i64>(0))?;
    let gone = gone.map(|id| id.map(i64::cast_unsigned)).collect::<rusqlite::Result<Vec<ProcessId>>>()?;
    if gone.is_empty() {
        return Ok(false);
    }
    let mut any = purses::strike_off(connection, &gone)?;
    for (id, name, bytes) in rows(connection)? {
        let name: Arc<str> = name.into();
        let row = shared::read(name.clone(), &bytes);
        let (mut around, mut scope) = row.ok_or_else(|| Fault::Damaged(name.to_string()))?;
        // All of them, not only the first that held anything.
        let changed = gone.iter().filter(|process| around.is_gone(**process, &mut scope)).count();
        if changed > 0 {
            any = true;
            let update = "UPDATE scope SET state = ? WHERE id = ?";
            connection.prepare_cached(update)?.execute((shared::write(&around, &scope), id))?;
        }
    }
    Ok(any)
}

/// Whether anybody has been silent until `now`.
pub(super) fn is_due(connection: &Connection, now: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM process WHERE until <= ?)")?
        .query_row([now], |row| row.get(0))
}

fn rows(connection: &Connection) -> rusqlite::Result<Vec<(i64, String, Vec<u8>)>> {
    let mut all = connection.prepare_cached("SELECT id, name, state FROM scope")?;
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}
