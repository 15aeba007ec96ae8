//! How many calls may be in flight where nobody has said so, or while a provider is overloaded.
//!
//! As TCP does: doubling in a round trip until the first loss or up to where it was met, then one more a round trip; 0.7 of what was in
//! flight after a loss. Latency is no signal: an LLM's follows the length of its answer.

use crate::bytes::{bytes_of_fields, bytes_of_variants};
use crate::clock::Time;

/// How many calls start at once under a scope of which nothing is known.
pub const CAREFUL_START: f64 = 8.0;
/// The fewest that remain.
pub const LOWEST_CONCURRENCY: f64 = 1.0;
/// What remains after a loss.
const KEPT: f64 = 0.7;
/// Losses so many round trips apart are no row.
const ROUND_TRIPS_APART: f64 = 10.0;

/// Why a call was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A quota of which nothing is known had no room.
    Refused,
    /// It was refused although there was room by all that is known.
    Unexplained,
    /// The provider had too much to do.
    Overloaded,
}

bytes_of_variants!(Loss [Refused, Unexplained, Overloaded]);

/// A limit that moves.
#[derive(Clone, Debug)]
pub struct Concurrency {
    limit: f64,
    /// Up to here it doubles.
    doubles_to: f64,
    /// What was in flight when the last row of losses began.
    peak: f64,
    /// When the last cut was; losses of calls sent before it are of the same episode.
    cut_at: Option<Time>,
    /// Why.
    loss: Loss,
    /// What has succeeded since.
    succeeded: f64,
    /// Whether it is only there because nothing is known.
    is_careful: bool,
}

bytes_of_fields!(Concurrency { limit, doubles_to, peak, cut_at, loss, succeeded, is_careful });

impl Concurrency {
    /// For a scope of which nothing is known.
    #[must_use]
    pub const fn careful() -> Self {
        let (unknown, limit) = (f64::INFINITY, CAREFUL_START);
        Self {
            limit,
            doubles_to: unknown,
            peak: unknown,
            cut_at: None,
            loss: Loss::Refused,
            succeeded: unknown,
            is_careful: true,
        }
    }

    /// For a scope without a limit, up to now.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { limit: f64::INFINITY, is_careful: false, ..Self::careful() }
    }

    /// What each of so many processes may have of it.
    #[must_use]
    pub fn share_of(&self, processes: u32) -> Self {
        let part = |calls: f64| (calls / f64::from(processes.max(1))).max(LOWEST_CONCURRENCY);
        let (limit, doubles_to, peak) = (part(self.limit), part(self.doubles_to), part(self.peak));
        Self { limit, doubles_to, peak, ..*self }
    }

    /// The most that may be in flight; None for any number.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1, and saturating")]
    pub fn limit(&self) -> Option<u32> {
        self.limit.is_finite().then_some(self.limit as u32)
    }

    /// Whether it is only there because nothing is known.
    #[must_use]
    pub const fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// Whether it has left behind what it was there for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.is_careful && self.limit >= self.peak * 2.0
    }

    /// A call sent then has its answer, with so many in flight, itself included.
    pub fn succeeded(&mut self, in_flight: u32, sent_at: Time) {
        if self.is_old(sent_at) {
            return;
        }
        // An outage is over at once: it has lost all calls, so how few remained says nothing of how many are too many.
        if self.is_outage() {
            self.limit = self.limit.max(self.peak * KEPT);
        }
        self.succeeded += 1.0;
        if f64::from(in_flight) * 2.0 >= self.limit {
            self.limit += if self.limit < self.doubles_to { 1.0 } else { 1.0 / self.limit };
        }
    }

    /// A call sent then was lost, with so many in flight, itself included.
    pub fn cut(&mut self, loss: Loss, in_flight: u32, sent_at: Time, now: Time) {
        self.is_careful &= loss == Loss::Refused;
        if self.is_old(sent_at) {
            return;
        }
        self.cut_at = Some(now);
        self.loss = loss;
        let met = self.limit.min(f64::from(in_flight));
        self.limit = (met * KEPT).max(LOWEST_CONCURRENCY);
        // A loss that stands alone, and an outage, say less of how many are too many than one in a row of losses.
        let stands_alone = self.succeeded >= met * ROUND_TRIPS_APART;
        let is_outage = self.is_outage();
        if !is_outage {
            self.peak = met;
        }
        self.doubles_to = if stands_alone || is_outage { self.peak } else { self.limit };
        self.succeeded = 0.0;
    }

    /// Whether a call was sent before the last cut, and so says nothing of what has come of it.
    fn is_old(&self, sent_at: Time) -> bool {
        self.cut_at.is_some_and(|cut_at| sent_at <= cut_at)
    }

    /// Whether the provider has answered nobody since the last cut.
    fn is_outage(&self) -> bool {
        self.loss == Loss::Overloaded && self.succeeded < 1.0
    }
}
