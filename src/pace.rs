//! What follows refusals: one pause for everybody, fewer calls at once, and a rate that is found where nobody tells it.
//! Pure: no clock, no store, no dice; the caller brings `now`, and a random number where one is needed.
//!
//! Refusals come in episodes: what was sent before the last cut meets the same wall and is no news. So a wall is answered once, however
//! many run into it.

mod concurrency;
mod flow;
mod pause;
mod rate;

use std::time::Duration;

pub use concurrency::{CAREFUL_START, Concurrency, LOWEST_CONCURRENCY, Loss};
pub use flow::Flow;
pub(crate) use flow::SPAN;
pub use pause::{LONGEST_GUESS, LONGEST_PROBE_WAIT, LONGEST_TRUSTED, Pause};
pub use rate::{LOWEST_RATE, Rate};

use crate::quota::Dimension;

/// How an attempt ended without an answer, as far as its scope is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setback {
    /// The provider's quota has no room.
    Refused(Refusal),
    /// The provider has too much to do.
    Overloaded,
    /// Anything that says nothing of the provider's quota.
    Other,
}

/// What a refusal by a rate limit tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusal {
    /// What ran out, if told.
    pub dimension: Option<Dimension>,
    /// The period of what ran out, if told.
    pub period: Option<Duration>,
    /// How long to wait, if told.
    pub retry_after: Option<Duration>,
    /// How long callers are willing to wait: beyond it they are refused, not held.
    pub patience: Duration,
    /// Evenly spread from 0 to 1.
    pub random: f64,
}

/// What a provider tells of one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What is counted.
    pub dimension: Dimension,
    /// The limit's period, if told.
    pub period: Option<Duration>,
    /// The amount per period, if told.
    pub limit: Option<u64>,
    /// What is left of it, if told.
    pub remaining: Option<u64>,
    /// `remaining` is rounded to the nearest multiple of this.
    pub rounded_to: u64,
}
