//! A ledger in a SQLite file: its format, the opening and checking of it, and the writing of a batch, once.
//!
//! No thread and no waiting: `writer` decides when. The file is in WAL mode: it can be read while it is written, by any process.

mod read;
mod tags;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};

pub use self::read::{entries, groups};
use super::entry::{Entry, Label};
use crate::error::{Error, Result};
use crate::store::insist;

/// "RKLG", by which SQLite files of ratekeeper's ledgers are known.
const APPLICATION: i64 = 0x524B_4C47;
/// The format that is written, and the newest that can be read.
const FORMAT: i64 = 1;
/// How long SQLite waits for another process before it says that the file is busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many ids of labels are remembered.
const MOST_LABELS: usize = 50_000;

const SCHEMA: &str = "
CREATE TABLE writers (
  id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started INTEGER NOT NULL, last INTEGER NOT NULL, UNIQUE (pid, started)
) STRICT;
CREATE TABLE labels (
  id INTEGER PRIMARY KEY, scope TEXT NOT NULL, model TEXT NOT NULL, price TEXT NOT NULL, tier TEXT NOT NULL, tags TEXT NOT NULL,
  UNIQUE (tags, model, scope, price, tier)
) STRICT;
CREATE TABLE entries (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, label INTEGER NOT NULL REFERENCES labels (id), pico_usd INTEGER,
  input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER, reasoning_tokens INTEGER,
  cache_write_1h_tokens INTEGER, input_audio_tokens INTEGER, output_audio_tokens INTEGER, cache_read_audio_tokens INTEGER,
  waited INTEGER NOT NULL, duration INTEGER NOT NULL, outcome INTEGER NOT NULL, attempt INTEGER NOT NULL,
  estimated INTEGER NOT NULL
) STRICT;
CREATE INDEX entries_by_time ON entries (at);
CREATE VIEW spend AS
  SELECT entries.id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS time, model, scope, tags, input_tokens, output_tokens,
    pico_usd / 1e12 AS usd, waited / 1e6 AS waited, duration / 1e6 AS duration, attempt,
    CASE outcome WHEN 0 THEN 'answered' WHEN 1 THEN 'failed' WHEN 2 THEN 'refused' ELSE 'abandoned' END AS outcome
  FROM entries JOIN labels ON labels.id = label;
";
const INSERT: &str = "INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Who writes: entries of one process, each with its number, are written once.
#[derive(Clone, Copy, Debug)]
pub struct Author {
    /// The process.
    pub pid: u32,
    /// When it began to write, in microseconds since 1970.
    pub started: i64,
}

/// Ids of labels by their addresses, which are theirs for as long as the labels are held here.
type Labels = HashMap<usize, (Arc<Label>, i64)>;

/// An open file.
pub struct File {
    connection: Connection,
    labels: Labels,
    identity: Option<(u64, u64)>,
}

impl File {
    /// Opens a file for writing, and makes it if it is not there.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be written, is damaged, belongs to something else, or has a newer format.
    pub fn open(path: &Path, is_durable: bool) -> Result<Self> {
        let say = |error| failure(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(say)?;
        connection.busy_timeout(PATIENCE).map_err(say)?;
        insist(&connection, PATIENCE, make).map_err(say)?;
        check(path, &connection)?;
        insist(&connection, PATIENCE, |connection| prepare(connection, is_durable)).map_err(say)?;
        Ok(Self { connection, labels: HashMap::new(), identity: identity(path) })
    }

    /// Closes it for good, as one file that can be copied.
    pub fn close(self) {
        // Where this fails, the file beside it stays, and is read as well.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    }

    /// Whether the path still leads to this file: a ledger that was deleted or moved away is written to no more.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        self.identity == identity(path)
    }

    /// Writes entries whose first has that number, all of them or none; those that are there already are left out.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot; the same entries may then be given again.
    pub fn write(&mut self, path: &Path, author: Author, first: u64, entries: &[Arc<Entry>]) -> Result<()> {
        let done = write(&mut self.connection, &mut self.labels, author, first, entries);
        if done.is_err() {
            // Ids that were rolled back are nobody's.
            self.labels.clear();
        }
        done.map_err(|error| failure(path, &error))
    }
}

fn write(
    connection: &mut Connection,
    labels: &mut Labels,
    author: Author,
    first: u64,
    entries: &[Arc<Entry>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO writers VALUES (NULL, ?, ?, 0)")?
            .execute(params![author.pid, author.started])?;
        let (id, last): (i64, u64) = transaction
            .prepare_cached("SELECT id, last FROM writers WHERE pid = ? AND started = ?")?
            .query_row(params![author.pid, author.started], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
            })?;
        let known =
            usize::try_from((last + 1).saturating_sub(first)).unwrap_or(usize::MAX).min(entries.len());
        let mut insert = transaction.prepare_cached(INSERT)?;
        for entry in &entries[known..] {
            let label = label_id(&transaction, labels, &entry.label)?;
            insert_entry(&mut insert, entry, label)?;
        }
        let last = first + entries.len() as u64 - 1;
        transaction
            .prepare_cached("UPDATE writers SET last = max(last, ?) WHERE id = ?")?
            .execute(params![last.cast_signed(), id])?;
    }
    transaction.commit()
}

fn insert_entry(
    insert: &mut rusqlite::CachedStatement<'_>,
    entry: &Entry,
    label: i64,
) -> rusqlite::Result<()> {
    let facts = &entry.facts;
    let count = |place: usize| facts.usage.map(|usage| usage.counts[place].cast_signed());
    let outcome = facts.outcome.number();
    insert.execute(params![
        entry.at,
        label,
        facts.pico_usd.map(u64::cast_signed),
        count(0),
        count(1),
        count(2),
        count(3),
        count(4),
        count(5),
        count(6),
        count(7),
        count(8),
        facts.waited.cast_signed(),
        facts.duration.cast_signed(),
        outcome,
        facts.attempt,
        facts.estimated,
    ])?;
    Ok(())
}

fn label_id(connection: &Connection, known: &mut Labels, label: &Arc<Label>) -> rusqlite::Result<i64> {
    if let Some((_, id)) = known.get(&Arc::as_ptr(label).addr()) {
        return Ok(*id);
    }
    let text = |place: usize| label.fixed[place].as_deref().unwrap_or_default();
    let written = tags::written(&label.tags);
    let values = params![text(0), text(1), text(2), text(3), written];
    connection
        .prepare_cached("INSERT OR IGNORE INTO labels VALUES (NULL, ?, ?, ?, ?, ?)")?
        .execute(values)?;
    let id = connection
        .prepare_cached(
            "SELECT id FROM labels WHERE scope = ? AND model = ? AND price = ? AND tier = ? AND tags = ?",
        )?
        .query_row(values, |row| row.get(0))?;
    if known.len() >= MOST_LABELS {
        known.clear();
    }
    known.insert(Arc::as_ptr(label).addr(), (label.clone(), id));
    Ok(id)
}

/// Whether there is a ledger in it; false if it is empty.
fn check(path: &Path, connection: &Connection) -> Result<bool> {
    let say = |error| failure(path, &error);
    // Of one moment: another process may be making it.
    let _snapshot = connection.unchecked_transaction().map_err(say)?;
    if is_empty(connection).map_err(say)? {
        return Ok(false);
    }
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(say);
    let application = number("PRAGMA application_id")?;
    let refuse = |what: String| Error::ledger(path.display(), what);
    if application != APPLICATION {
        return Err(refuse("it is a SQLite file of another application; choose another path".to_owned()));
    }
    let format = number("PRAGMA user_version")?;
    if format > FORMAT {
        return Err(refuse(format!(
            "it was written by a newer ratekeeper (format {format}, this one knows {FORMAT}); update ratekeeper"
        )));
    }
    number("SELECT count(*) FROM writers")?;
    number("SELECT coalesce(max(id), 0) + (SELECT coalesce(max(id), 0) FROM labels) FROM entries")?;
    Ok(true)
}

/// Puts the tables into an empty file; another process may be doing the same.
fn make(connection: &Connection) -> rusqlite::Result<()> {
    {
        let _snapshot = connection.unchecked_transaction()?;
        if !is_empty(connection)? {
            return Ok(());
        }
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    if is_empty(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()
}

/// Whether nothing and nobody's is in it. Inside a transaction: both answers are of one moment.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |asked: &str| connection.query_row(asked, [], |row| row.get::<_, i64>(0));
    Ok(number("PRAGMA application_id")? == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0)
}

fn prepare(connection: &Connection, is_durable: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if is_durable { "FULL" } else { "NORMAL" })?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // A fork closes and opens it, and must not wait for the disk.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Tells now, and not at the first entry, that the file cannot be written.
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?.rollback()
}

/// Which file it is, whatever its name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|known| (known.dev(), known.ino()))
}

/// The error as people read it.
fn failure(path: &Path, error: &rusqlite::Error) -> Error {
    let what = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is no SQLite file, or its beginning is damaged".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => format!("it is damaged ({error})"),
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => format!("it cannot be written ({error})"),
        Some(ErrorCode::CannotOpen) => {
            "it cannot be opened: look at the folder, and at who may write there".to_owned()
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("another process has held it for {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    };
    Error::ledger(path.display(), what)
}
