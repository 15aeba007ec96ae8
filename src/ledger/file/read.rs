//! Questions to a stored ledger, also while others write it. Nothing is folded here: every answer is exact.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::{PATIENCE, check, failure, tags};
use crate::error::{Error, Result};
use crate::ledger::entry::{Entry, FIXED, Facts, Label, Outcome, Usage};
use crate::ledger::query::{Grouping, Groups, Query};

const COLUMNS: &str = "label, pico_usd, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    cache_write_1h_tokens, input_audio_tokens, output_audio_tokens, cache_read_audio_tokens, waited, duration, outcome, attempt,
    estimated, at, id";

/// Sums by group.
///
/// # Errors
/// [`Error::Store`] if the file is not there, no ledger, or cannot be read.
pub fn groups(path: &Path, query: &Query) -> Result<Groups> {
    let connection = open(path)?;
    read_groups(&connection, query).map_err(|error| failure(path, &error))
}

/// The newest entries that are meant, at most so many, in the order of their writing.
///
/// # Errors
/// As [`groups`].
pub fn entries(path: &Path, query: &Query, most: usize) -> Result<Vec<Arc<Entry>>> {
    let connection = open(path)?;
    read_entries(&connection, query, most).map_err(|error| failure(path, &error))
}

fn open(path: &Path) -> Result<Connection> {
    let say = |error| failure(path, &error);
    if !path.exists() {
        return Err(Error::ledger(path.display(), "there is no such file"));
    }
    if path.is_dir() {
        return Err(Error::ledger(path.display(), "it cannot be opened: it is a folder"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(say)?;
    connection.busy_timeout(PATIENCE).map_err(say)?;
    match check(path, &connection) {
        Ok(true) => Ok(connection),
        Ok(false) => {
            Err(Error::ledger(path.display(), "there is no ledger in it: nobody has written one yet"))
        }
        // On a disk that cannot be written, the files beside it cannot be made; without them nobody is writing.
        Err(_) if !beside(path, "-wal").exists() => open_unchanging(path),
        Err(error) => Err(error),
    }
}

fn open_unchanging(path: &Path) -> Result<Connection> {
    let say = |error| failure(path, &error);
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        // Every byte may be written so, and few mean something else when they are not.
        write!(uri, "%{byte:02X}").expect("a String takes all");
    }
    uri += "?immutable=1";
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).map_err(say)?;
    check(path, &connection).map(|_| connection)
}

fn beside(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn read_groups(connection: &Connection, query: &Query) -> rusqlite::Result<Groups> {
    // One picture of the file for both tables.
    let connection = connection.unchecked_transaction()?;
    let mut grouping = Grouping::new(query);
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut labels = connection.prepare("SELECT scope, model, price, tier, tags, id FROM labels")?;
    let mut rows = labels.query([])?;
    while let Some(row) = rows.next()? {
        let label = label_of(row)?;
        if query.matches(&label) == Some(true) {
            places.insert(row.get(5)?, grouping.place(&label));
        }
    }
    let mut entries = connection.prepare(&format!("SELECT {COLUMNS} FROM entries {}", during(query)))?;
    let mut rows = entries.query(params![query.since, query.until])?;
    while let Some(row) = rows.next()? {
        if let Some(place) = places.get(&row.get(0)?) {
            grouping.at(*place).book(&facts_of(row)?);
        }
    }
    drop(rows);
    Ok(grouping.finish())
}

fn read_entries(connection: &Connection, query: &Query, most: usize) -> rusqlite::Result<Vec<Arc<Entry>>> {
    let connection = connection.unchecked_transaction()?;
    let mut one = connection.prepare("SELECT scope, model, price, tier, tags FROM labels WHERE id = ?")?;
    let mut labels: HashMap<i64, Option<Arc<Label>>> = HashMap::new();
    let mut found = Vec::new();
    let mut statement =
        connection.prepare(&format!("SELECT {COLUMNS} FROM entries {} ORDER BY id DESC", during(query)))?;
    let mut rows = statement.query(params![query.since, query.until])?;
    while found.len() < most
        && let Some(row) = rows.next()?
    {
        let id = row.get(0)?;
        let label = match labels.entry(id) {
            Place::Occupied(known) => known.into_mut(),
            Place::Vacant(place) => {
                let label = one.query_row([id], label_of)?;
                place.insert((query.matches(&label) == Some(true)).then(|| Arc::new(label)))
            }
        };
        if let Some(label) = label {
            let number = row.get::<_, i64>(17)?.cast_unsigned();
            found.push(Arc::new(Entry {
                number,
                at: row.get(16)?,
                label: label.clone(),
                facts: facts_of(row)?,
            }));
        }
    }
    found.reverse();
    Ok(found)
}

/// Without a limit in time the file is read from its beginning to its end, which is faster than by the index.
fn during(query: &Query) -> &'static str {
    if query.since == i64::MIN { "NOT INDEXED WHERE at >= ? AND at < ?" } else { "WHERE at >= ? AND at < ?" }
}

fn label_of(row: &Row<'_>) -> rusqlite::Result<Label> {
    let mut fixed: [Option<Arc<str>>; FIXED.len()] = Default::default();
    for (place, text) in fixed.iter_mut().enumerate() {
        *text = Some(row.get_ref(place)?.as_str()?.into());
    }
    let written = row.get_ref(4)?.as_str()?;
    let tags = tags::read(written).ok_or_else(|| {
        let what = format!("tags that ratekeeper did not write: {written}");
        rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, what.into())
    })?;
    Ok(Label { fixed, tags, tags_folded: false })
}

fn facts_of(row: &Row<'_>) -> rusqlite::Result<Facts> {
    let number = |place: usize| row.get::<_, i64>(place).map(i64::cast_unsigned);
    let mut usage = None;
    if row.get::<_, Option<i64>>(2)?.is_some() {
        let counts = &mut usage.insert(Usage::default()).counts;
        for (place, count) in counts.iter_mut().enumerate() {
            *count = number(place + 2)?;
        }
    }
    let outcome = row.get::<_, u8>(13).map(|place| Outcome::ALL.get(usize::from(place)).copied())?;
    Ok(Facts {
        usage,
        pico_usd: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
        waited: number(11)?,
        duration: number(12)?,
        outcome: outcome.ok_or(rusqlite::Error::IntegralValueOutOfRange(13, row.get(13)?))?,
        attempt: row.get(14)?,
        estimated: row.get(15)?,
    })
}
