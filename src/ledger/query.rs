//! What is asked of a ledger: which entries, and how they are grouped.
//! Pure: the same question goes to the memory and to a stored file.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::{FIXED, Label, Text};
use super::sum::Sum;

/// A column to choose or to group by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// One of [`FIXED`], by its place.
    Fixed(usize),
    /// The tag of that name.
    Tag(Box<str>),
}

impl Field {
    /// The column of that name: scope, model, price, tier, or else a tag.
    #[must_use]
    pub fn named(name: &str) -> Self {
        FIXED.iter().position(|fixed| *fixed == name).map_or_else(|| Self::Tag(name.into()), Self::Fixed)
    }

    /// The label's text in this column: empty where it has no such tag, `None` where it was folded.
    #[must_use]
    pub fn of<'a>(&self, label: &'a Label) -> Option<&'a Arc<str>> {
        self.slot(label).and_then(Option::as_ref)
    }

    fn slot<'a>(&self, label: &'a Label) -> Option<&'a Text> {
        match self {
            Self::Fixed(place) => Some(&label.fixed[*place]),
            Self::Tag(name) => label.tags.iter().find(|(known, _)| **known == **name).map(|(_, value)| value),
        }
    }

    /// Like [`Field::of`], with what stands for an absent tag.
    fn group(&self, label: &Label, absent: &Arc<str>) -> Text {
        match self.slot(label) {
            Some(text) => text.clone(),
            None if label.tags_folded => None,
            None => Some(absent.clone()),
        }
    }

    /// Whether the label has that text in this column: `None` if it was folded away.
    fn is(&self, label: &Label, wanted: &str) -> Option<bool> {
        match self.slot(label) {
            Some(Some(text)) => Some(**text == *wanted),
            Some(None) => None,
            None if label.tags_folded => None,
            None => Some(wanted.is_empty()),
        }
    }
}

/// A question.
#[derive(Clone, Debug)]
pub struct Query {
    /// From this time on, in microseconds.
    pub since: i64,
    /// Before this time.
    pub until: i64,
    /// What the columns must say.
    pub wanted: Vec<(Field, Box<str>)>,
    /// The columns that make a group.
    pub by: Vec<Field>,
}

impl Default for Query {
    fn default() -> Self {
        Self { since: i64::MIN, until: i64::MAX, wanted: Vec::new(), by: Vec::new() }
    }
}

impl Query {
    /// Whether the label is meant: `None` if it was folded, and nobody knows.
    #[must_use]
    pub fn matches(&self, label: &Label) -> Option<bool> {
        let mut verdict = Some(true);
        for (field, wanted) in &self.wanted {
            match field.is(label, wanted) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => verdict = None,
            }
        }
        verdict
    }

    /// Whether a time is meant.
    #[must_use]
    pub fn covers(&self, at: i64) -> bool {
        self.since <= at && at < self.until
    }
}

/// The answer: sums by the texts of the grouping columns, in order of the money, then of the calls.
pub type Groups = Vec<(Vec<Text>, Sum)>;

/// Collects sums by group.
pub struct Grouping<'a> {
    query: &'a Query,
    absent: Arc<str>,
    places: HashMap<Vec<Text>, usize>,
    groups: Groups,
}

impl<'a> Grouping<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(query: &'a Query) -> Self {
        Self { query, absent: Arc::from(""), places: HashMap::new(), groups: Vec::new() }
    }

    /// The sum of a label's group.
    pub fn of(&mut self, label: &Label) -> &mut Sum {
        let place = self.place(label);
        self.at(place)
    }

    /// The place of a label's group; it stays the same.
    pub fn place(&mut self, label: &Label) -> usize {
        let key: Vec<Text> = self.query.by.iter().map(|field| field.group(label, &self.absent)).collect();
        let next = self.groups.len();
        let place = *self.places.entry(key.clone()).or_insert(next);
        if place == next {
            self.groups.push((key, Sum::default()));
        }
        place
    }

    /// The sum at a place.
    pub fn at(&mut self, place: usize) -> &mut Sum {
        &mut self.groups[place].1
    }

    /// All groups in which there is something.
    #[must_use]
    pub fn finish(self) -> Groups {
        let mut groups = self.groups;
        groups.retain(|(_, sum)| sum.calls > 0 || sum.folded > 0);
        groups.sort_by(|(a_key, a), (b_key, b)| {
            (b.pico_usd, b.calls).cmp(&(a.pico_usd, a.calls)).then_with(|| a_key.cmp(b_key))
        });
        groups
    }
}
