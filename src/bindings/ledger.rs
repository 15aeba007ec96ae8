//! `Ledger`: attempts booked from Python, and questions about them.

mod asked;
mod entry;
mod facts;
mod stored;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use self::asked::{Answer, answer_of, query_of};
pub(super) use self::entry::Entry;
use self::facts::{Tags, facts_of, micros_of, tier_of};
use self::stored::Stored;
use super::clock::{ManualClock, clock_of};
use super::convert::{duration, text, whole};
use crate::clock::{Clock, unix_micros};
use crate::ledger;
use crate::ledger::file::{entries, groups};

/// More entries or cells than this are a typing error: they would not fit into the memory.
const MOST: i64 = 100_000_000;

/// How long an entry waits for others to be written with it.
const FLUSH: Duration = Duration::from_millis(100);
/// Of more models than these it is not said again that they have no price.
const MOST_UNPRICED: usize = 1_000;

/// Entries in a ring, totals of everything in bounded memory.
#[pyclass(frozen, subclass, module = "ratekeeper._core")]
pub(super) struct Ledger {
    core: ledger::Ledger,
    stored: Option<Arc<Stored>>,
    clock: Option<Arc<dyn Clock>>,
    /// Somebody wants to be told of every entry.
    is_told: AtomicBool,
    /// Models of which it was said that they have no price.
    unpriced: Mutex<HashSet<Box<str>>>,
}

impl Ledger {
    fn now(&self) -> i64 {
        self.clock.as_ref().map_or_else(unix_micros, |clock| {
            i64::try_from(clock.now().nanos() / 1_000).expect("a u64 of nanoseconds is less than that")
        })
    }

    fn is_first_unpriced(&self, model: &str) -> bool {
        let mut known = self.unpriced.lock();
        known.len() < MOST_UNPRICED && !known.contains(model) && known.insert(model.into())
    }
}

#[pymethods]
impl Ledger {
    #[new]
    #[pyo3(
        signature = (*, entries = None, cells = None, path = None, flush = None, clock = None),
        text_signature = "(*, entries=10000, cells=20000, path=None, flush=0.1, clock=None)"
    )]
    fn new(
        py: Python<'_>,
        entries: Option<&Bound<'_, PyAny>>,
        cells: Option<&Bound<'_, PyAny>>,
        path: Option<PathBuf>,
        flush: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<Self> {
        let flush = flush.map_or(Ok(FLUSH), |flush| duration("flush", flush))?;
        let entries = entries.map_or(Ok(10_000), |entries| whole("entries", entries, 0..=MOST))?;
        let cells = cells.map_or(Ok(20_000), |cells| whole("cells", cells, 100..=MOST))?;
        let size = |number: i64| usize::try_from(number).expect("it is within the range");
        Ok(Self {
            core: ledger::Ledger::new(size(entries), size(cells)),
            stored: path.map(|path| Stored::open(py, path, flush)).transpose()?,
            clock: clock.map(|clock| clock_of(Some(clock))),
            is_told: AtomicBool::new(false),
            unpriced: Mutex::default(),
        })
    }

    /// Books one attempt whose cost is known, or known to be unknown.
    #[pyo3(
        signature = (usage, pico_usd, *, price = None, scope = None, model = None, tags = None, waited = None, duration = None,
            outcome = None, attempt = None, estimated = false, at = None),
        text_signature = "(self, usage, pico_usd, *, price='', scope='', model='', tags=None, waited=0.0, duration=0.0, outcome='answered', attempt=1, estimated=False, at=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "the fields of an entry")]
    fn book(
        slf: &Bound<'_, Self>,
        usage: &Bound<'_, PyAny>,
        pico_usd: &Bound<'_, PyAny>,
        price: Option<&Bound<'_, PyAny>>,
        scope: Option<&Bound<'_, PyAny>>,
        model: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        waited: Option<&Bound<'_, PyAny>>,
        duration: Option<&Bound<'_, PyAny>>,
        outcome: Option<&Bound<'_, PyAny>>,
        attempt: Option<&Bound<'_, PyAny>>,
        estimated: bool,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Entry> {
        let this = slf.get();
        let facts = facts_of(usage, pico_usd, waited, duration, outcome, attempt, estimated)?;
        let at = at.map_or_else(|| Ok(this.now()), |at| micros_of("at", at))?;
        let tier = tier_of(usage)?;
        let fixed = [text("scope", scope)?, text("model", model)?, text("price", price)?, &tier];
        let tags = Tags::of(tags)?;
        let entry = Entry(this.core.book(at, fixed, &tags.sorted()?, facts));
        if let Some(stored) = &this.stored {
            stored.put(slf.py(), &entry.0)?;
        }
        if facts.is_unpriced() && this.is_first_unpriced(entry.model()) {
            slf.call_method1(intern!(slf.py(), "_tell_unpriced"), (entry.clone(),))?;
        }
        if this.is_told.load(Ordering::Relaxed) {
            slf.call_method1(intern!(slf.py(), "_tell"), (entry.clone(),))?;
        }
        Ok(entry)
    }

    /// Whether `_tell` is called with every entry.
    fn _tell_of_entries(&self, wanted: bool) {
        self.is_told.store(wanted, Ordering::Relaxed);
    }

    /// For subclasses: told of every entry, if they asked for it.
    #[staticmethod]
    fn _tell(_entry: &Entry) {}

    /// For subclasses: told of the first entry of each model without a price.
    #[staticmethod]
    fn _tell_unpriced(_entry: &Entry) {}

    /// Seconds since 1970 by the ledger's clock.
    fn _now(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "microseconds of the next centuries fit")]
        let micros = self.now() as f64;
        micros / 1e6
    }

    /// The entries of the ring that are meant, oldest first.
    fn _entries(
        &self,
        since: Option<i64>,
        until: Option<i64>,
        wanted: &Bound<'_, PyDict>,
    ) -> PyResult<Vec<Entry>> {
        let query = query_of(None, since, until, wanted)?;
        Ok(self.core.entries(&query).into_iter().map(Entry).collect())
    }

    /// Pairs of a group's texts and its sum.
    fn _groups<'py>(
        &self,
        py: Python<'py>,
        by: &Bound<'py, PyList>,
        since: Option<i64>,
        until: Option<i64>,
        wanted: &Bound<'py, PyDict>,
    ) -> PyResult<Answer<'py>> {
        let query = query_of(Some(by), since, until, wanted)?;
        answer_of(py, self.core.groups(&query))
    }

    /// Writes all that was booked to the file, and waits for it; false if it cannot be written now.
    fn flush(&self, py: Python<'_>) -> PyResult<bool> {
        self.stored.as_ref().map_or(Ok(true), |stored| stored.flush(py))
    }

    /// Writes all that was booked, and closes the file; a later entry opens it again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stored.as_ref().map_or(Ok(()), |stored| stored.close(py))
    }

    fn _health<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.stored.as_ref().map(|stored| stored.health(py)).transpose()
    }

    /// Like `_groups`, of a file.
    #[staticmethod]
    fn _groups_of<'py>(
        py: Python<'py>,
        path: PathBuf,
        by: &Bound<'py, PyList>,
        since: Option<i64>,
        until: Option<i64>,
        wanted: &Bound<'py, PyDict>,
    ) -> PyResult<Answer<'py>> {
        let query = query_of(Some(by), since, until, wanted)?;
        answer_of(py, stored::read(py, move || groups(&path, &query))?)
    }

    /// Like `_entries`, of a file, and at most so many of the newest.
    #[staticmethod]
    fn _entries_of(
        py: Python<'_>,
        path: PathBuf,
        since: Option<i64>,
        until: Option<i64>,
        wanted: &Bound<'_, PyDict>,
        most: usize,
    ) -> PyResult<Vec<Entry>> {
        let query = query_of(None, since, until, wanted)?;
        let found = stored::read(py, move || entries(&path, &query, most))?;
        Ok(found.into_iter().map(Entry).collect())
    }

    fn _size<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (booked, entries, cells, folded) = self.core.size();
        let size = PyDict::new(py);
        size.set_item("booked", booked)?;
        size.set_item("entries", entries)?;
        size.set_item("cells", cells)?;
        let columns = PyDict::new(py);
        for (name, count) in folded.columns {
            columns.set_item(name, count)?;
        }
        size.set_item("folded", columns)?;
        size.set_item("folded_times", folded.times)?;
        Ok(size)
    }
}
