//! Totals of everything, by label and time, in bounded memory.
//!
//! A cell is the sum of a label's entries in a quarter of an hour. When there are too many cells, old ones are folded: first in
//! time (quarters of past days become days), then in the tag that has the most values. No entry leaves the totals; a
//! question that folding has made unanswerable is told how many calls it might concern.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::entry::{Entry, FIXED, Facts, Label};
use super::query::{Field, Grouping, Groups, Query};
use super::sum::Sum;

const QUARTER: i64 = 15 * 60 * 1_000_000;
const DAY: i64 = 24 * 3600 * 1_000_000;
/// What [`Label::write_key`] writes.
type Key = Box<[u8]>;
/// How many labels are folded at once: a fraction of a millisecond.
const CHUNK: usize = 256;

struct Cell {
    /// Its quarter of an hour, unless it was folded.
    slot: Option<i64>,
    /// The times of its first and last entry.
    first_at: i64,
    last_at: i64,
    /// The lowest number in it.
    first_number: u64,
    sum: Sum,
}

impl Cell {
    fn absorb(&mut self, other: &Self) {
        self.slot = None;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.first_number = self.first_number.min(other.first_number);
        self.sum.add(&other.sum);
    }
}

struct Combination {
    label: Arc<Label>,
    cells: Vec<Cell>,
    last_number: u64,
}

impl Combination {
    /// Adds an entry; true if it is the first of a cell.
    fn book(&mut self, at: i64, number: u64, facts: &Facts) -> bool {
        let slot = Some(at.div_euclid(QUARTER));
        self.last_number = number;
        if let Some(cell) = self.cells.iter_mut().rev().find(|cell| cell.slot == slot) {
            cell.first_at = cell.first_at.min(at);
            cell.last_at = cell.last_at.max(at);
            cell.sum.book(facts);
            return false;
        }
        let mut sum = Sum::default();
        sum.book(facts);
        self.cells.push(Cell { slot, first_at: at, last_at: at, first_number: number, sum });
        true
    }
}

/// What was folded, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Column → how many labels lost its text.
    pub columns: BTreeMap<String, u64>,
    /// How many cells lost their quarter of an hour.
    pub times: u64,
}

/// The cells of a ledger.
pub struct Totals {
    combinations: HashMap<Key, Combination>,
    /// The keys, each with the number of the last entry when it was put here: the first are the next to be folded.
    order: VecDeque<(u64, Key)>,
    cells: usize,
    most_cells: usize,
    newest_at: i64,
    /// The newest time when times were last folded.
    times_folded_at: i64,
    folded: Folded,
}

impl Totals {
    /// Nothing booked; at most so many cells.
    #[must_use]
    pub fn new(most_cells: usize) -> Self {
        let folded = Folded::default();
        Self {
            combinations: HashMap::new(),
            order: VecDeque::new(),
            cells: 0,
            most_cells,
            newest_at: i64::MIN,
            times_folded_at: i64::MIN,
            folded,
        }
    }

    /// How many cells there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cells
    }

    /// Whether nothing was booked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cells == 0
    }

    /// What was folded so far.
    #[must_use]
    pub const fn folded(&self) -> &Folded {
        &self.folded
    }

    /// Adds an entry under a key, whose label is made if it is new; gives the label that all its entries share.
    pub fn book(
        &mut self,
        key: &[u8],
        label_of: impl FnOnce() -> Label,
        at: i64,
        number: u64,
        facts: &Facts,
    ) -> Arc<Label> {
        if self.cells >= self.most_cells {
            self.fold();
        }
        self.newest_at = self.newest_at.max(at);
        if let Some(known) = self.combinations.get_mut(key) {
            self.cells += usize::from(known.book(at, number, facts));
            return known.label.clone();
        }
        let label = Arc::new(label_of());
        let mut made = Combination { label: label.clone(), cells: Vec::new(), last_number: 0 };
        self.cells += usize::from(made.book(at, number, facts));
        self.combinations.insert(key.into(), made);
        self.order.push_back((number, key.into()));
        label
    }

    /// Sums by group; cells that a limit in time cuts are read entry by entry while these are in the ring.
    #[must_use]
    pub fn groups(&self, query: &Query, ring: &VecDeque<Arc<Entry>>) -> Groups {
        let mut grouping = Grouping::new(query);
        let oldest = ring.front().map_or(u64::MAX, |entry| entry.number);
        let mut cut = HashSet::new();
        for Combination { label, cells, .. } in self.combinations.values() {
            let matches = query.matches(label);
            if matches == Some(false) {
                continue;
            }
            let is_whole = label.is_whole();
            for cell in cells {
                if cell.last_at < query.since || cell.first_at >= query.until {
                    continue;
                }
                let is_inside = query.covers(cell.first_at) && query.covers(cell.last_at);
                if is_inside && matches == Some(true) {
                    grouping.of(label).add(&cell.sum);
                } else if !is_inside && is_whole && cell.slot.is_some() && cell.first_number >= oldest {
                    cut.insert((Arc::as_ptr(label), cell.slot));
                } else {
                    grouping.of(label).folded += cell.sum.calls;
                }
            }
        }
        if !cut.is_empty() {
            for entry in ring {
                let place = (Arc::as_ptr(&entry.label), Some(entry.at.div_euclid(QUARTER)));
                if query.covers(entry.at) && cut.contains(&place) {
                    grouping.of(&entry.label).book(&entry.facts);
                }
            }
        }
        grouping.finish()
    }

    /// Makes room, a little at a time: no call shall wait for a fold of everything.
    fn fold(&mut self) {
        if self.newest_at.saturating_sub(self.times_folded_at) >= DAY / 4 {
            self.times_folded_at = self.newest_at;
            self.fold_times(|slot, newest| {
                (slot * QUARTER < newest - DAY).then(|| (slot * QUARTER).div_euclid(DAY))
            });
        }
        while self.cells >= self.most_cells {
            let before = self.cells;
            self.fold_oldest();
            if self.cells == before {
                self.fold_times(|_, _| Some(0));
            }
            if self.cells == before {
                return;
            }
        }
    }

    /// Merges the cells of a label for which `place` gives the same.
    fn fold_times(&mut self, place: impl Fn(i64, i64) -> Option<i64>) {
        let newest = self.newest_at;
        for combination in self.combinations.values_mut() {
            let slot_of = |cell: &Cell| cell.slot.unwrap_or_else(|| cell.first_at.div_euclid(QUARTER));
            let mergeable = combination.cells.iter().filter(|cell| place(slot_of(cell), newest).is_some());
            if mergeable.count() < 2 {
                continue;
            }
            let (mut kept, mut merged) = (Vec::new(), BTreeMap::<i64, Cell>::new());
            let before = combination.cells.len();
            for cell in combination.cells.drain(..) {
                match place(slot_of(&cell), newest) {
                    None => kept.push(cell),
                    Some(day) => match merged.entry(day) {
                        std::collections::btree_map::Entry::Vacant(vacant) => {
                            vacant.insert(cell);
                        }
                        std::collections::btree_map::Entry::Occupied(mut there) => {
                            there.get_mut().absorb(&cell);
                        }
                    },
                }
            }
            combination.cells = merged.into_values().chain(kept).collect();
            let gone = before - combination.cells.len();
            self.cells -= gone;
            self.folded.times += gone as u64;
        }
    }

    /// Folds labels that were not used for long, one column after the other, until there are fewer of them.
    fn fold_oldest(&mut self) {
        let mut keys = self.oldest();
        let before = self.cells;
        while self.cells > before.saturating_sub(keys.len() / 4).min(before - 1) {
            keys = match self.most_varied(&keys) {
                Some(field) => self.fold_field(&keys, &field),
                None if self.has_tags(&keys) => self.fold_all_tags(&keys),
                None => break,
            };
        }
        for key in keys {
            self.order.push_back((self.combinations[&key].last_number, key));
        }
    }

    /// Takes keys from the front of the order; those that were used since they were put there go to its end, once.
    fn oldest(&mut self) -> Vec<Key> {
        let mut oldest = HashSet::with_capacity(CHUNK);
        let mut passed = 0;
        while oldest.len() < CHUNK
            && let Some((number, key)) = self.order.pop_front()
        {
            match self.combinations.get(&key) {
                None => {}
                Some(known) if known.last_number > number && passed < CHUNK => {
                    passed += 1;
                    self.order.push_back((known.last_number, key));
                }
                Some(_) => {
                    oldest.insert(key);
                }
            }
        }
        oldest.into_iter().collect()
    }

    fn has_tags(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| !self.combinations[key].label.tags.is_empty())
    }

    /// The tag with the most texts among these labels; another column only if no tag has two.
    fn most_varied(&self, keys: &[Key]) -> Option<Field> {
        let mut texts: HashMap<&str, HashSet<&str>> = HashMap::new();
        let mut fixed: [HashSet<&str>; FIXED.len()] = Default::default();
        for label in keys.iter().map(|key| &self.combinations[key].label) {
            for (name, value) in &label.tags {
                texts.entry(name).or_default().extend(value.as_deref());
            }
            for (seen, text) in fixed.iter_mut().zip(&label.fixed) {
                seen.extend(text.as_deref());
            }
        }
        let tag =
            texts.into_iter().map(|(name, seen)| (seen.len(), name)).max().filter(|(count, _)| *count > 1);
        if let Some((_, name)) = tag {
            return Some(Field::Tag(name.into()));
        }
        let (count, place) = fixed.iter().enumerate().map(|(place, seen)| (seen.len(), place)).max()?;
        (count > 1).then_some(Field::Fixed(place))
    }

    /// Folds a column of these labels; gives the keys of those that take their places.
    fn fold_field(&mut self, keys: &[Key], field: &Field) -> Vec<Key> {
        let name = match field {
            Field::Fixed(place) => FIXED[*place].to_owned(),
            Field::Tag(name) => name.to_string(),
        };
        let has_text = |totals: &Self, key: &[u8]| field.of(&totals.combinations[key].label).is_some();
        self.relabel_all(keys, name, has_text, |label| match field {
            Field::Fixed(place) => label.fixed[*place] = None,
            Field::Tag(name) => {
                for (_, value) in label.tags.iter_mut().filter(|(known, _)| **known == **name) {
                    *value = None;
                }
            }
        })
    }

    /// The last resort, where even the names of tags have no end.
    fn fold_all_tags(&mut self, keys: &[Key]) -> Vec<Key> {
        let has_tags = |totals: &Self, key: &[u8]| !totals.combinations[key].label.tags.is_empty();
        self.relabel_all(keys, "(all tags)".to_owned(), has_tags, |label| {
            label.tags.clear();
            label.tags_folded = true;
        })
    }

    fn relabel_all(
        &mut self,
        keys: &[Key],
        what: String,
        concerns: impl Fn(&Self, &[u8]) -> bool,
        change: impl Fn(&mut Label),
    ) -> Vec<Key> {
        let mut left = HashSet::with_capacity(keys.len());
        let mut count = 0;
        for key in keys {
            if concerns(self, key) {
                count += 1;
                left.insert(self.relabel(key, &change));
            } else {
                left.insert(key.clone());
            }
        }
        *self.folded.columns.entry(what).or_default() += count;
        left.into_iter().collect()
    }

    /// Moves a label's cells to another label.
    fn relabel(&mut self, key: &[u8], change: impl FnOnce(&mut Label)) -> Key {
        let old = self.combinations.remove(key).expect("the key was just listed");
        let mut label = (*old.label).clone();
        change(&mut label);
        let mut new_key = Vec::new();
        label.write_key(&mut new_key);
        let new_key: Key = new_key.into();
        let target = self.combinations.entry(new_key.clone()).or_insert_with(|| Combination {
            label: Arc::new(label),
            cells: Vec::new(),
            last_number: 0,
        });
        target.last_number = target.last_number.max(old.last_number);
        for cell in old.cells {
            let same = |known: &&mut Cell| known.slot.is_some() && known.slot == cell.slot;
            if let Some(known) = target.cells.iter_mut().find(same) {
                let slot = known.slot;
                known.absorb(&cell);
                known.slot = slot;
                self.cells -= 1;
            } else {
                target.cells.push(cell);
            }
        }
        new_key
    }
}
