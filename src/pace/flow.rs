//! What a scope has accepted of late: the rate from which a limit is guessed at its first refusal.

use std::time::Duration;

use crate::clock::Time;
use crate::quota::{Amounts, Dimension};

/// Half of the time that is looked back on.
const SPAN: Duration = Duration::from_secs(30);
/// Below this a rate is a burst.
const SHORTEST: Duration = Duration::from_secs(1);

/// Amounts accepted since two moments, the earlier one between one and two spans ago.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    earlier: Option<(Time, Amounts)>,
    later: Option<(Time, Amounts)>,
    accepted: Amounts,
}

impl Flow {
    /// A call starts.
    pub fn granted(&mut self, amounts: &Amounts, now: Time) {
        match self.later {
            Some((at, _)) if now.since(at) < SPAN => {}
            Some((at, _)) if now.since(at) < SPAN * 2 => {
                self.earlier = self.later;
                self.later = Some((now, self.accepted));
            }
            _ => {
                self.later = Some((now, self.accepted));
                self.earlier = self.later;
            }
        }
        self.accepted = self.accepted.plus(amounts);
    }

    /// A call that has started was refused after all.
    pub fn refused(&mut self, amounts: &Amounts) {
        self.accepted = self.accepted.minus(amounts);
    }

    /// What was accepted per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(&self, dimension: Dimension, now: Time) -> f64 {
        let Some((since, before)) = self.earlier else { return 0.0 };
        let accepted = self.accepted.minus(&before).get(dimension);
        accepted as f64 / now.since(since).max(SHORTEST).as_secs_f64()
    }
}
