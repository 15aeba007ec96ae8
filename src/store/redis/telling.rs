//! What this process tells the server of, what it makes of the answers, and what it decides by itself: steps on what it knows.
//! No I/O and no clock.

use std::collections::HashMap;
use std::time::Duration;

use super::exchange::LATEST_LOOK;
use super::state::{State, Step};
use super::step::{Op, Outcome};
use super::tree::{Cold, Ending, Row, Seen, Tree, unknown_wait};
use super::wire;
use crate::clock::Time;
use crate::quota::Amounts;
use crate::scope::{Cause, Path, ScopeId};
use crate::store::Decision;
use crate::store::outage::{Held, MakeUp};

/// How often a process says that it is there.
const PULSE: Duration = Duration::from_millis(2_500);
/// So many ended calls go in one script call, lest it hold up the server.
const MOST_ENDINGS: usize = 128;
/// So many scopes are spoken for, or decided about here, in one script call.
const MOST_SCOPES: usize = 128;

/// A cap is spoken for until so long after its last use: what it was told last is then right, and thousands of idle ones do not hold up the
/// server.
const SPOKEN_FOR: Duration = Duration::from_secs(5);

/// The scopes of one script call, as positions in its list of keys.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) ids: Vec<ScopeId>,
    places: HashMap<ScopeId, usize>,
}

impl Keys {
    pub(super) fn place(&mut self, id: ScopeId) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() - 1
        })
    }

    pub(super) fn places(&mut self, path: &Path) -> Vec<usize> {
        path.scopes().iter().map(|id| self.place(*id)).collect()
    }
}

impl Tree {
    /// What is to be told of ended calls and lines that were left, and that this process is there, if that is due.
    /// The ended calls come last.
    pub(super) fn tell(&mut self, keys: &mut Keys, ops: &mut Vec<Op>, now: Time) -> Vec<Ending> {
        self.end_silent(now);
        if now >= self.pulse_at {
            self.pulse_at = now + PULSE;
            self.unspoken = self.used(now);
        }
        let some = self.unspoken.len().min(MOST_SCOPES);
        let spoken: Vec<ScopeId> = self.unspoken.drain(..some).collect();
        if !spoken.is_empty() {
            ops.push(self.pulse(keys, &spoken));
        }
        let left = std::mem::take(&mut self.outbox.left);
        if !left.is_empty() {
            ops.push(Op::Leave { scopes: left.into_iter().map(|id| keys.place(id)).collect() });
        }
        let some = self.outbox.endings.len().min(MOST_ENDINGS);
        let endings: Vec<_> = self.outbox.endings.drain(..some).collect();
        for ending in &endings {
            let (sent, kept) = (ending.sent, ending.kept);
            ops.push(Op::End {
                scopes: keys.places(&ending.path),
                own: ending.own.map(|own| keys.place(own)),
                sent_at: sent.at,
                reserved: sent.amounts,
                kept,
            });
        }
        endings
    }

    /// The scopes that this process speaks for.
    pub(super) fn used(&self, now: Time) -> Vec<ScopeId> {
        let holdings = self.book.holdings();
        let is_used = |(id, row): &(ScopeId, &Row)| {
            row.is_agreed && (!row.is_cap || now.since(row.used_at) < SPOKEN_FOR || holdings.contains_key(id))
        };
        let rows = (0..).map(ScopeId).zip(&self.rows).filter_map(|(id, row)| Some((id, row.as_ref()?)));
        rows.filter(is_used).map(|(id, _)| id).collect()
    }

    /// Says that this process is there, and what it holds in all. What the server has not been told the end of counts: that is taken off
    /// when it is.
    pub(super) fn pulse(&self, keys: &mut Keys, scopes: &[ScopeId]) -> Op {
        let mut holdings = self.book.holdings();
        for (id, sent) in self.outbox.ended() {
            let (permits, amounts) = holdings.entry(id).or_default();
            (*permits, *amounts) = (*permits + 1, amounts.plus(&sent.amounts));
        }
        let held = scopes.iter().map(|id| {
            let (permits, amounts) = holdings.get(id).copied().unwrap_or_default();
            (keys.place(*id), permits, amounts)
        });
        Op::Pulse { held: held.collect() }
    }

    pub(super) fn granted(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        path.scopes().iter().for_each(|id| _ = self.places.remove(id));
        if let Some(easing) = &mut self.easing {
            easing.granted(path, amounts, now);
        }
        Decision::Granted(self.book.grant(path, amounts, now))
    }

    /// A lease whose charge is in the state that was swapped in.
    pub(super) fn lease(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        path.scopes().iter().for_each(|id| _ = self.places.remove(id));
        if let Some(easing) = &mut self.easing {
            easing.granted(path, amounts, now);
        }
        Decision::Granted(self.book.lease_out(path, amounts, now))
    }

    pub(super) fn refused(
        &mut self,
        path: &Path,
        amounts: &Amounts,
        scope: ScopeId,
        process: &str,
        now: Time,
    ) -> Decision {
        self.places.insert(scope);
        let refusal = self.refusal(path, amounts, process, now);
        // There is room by what is known, but an earlier call of ours waits there.
        refusal.unwrap_or_else(|| unknown_wait(scope, now + LATEST_LOOK))
    }

    /// What became of that which was told, of which the ended calls come last.
    pub(super) fn heard(
        &mut self,
        endings: &[Ending],
        first_ending: usize,
        outcomes: &[Outcome],
        keys: &Keys,
    ) {
        for (ending, _) in
            endings.iter().zip(&outcomes[first_ending..]).filter(|(_, outcome)| **outcome == Outcome::Exotic)
        {
            self.end_coldly(ending);
        }
        for outcome in outcomes {
            if let Outcome::Missing { scope } = outcome {
                self.lose(keys.ids[*scope]);
            }
        }
    }

    /// Whether there is nothing that the server is to be told at once.
    pub(super) fn has_told(&self) -> bool {
        self.outbox.is_empty() && self.unspoken.is_empty() && self.pulse_at > Time::ZERO
    }

    /// A scope that the server does not know, or no longer: then it also has to hear anew of what is held.
    pub(super) fn lose(&mut self, id: ScopeId) {
        if let Some(row) = self.row(id) {
            (row.is_agreed, row.seen) = (false, Seen::Absent);
        }
        self.pulse_at = Time::ZERO;
    }

    /// The scopes of which something is to be decided here.
    pub(super) fn cold_scopes(&self) -> Vec<ScopeId> {
        let rows = (0..).map(ScopeId).zip(&self.rows);
        let is_cold = |(id, row): &(ScopeId, &Option<Row>)| {
            row.as_ref().is_some_and(|row| !row.is_agreed || self.outbox.cold.contains_key(id))
        };
        rows.filter(is_cold).map(|(id, _)| id).take(MOST_SCOPES).collect()
    }

    /// The state of a scope after what is to be decided of it, and how much that was; None if it has to be read first.
    pub(super) fn changed(&self, id: ScopeId, step: Step<'_>) -> Option<(State, usize)> {
        let row = self.rows[id.0 as usize].as_ref()?;
        let mut state = self.seen_state(id)?;
        state.strike_off_overdue(step);
        // What is said once is not said again: the last word counts, whoever had it.
        if !row.is_agreed && state.quota != row.quota {
            state.scope.configure(&row.quota, step.now);
            state.quota = row.quota.clone();
        }
        let cold = self.outbox.cold.get(&id).map_or(&[][..], Vec::as_slice);
        for cold in cold {
            match cold {
                Cold::Learn { sent, told } => _ = state.scope.learn(sent, told, step.now),
                Cold::End { sent, kept, setback, is_success } => {
                    if *is_success {
                        state.scope.succeeded(sent);
                    }
                    state.settle(step, sent, kept);
                    if let Some(setback) = setback {
                        state.scope.failed(sent, setback, step.now);
                    }
                }
                Cold::MakeUp(make_up) => {
                    // Calls may have started and ended since it was made.
                    let held = self.held_there(id);
                    state.pulse(step, held.permits, &held.amounts);
                    state.scope.make_up(&MakeUp { before: held, held, ..make_up.clone() }, step.now);
                }
            }
        }
        Some((state, cold.len()))
    }

    /// What this process holds of a scope for all that the server is told, which hears of the ends of calls later.
    fn held_there(&self, id: ScopeId) -> Held {
        let plain = self.outbox.endings.iter().filter(|ending| ending.path.scopes().contains(&id));
        let cold = self.outbox.cold.get(&id).into_iter().flatten().filter_map(|cold| match cold {
            Cold::End { sent, .. } => Some(sent),
            Cold::Learn { .. } | Cold::MakeUp(_) => None,
        });
        let untold = plain.map(|ending| &ending.sent).chain(cold);
        untold.fold(self.book.held(id), |held, sent| held.plus(&sent.amounts))
    }

    pub(super) fn seen_state(&self, id: ScopeId) -> Option<State> {
        let row = self.rows[id.0 as usize].as_ref()?;
        match &row.seen {
            Seen::Nothing => None,
            Seen::Absent => self.first_state(id),
            Seen::Value(bytes) => wire::decode(row.name.clone(), bytes),
        }
    }

    /// What a call gets by the states that were last seen, and the states after it; None if one has to be read first.
    #[allow(clippy::type_complexity, reason = "the two halves of one answer")]
    pub(super) fn decide(
        &mut self,
        path: &Path,
        amounts: &Amounts,
        step: Step<'_>,
    ) -> Option<(Vec<(ScopeId, State)>, Option<(Option<ScopeId>, Decision)>)> {
        let states = path.scopes().iter().map(|id| Some((*id, self.seen_state(*id)?)));
        let mut states: Vec<(ScopeId, State)> = states.collect::<Option<_>>()?;
        for (_, state) in &mut states {
            state.strike_off_overdue(step);
        }
        let ahead =
            states.iter().filter_map(|(id, state)| Some((*id, state.ahead_of(step.process, step.now)?)));
        let ahead = ahead.reduce(|(first, sum), (_, amounts)| (first, sum.plus(&amounts)));
        for (id, state) in &states {
            self.book.put(*id, state.scope.clone());
        }
        let refusal = self.book.refusal(path, amounts, ahead, step.now);
        let Some(refusal) = refusal else {
            for (_, state) in &mut states {
                state.grant(step, amounts);
            }
            return Some((states, None));
        };
        let stands = match &refusal {
            Decision::Wait(blocked) if blocked.cause == Cause::Room => Some(blocked.scope),
            _ => None,
        };
        for (_, state) in states.iter_mut().filter(|(id, _)| Some(*id) == stands) {
            state.stand(step, amounts);
        }
        Some((states, Some((stands, refusal))))
    }

    /// What was decided of a scope is in force, as the version that the server has made of it.
    pub(super) fn swapped(&mut self, id: ScopeId, mut state: State, now: Time) {
        state.revision = if state.revision == 0 { now.nanos() / 1_000 } else { state.revision + 1 };
        let bytes = state.encode();
        if let Some(row) = self.row(id) {
            row.is_agreed |= row.quota == state.quota;
            (row.seen, row.members) = (Seen::Value(bytes), state.members);
            self.book.put(id, state.scope);
        }
    }

    /// Nothing is there, unless the reply says otherwise.
    pub(super) fn unseen(&mut self, id: ScopeId) {
        if let Some(row) = self.row(id) {
            row.seen = Seen::Absent;
        }
    }

    /// An ended call of a scope that is no plain arithmetic.
    pub(super) fn end_coldly(&mut self, ending: &Ending) {
        for id in ending.path.scopes() {
            let is_success = ending.own == Some(*id);
            let cold = Cold::End { sent: ending.sent, kept: ending.kept, setback: None, is_success };
            self.outbox.cold.entry(*id).or_default().push(cold);
        }
    }
}
