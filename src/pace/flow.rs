//! What a scope has accepted of late: the rate from which a limit is guessed at its first refusal.

use std::time::Duration;

use crate::bytes::bytes_of_fields;
use crate::clock::Time;
use crate::quota::{Amounts, Dimension};

/// Half of the time that is looked back on.
pub(crate) const SPAN: Duration = Duration::from_secs(30);
/// Below this a rate is a burst.
const SHORTEST: Duration = Duration::from_secs(1);

/// Amounts granted, ended and refused in all, and what was accepted at two moments, the earlier one between one and two spans ago.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    pub(crate) granted: Amounts,
    pub(crate) ended: Amounts,
    pub(crate) refused: Amounts,
    pub(crate) earlier: Option<(Time, Amounts)>,
    pub(crate) later: Option<(Time, Amounts)>,
    /// When the next moment is taken note of.
    pub(crate) notes_at: Time,
}

bytes_of_fields!(Flow { granted, ended, refused, earlier, later, notes_at });

impl Flow {
    /// One that begins with calls in flight.
    #[must_use]
    pub fn with(in_flight: Amounts) -> Self {
        Self { granted: in_flight, ..Self::default() }
    }

    /// A call starts.
    pub fn granted(&mut self, amounts: &Amounts, now: Time) {
        if now >= self.notes_at {
            self.note(now);
        }
        self.granted = self.granted.plus(amounts);
    }

    /// A call is over, whatever came of it.
    pub fn ended(&mut self, amounts: &Amounts) {
        self.ended = self.ended.plus(amounts);
    }

    /// A call that has started was refused after all.
    pub fn refused(&mut self, amounts: &Amounts) {
        self.refused = self.refused.plus(amounts);
    }

    /// What the calls in flight have reserved.
    #[must_use]
    pub fn in_flight(&self) -> Amounts {
        self.granted.minus(&self.ended)
    }

    /// What was accepted per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(&self, dimension: Dimension, now: Time) -> f64 {
        let Some((since, before)) = self.earlier else { return 0.0 };
        let accepted = self.accepted().minus(&before).get(dimension);
        accepted as f64 / now.since(since).max(SHORTEST).as_secs_f64()
    }

    fn accepted(&self) -> Amounts {
        self.granted.minus(&self.refused)
    }

    fn note(&mut self, now: Time) {
        let before = self.later.filter(|(at, _)| now.since(*at) < SPAN * 2);
        self.later = Some((now, self.accepted()));
        self.earlier = before.or(self.later);
        self.notes_at = now + SPAN;
    }
}
