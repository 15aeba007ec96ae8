//! The book of what every attempt used and cost, by whose it was.
//!
//! Entries in a ring, totals of everything in [`totals`], both in bounded memory. Money is an integer of pico-USD (1e-12 USD), and
//! every sum is exact. No prices: what an attempt cost is told by who books it.

pub mod entry;
pub mod file;
pub mod query;
pub mod sum;
pub mod totals;
pub mod writer;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use entry::{Entry, FIXED, Facts, Label};
use query::{Groups, Query};
use totals::{Folded, Totals};

/// A ledger in memory.
///
/// ```
/// use ratekeeper::ledger::{Ledger, entry::{Facts, Outcome, Usage}, query::Query};
///
/// let ledger = Ledger::new(10_000, 20_000);
/// let mut usage = Usage::default();
/// usage.counts[0] = 1_000;
/// let facts = Facts {
///     usage: Some(usage), pico_usd: Some(150_000_000), waited: 0, duration: 0, outcome: Outcome::Answered, attempt: 1, estimated: false,
/// };
/// ledger.book(0, ["openai", "gpt-4o-mini", "", ""], &[("job", "42")], facts);
/// assert_eq!(ledger.groups(&Query::default())[0].1.pico_usd, 150_000_000);
/// ```
pub struct Ledger {
    book: Mutex<Book>,
    most_entries: usize,
}

struct Book {
    ring: VecDeque<Arc<Entry>>,
    totals: Totals,
    /// The number of the last entry.
    last: u64,
    /// Room to write a key in.
    key: Vec<u8>,
}

impl Ledger {
    /// An empty ledger that keeps so many entries, and totals in so many cells.
    #[must_use]
    pub fn new(most_entries: usize, most_cells: usize) -> Self {
        let book = Book { ring: VecDeque::new(), totals: Totals::new(most_cells), last: 0, key: Vec::new() };
        Self { book: Mutex::new(book), most_entries }
    }

    /// Books an attempt, at `at` microseconds since 1970. `fixed` in the order of [`FIXED`], `tags` in that of their names.
    pub fn book(
        &self,
        at: i64,
        fixed: [&str; FIXED.len()],
        tags: &[(&str, &str)],
        facts: Facts,
    ) -> Arc<Entry> {
        let mut book = self.book.lock();
        let Book { ring, totals, last, key } = &mut *book;
        *last += 1;
        entry::write_key(key, fixed, tags);
        let label = totals.book(key, || Label::new(fixed, tags), at, *last, &facts);
        let entry = Arc::new(Entry { number: *last, at, label, facts });
        if self.most_entries > 0 {
            if ring.len() >= self.most_entries {
                ring.pop_front();
            }
            ring.push_back(entry.clone());
        }
        entry
    }

    /// The entries that are still in the ring and meant by the query, in the order of their booking.
    #[must_use]
    pub fn entries(&self, query: &Query) -> Vec<Arc<Entry>> {
        let is_meant =
            |entry: &&Arc<Entry>| query.covers(entry.at) && query.matches(&entry.label) == Some(true);
        self.book.lock().ring.iter().filter(is_meant).cloned().collect()
    }

    /// Sums of all that was ever booked.
    #[must_use]
    pub fn groups(&self, query: &Query) -> Groups {
        let book = self.book.lock();
        book.totals.groups(query, &book.ring)
    }

    /// How many entries were booked, how many are in the ring, how many cells there are, and what was folded.
    #[must_use]
    pub fn size(&self) -> (u64, usize, usize, Folded) {
        let book = self.book.lock();
        (book.last, book.ring.len(), book.totals.len(), book.totals.folded().clone())
    }
}
