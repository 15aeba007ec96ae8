//! A table of prices as text: who has which models, and the line of one of them.
//! Nothing is parsed before it is asked for, so that a table costs nothing until then. The format is described where it
//! is written, in `python/ratekeeper/_price_rows.py`.

use std::borrow::Cow;
use std::ops::Range;

use super::moment::When;
use super::pattern::matches;
use super::rates::{Kind, MAX_RATE, Rate, Segment};
use crate::error::{Error, Result};

/// A text and where its providers stand in it.
#[derive(Debug)]
pub struct Table {
    text: Cow<'static, str>,
    head: Range<usize>,
    blocks: Vec<Block>,
}

/// The lines of one provider.
#[derive(Debug)]
struct Block {
    head: Range<usize>,
    rows: Range<usize>,
}

/// One provider of a table.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// Its name.
    pub name: &'a str,
    aliases: &'a str,
    guesses: &'a str,
    fallbacks: &'a str,
    rows: &'a str,
}

/// A model as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The provider.
    pub provider: String,
    /// Its name there.
    pub name: String,
    /// Where the price comes from.
    pub source: String,
    /// The day of that source.
    pub date: String,
    /// The most output tokens that one answer can have.
    pub max_output: Option<u64>,
    /// Its prices.
    pub segments: Vec<Segment>,
}

impl Table {
    /// A table of this text.
    #[must_use]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let starts: Vec<usize> = std::iter::once(&text[..])
            .filter(|text| text.starts_with('['))
            .map(|_| 0)
            .chain(text.match_indices("\n[").map(|(at, _)| at + 1))
            .collect();
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        let blocks = starts.iter().zip(ends).map(|(&start, end)| {
            let line = text[start..end].find('\n').map_or(end, |at| start + at + 1);
            Block { head: start..line, rows: line..end }
        });
        let blocks: Vec<Block> = blocks.collect();
        Self { head: 0..starts.first().copied().unwrap_or(text.len()), blocks, text }
    }

    /// Its providers, in order.
    pub fn homes(&self) -> impl Iterator<Item = Home<'_>> {
        self.blocks.iter().map(|block| {
            let mut parts = self.text[block.head.clone()].trim_end_matches('\n').split('\t');
            let mut part = || parts.next().unwrap_or_default();
            Home {
                name: part().trim_matches(['[', ']']),
                aliases: part(),
                guesses: part(),
                fallbacks: part(),
                rows: &self.text[block.rows.clone()],
            }
        })
    }

    /// The provider of that name.
    #[must_use]
    pub fn home(&self, name: &str) -> Option<Home<'_>> {
        self.homes().find(|home| home.name == name)
    }

    /// The model of a line.
    ///
    /// # Errors
    /// Which line cannot be read.
    pub fn model(&self, home: &str, line: &str) -> Result<Model> {
        let mut parts = line.split('\t');
        let mut part = || parts.next().unwrap_or_default();
        let (name, _, max_output, letter, prices) = (part(), part(), part(), part(), part());
        let (source, date) = self.source(letter);
        let segments = prices.split(';').map(segment).collect::<Option<Vec<_>>>();
        Ok(Model {
            provider: home.to_owned(),
            name: name.to_owned(),
            source: source.to_owned(),
            date: date.to_owned(),
            max_output: max_output.parse().ok(),
            segments: segments
                .ok_or_else(|| Error::invalid(format!("prices of {home}/{name}"), "a table's line", line))?,
        })
    }

    /// What a letter of source stands for, and its day.
    fn source(&self, letter: &str) -> (&str, &str) {
        let lines = self.text[self.head.clone()].lines();
        let mut parts =
            lines.filter_map(|line| line.strip_prefix("#\t")?.strip_prefix(letter)?.strip_prefix('\t'));
        parts.find_map(|rest| rest.split_once('\t')).unwrap_or_default()
    }
}

impl<'a> Home<'a> {
    /// The line of the first model that goes by that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'a str> {
        self.rows.lines().find(|line| {
            let (id, rest) = line.split_once('\t').unwrap_or((line, ""));
            let patterns = rest.split_once('\t').map_or(rest, |(patterns, _)| patterns);
            id.eq_ignore_ascii_case(name) || is_any(patterns, name)
        })
    }

    /// The line of the model whose name is exactly that, whatever patterns it has.
    #[must_use]
    pub fn find_exact(&self, name: &str) -> Option<&'a str> {
        self.rows.lines().find(|line| line.split('\t').next().is_some_and(|id| id.eq_ignore_ascii_case(name)))
    }

    /// Whether people mean this provider by that name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || is_any(self.aliases, name)
    }

    /// Whether a name without a provider is likely one of its models.
    #[must_use]
    pub fn is_likely(&self, model: &str) -> bool {
        is_any(self.guesses, model)
    }

    /// Whether it is called exactly that: its own name, or an alias without anything open.
    #[must_use]
    pub fn is_prefix(&self, name: &str) -> bool {
        self.name == name || self.aliases.split(' ').any(|alias| alias == name)
    }

    /// The lines of all its models.
    pub fn lines(self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.rows.lines()
    }

    /// The providers whose models it has too.
    pub fn fallbacks(&self) -> impl Iterator<Item = &'a str> {
        self.fallbacks.split(' ').filter(|name| !name.is_empty())
    }
}

fn is_any(patterns: &str, name: &str) -> bool {
    patterns.split(' ').any(|pattern| !pattern.is_empty() && matches(pattern, name))
}

/// `tier@condition|rates`.
fn segment(text: &str) -> Option<Segment> {
    let (head, rates) = text.split_once('|')?;
    let (tier, when) = head.split_once('@').unwrap_or((head, ""));
    let mut known = [const { None }; 10];
    for text in rates.split(' ').filter(|text| !text.is_empty()) {
        let kind = Kind::from_letter(*text.as_bytes().first()?)?;
        known[kind as usize] = Some(rate(&text[1..])?);
    }
    Some(Segment { tier: tier.to_owned(), when: When::read(when)?, rates: known })
}

/// `3000000>200000=6000000`.
fn rate(text: &str) -> Option<Rate> {
    let mut parts = text.split('>');
    let base = parts.next()?.parse().ok()?;
    let mut steps = Vec::new();
    for part in parts {
        let (size, rate) = part.split_once('=')?;
        steps.push((size.parse().ok()?, rate.parse().ok()?));
    }
    let is_sound = steps.iter().all(|(_, rate)| *rate <= MAX_RATE) && steps.is_sorted();
    (base <= MAX_RATE && is_sound).then_some(Rate { base, steps })
}
