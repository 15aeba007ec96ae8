//! Sums of entries. Adding is exact, and in any order the same.

use super::entry::{COUNTS, Facts, Outcome};

/// What some entries come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Attempts.
    pub calls: u64,
    /// Of which failed.
    pub failed: u64,
    /// Of which refused.
    pub refused: u64,
    /// Of which abandoned.
    pub abandoned: u64,
    /// Of which with estimated usage.
    pub estimated: u64,
    /// Attempts that were answered or abandoned, and nobody told their usage.
    pub unmetered: u64,
    /// Attempts that used tokens without a price.
    pub unpriced: u64,
    /// Those tokens.
    pub unpriced_tokens: u64,
    /// By the names of [`COUNTS`].
    pub counts: [u64; COUNTS.len()],
    /// Microseconds.
    pub waited: u64,
    /// Microseconds.
    pub duration: u64,
    /// Money.
    pub pico_usd: u128,
    /// Attempts that may belong here and are not in any number above: their tags or times were folded together.
    pub folded: u64,
}

impl Sum {
    /// Adds one entry.
    pub fn book(&mut self, facts: &Facts) {
        self.calls += 1;
        match facts.outcome {
            Outcome::Answered => {}
            Outcome::Failed => self.failed += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Abandoned => self.abandoned += 1,
        }
        self.estimated += u64::from(facts.estimated);
        self.waited += facts.waited;
        self.duration += facts.duration;
        self.pico_usd += u128::from(facts.pico_usd.unwrap_or(0));
        match &facts.usage {
            Some(usage) => {
                for (sum, count) in self.counts.iter_mut().zip(usage.counts) {
                    *sum += count;
                }
                if facts.is_unpriced() {
                    self.unpriced += 1;
                    self.unpriced_tokens += usage.tokens();
                }
            }
            None => {
                self.unmetered += u64::from(matches!(facts.outcome, Outcome::Answered | Outcome::Abandoned));
            }
        }
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.refused += other.refused;
        self.abandoned += other.abandoned;
        self.estimated += other.estimated;
        self.unmetered += other.unmetered;
        self.unpriced += other.unpriced;
        self.unpriced_tokens += other.unpriced_tokens;
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.waited += other.waited;
        self.duration += other.duration;
        self.pico_usd += other.pico_usd;
        self.folded += other.folded;
    }
}
