//! Whether a store can be used, since when, and what people are to hear of it. No I/O; the caller brings `now`.

use std::time::Duration;

use crate::clock::Time;
use crate::error::Error;
use crate::store::{Condition, Policy, Turn, TurnKind};

/// How often a lost store is tried again at most.
const TRIED_EVERY: Duration = Duration::from_secs(1);
/// So many turns are kept for somebody to ask for them.
const TURNS_KEPT: usize = 64;

/// A loss.
struct Loss {
    since: Time,
    why: Error,
    try_at: Time,
    /// Whether it was opened again; it is lost until the first step on it has been taken.
    is_open: bool,
    /// What had been granted alone before.
    granted_before: u64,
}

/// A store's health.
#[derive(Default)]
pub(in crate::store) struct Health {
    loss: Option<Loss>,
    /// Since when it has been there.
    since: Time,
    /// How often it was lost.
    pub(in crate::store) losses: u64,
    /// How many processes used it when it was last seen.
    pub(in crate::store) processes: u32,
    pub(in crate::store) granted_alone: u64,
    turns: Vec<Turn>,
}

impl Health {
    /// It was opened for the first time.
    pub(in crate::store) fn begins(&mut self, now: Time) {
        self.since = now;
    }

    /// Why it is not to be tried now; None if it may be.
    pub(in crate::store) fn refusal(&self, now: Time) -> Option<Error> {
        let loss = self.loss.as_ref().filter(|loss| !loss.is_open && now < loss.try_at)?;
        Some(loss.why.clone())
    }

    pub(in crate::store) fn is_lost(&self) -> bool {
        self.loss.is_some()
    }

    /// A step has failed, or a try.
    pub(in crate::store) fn failed(&mut self, why: &Error, url: String, policy: Policy, now: Time) {
        let try_at = now + TRIED_EVERY;
        if let Some(loss) = &mut self.loss {
            (loss.why, loss.try_at, loss.is_open) = (why.clone(), try_at, false);
            return;
        }
        let granted_before = self.granted_alone;
        self.loss = Some(Loss { since: now, why: why.clone(), try_at, is_open: false, granted_before });
        self.losses += 1;
        let condition = self.condition(url, policy, now);
        self.turn(Turn { kind: TurnKind::Lost, condition, why: what(why) });
    }

    /// It could be opened again.
    pub(in crate::store) fn opened(&mut self) {
        if let Some(loss) = &mut self.loss {
            loss.is_open = true;
        }
    }

    /// A step has been taken.
    pub(in crate::store) fn succeeded(&mut self, url: impl FnOnce() -> String, policy: Policy, now: Time) {
        let Some(loss) = self.loss.as_ref().filter(|loss| loss.is_open) else { return };
        let (why, granted_before) = (what(&loss.why), loss.granted_before);
        let condition = self.condition(url(), policy, now);
        let decided_alone = self.granted_alone - granted_before;
        (self.loss, self.since) = (None, now);
        self.turn(Turn { kind: TurnKind::Back, condition: Condition { decided_alone, ..condition }, why });
    }

    pub(in crate::store) fn condition(&self, url: String, policy: Policy, now: Time) -> Condition {
        Condition {
            url,
            is_lost: self.is_lost(),
            lasting: now.since(self.loss.as_ref().map_or(self.since, |loss| loss.since)),
            processes: self.processes,
            policy,
            losses: self.losses,
            decided_alone: self.granted_alone,
        }
    }

    /// What has become of it since this was last asked.
    pub(in crate::store) fn take_turns(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.turns)
    }

    fn turn(&mut self, turn: Turn) {
        if self.turns.len() < TURNS_KEPT {
            self.turns.push(turn);
        }
    }
}

fn what(error: &Error) -> String {
    match error {
        Error::Store { what, .. } => what.clone(),
        other => other.to_string(),
    }
}
