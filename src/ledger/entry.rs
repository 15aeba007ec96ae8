//! One attempt as the ledger keeps it: whose, what it used, what it cost.
//! Values only: no lock, no time, no sums.

use std::sync::Arc;

/// The counts of a usage, in the order in which [`Usage::counts`] has them.
pub const COUNTS: [&str; 9] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_read_audio_tokens",
];

/// What a call used, in tokens. All after the first two are parts of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By the names of [`COUNTS`].
    pub counts: [u64; COUNTS.len()],
}

impl Usage {
    /// Input and output.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.counts[0].saturating_add(self.counts[1])
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider answered.
    Answered,
    /// It ended with an error.
    Failed,
    /// The provider refused it, or it never started.
    Refused,
    /// The caller broke off.
    Abandoned,
}

impl Outcome {
    /// All of them; the place of each is its number in a stored ledger.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Failed, Self::Refused, Self::Abandoned];

    /// Its place in [`Outcome::ALL`].
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Answered => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Abandoned => 3,
        }
    }

    /// As its users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// A text of a label; `None` is many texts folded together.
pub type Text = Option<Arc<str>>;

/// Whose spend it is, and under what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Scope, model, price and tier, in the order of [`FIXED`].
    pub fixed: [Text; FIXED.len()],
    /// By name, in order.
    pub tags: Vec<(Arc<str>, Text)>,
    /// Tags of any name were folded away.
    pub tags_folded: bool,
}

/// The names of a label's texts that are no tags.
pub const FIXED: [&str; 4] = ["scope", "model", "price", "tier"];

impl Label {
    /// The label of these texts; tags in the order of their names.
    #[must_use]
    pub fn new(fixed: [&str; FIXED.len()], tags: &[(&str, &str)]) -> Self {
        let tags = tags.iter().map(|(name, value)| (Arc::from(*name), Some(Arc::from(*value)))).collect();
        Self { fixed: fixed.map(|text| Some(Arc::from(text))), tags, tags_folded: false }
    }

    /// Nothing of it was folded.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.tags_folded
            && self.fixed.iter().all(Option::is_some)
            && self.tags.iter().all(|(_, value)| value.is_some())
    }

    /// Writes the bytes that no other label has.
    pub fn write_key(&self, key: &mut Vec<u8>) {
        key.clear();
        for text in &self.fixed {
            push(key, text.as_deref());
        }
        for (name, value) in &self.tags {
            push(key, Some(name));
            push(key, value.as_deref());
        }
        if self.tags_folded {
            push(key, None);
        }
    }
}

/// The key of a label that need not be made: what [`Label::write_key`] writes for [`Label::new`] of the same.
pub fn write_key(key: &mut Vec<u8>, fixed: [&str; FIXED.len()], tags: &[(&str, &str)]) {
    key.clear();
    for text in fixed {
        push(key, Some(text));
    }
    for (name, value) in tags {
        push(key, Some(name));
        push(key, Some(value));
    }
}

/// Each text after its length, so that no text can look like two.
fn push(key: &mut Vec<u8>, text: Option<&str>) {
    let length = text.map_or(usize::MAX, str::len);
    key.extend_from_slice(&length.to_ne_bytes());
    key.extend_from_slice(text.unwrap_or_default().as_bytes());
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1 in its ledger.
    pub number: u64,
    /// Microseconds since 1970, UTC.
    pub at: i64,
    /// Whose.
    pub label: Arc<Label>,
    /// What follows is what happened.
    pub facts: Facts,
}

/// What an attempt used, cost and took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// None if nobody told.
    pub usage: Option<Usage>,
    /// Money; None if no price is known.
    pub pico_usd: Option<u64>,
    /// Microseconds in the queue.
    pub waited: u64,
    /// Microseconds from start to end.
    pub duration: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Which try of its call, from 1.
    pub attempt: u32,
    /// The usage is an estimate, not the provider's count.
    pub estimated: bool,
}

impl Facts {
    /// Tokens were used, and nobody knows what they cost.
    #[must_use]
    pub fn is_unpriced(&self) -> bool {
        self.pico_usd.is_none() && self.usage.is_some_and(|usage| usage.tokens() > 0)
    }
}
