//! The tables of a store's file, and of which version they are.

use rusqlite::Connection;

/// Says that a file is a store of ours: "rkst".
const APPLICATION: i64 = 0x726b_7374;
/// The version of the tables and of the bytes in them.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE scope (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, state BLOB NOT NULL) STRICT;
CREATE TABLE process (id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;
CREATE TABLE purse (key TEXT PRIMARY KEY, state BLOB NOT NULL, is_held INTEGER NOT NULL, ends REAL) STRICT, WITHOUT ROWID;
CREATE INDEX purse_held ON purse (is_held) WHERE is_held;
CREATE INDEX purse_ends ON purse (ends) WHERE ends IS NOT NULL;
CREATE TABLE retries (scope TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE clock (run TEXT NOT NULL, origin INTEGER NOT NULL, seen INTEGER NOT NULL) STRICT;
";

/// Makes the tables in an empty file. What is wrong with one that is not ours, in words; outside, what SQLite says.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<Result<(), String>> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("user_version")? == 0 {
        make(connection)?;
    }
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION {
        return Ok(Err("it is something else's SQLite file; give the store a file of its own".to_owned()));
    }
    if version != VERSION {
        return Ok(Err(format!(
            "it is of version {version}, and this ratekeeper knows version {VERSION}: use the same release everywhere"
        )));
    }
    // With these a commit is one write to the log, which survives a kill; what a power cut loses is the last moments.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(Ok(()))
}

fn make(connection: &Connection) -> rusqlite::Result<()> {
    let is_empty = || connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0));
    if !is_empty()? {
        return Ok(());
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    // Another process may have made them meanwhile.
    if is_empty()? {
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    connection.execute_batch("COMMIT")
}
