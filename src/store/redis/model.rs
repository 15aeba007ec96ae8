//! What `step.lua` is to do, said once more in Rust, with the arithmetic that all stores share.

use std::collections::HashSet;

use super::state::{State, Step};
use super::step::{Op, Outcome};
use crate::clock::Time;
use crate::quota::Amounts;
use crate::scope::{Cause, ScopeId};
use crate::store::scope::Sent;

/// All scopes of a tree; None for one that is not there.
pub(super) struct Model {
    pub(super) states: Vec<Option<State>>,
    /// Whom the batch has met already, and where it was refused.
    met: HashSet<usize>,
    refused: HashSet<usize>,
}

impl Model {
    pub(super) fn new(scopes: usize) -> Self {
        Self { states: (0..scopes).map(|_| None).collect(), met: HashSet::new(), refused: HashSet::new() }
    }

    pub(super) fn batch(&mut self, step: Step<'_>, ops: &[Op]) -> Vec<Outcome> {
        self.met.clear();
        self.refused.clear();
        ops.iter().map(|op| self.one(step, op)).collect()
    }

    fn one(&mut self, step: Step<'_>, op: &Op) -> Outcome {
        match op {
            Op::Take { scopes, amounts } => {
                self.beyond(step, scopes).unwrap_or_else(|| self.take(step, scopes, amounts))
            }
            Op::End { scopes, own, sent_at, reserved, kept } => {
                let sent = Sent { at: *sent_at, amounts: *reserved };
                self.end(step, scopes, *own, &sent, kept)
            }
            Op::Pulse { held } => self.pulse(step, held),
            Op::Leave { scopes } => self.each(step, scopes, |state| state.leave(step.process)),
            Op::Bye { scopes } => self.each(step, scopes, |state| state.bye(step.process)),
            Op::Read { scope } => match self.load(step, *scope) {
                Some(_) => Outcome::Done,
                None => Outcome::Missing { scope: *scope },
            },
            Op::Swap { .. } => panic!("what is swapped in was decided by the test"),
        }
    }

    fn load(&mut self, step: Step<'_>, scope: usize) -> Option<&mut State> {
        let state = self.states[scope].as_mut()?;
        if self.met.insert(scope) {
            state.strike_off_overdue(step);
        }
        Some(state)
    }

    fn each(&mut self, step: Step<'_>, scopes: &[usize], mut act: impl FnMut(&mut State)) -> Outcome {
        for scope in scopes {
            if let Some(state) = self.load(step, *scope) {
                act(state);
            }
        }
        Outcome::Done
    }

    fn state(&mut self, scope: usize) -> &mut State {
        self.states[scope].as_mut().unwrap()
    }

    fn beyond(&mut self, step: Step<'_>, scopes: &[usize]) -> Option<Outcome> {
        if let Some(scope) = scopes.iter().find(|scope| self.load(step, **scope).is_none()) {
            return Some(Outcome::Missing { scope: *scope });
        }
        if let Some(scope) = scopes.iter().find(|scope| self.refused.contains(scope)) {
            return Some(Outcome::Refused { scope: *scope });
        }
        let is_exotic = scopes.iter().any(|scope| self.state(*scope).is_exotic());
        is_exotic.then_some(Outcome::Exotic)
    }

    fn take(&mut self, step: Step<'_>, scopes: &[usize], amounts: &Amounts) -> Outcome {
        let mut ahead = Amounts::default();
        let mut first_ahead = None;
        for scope in scopes {
            if let Some(others) = self.state(*scope).ahead_of(step.process, step.now) {
                ahead = ahead.plus(&others);
                first_ahead = first_ahead.or(Some(*scope));
            }
        }
        let has_room =
            |scope: &usize| self.states[*scope].as_ref().unwrap().scope.has_room(amounts, step.now);
        if first_ahead.is_none() && scopes.iter().all(has_room) {
            for scope in scopes {
                self.state(*scope).grant(step, amounts);
            }
            return Outcome::Granted;
        }
        self.wait(step, scopes, amounts, &ahead, first_ahead)
    }

    fn wait(
        &mut self,
        step: Step<'_>,
        scopes: &[usize],
        amounts: &Amounts,
        ahead: &Amounts,
        first_ahead: Option<usize>,
    ) -> Outcome {
        let mut latest: Option<(usize, u64, Cause)> = None;
        for scope in scopes {
            match self.state(*scope).scope.obstacle(ScopeId(0), ahead, amounts, step.now) {
                Err(_) => return Outcome::Refused { scope: *scope },
                Ok(None) => {}
                Ok(Some(found)) => {
                    let at = found.ask_again_at.nanos().div_ceil(1_000);
                    if latest.is_none_or(|(_, other, _)| at > other) {
                        latest = Some((*scope, at, found.cause));
                    }
                }
            }
        }
        if let Some((scope, _, Cause::Pause | Cause::LongPause)) = latest {
            self.refused.insert(scope);
            return Outcome::Refused { scope };
        }
        let without_permit = scopes.iter().find(|scope| !self.state(**scope).scope.has_permit());
        let scope = first_ahead.or(without_permit.copied()).or(latest.map(|(scope, ..)| scope)).unwrap();
        self.state(scope).stand(step, amounts);
        self.refused.insert(scope);
        Outcome::Refused { scope }
    }

    fn end(
        &mut self,
        step: Step<'_>,
        scopes: &[usize],
        own: Option<usize>,
        sent: &Sent,
        kept: &Amounts,
    ) -> Outcome {
        if let Some(own) = own.and_then(|own| self.load(step, own)) {
            if own.is_exotic() {
                self.each(step, scopes, |_| {});
                return Outcome::Exotic;
            }
            own.scope.succeeded(sent);
        }
        self.each(step, scopes, |state| state.settle(step, sent, kept))
    }

    fn pulse(&mut self, step: Step<'_>, held: &[(usize, u32, Amounts)]) -> Outcome {
        let mut missing = None;
        for (scope, permits, amounts) in held {
            match self.load(step, *scope) {
                Some(state) => state.pulse(step, *permits, amounts),
                None => missing = missing.or(Some(Outcome::Missing { scope: *scope })),
            }
        }
        missing.unwrap_or(Outcome::Done)
    }
}

/// So many microseconds after 1970.
pub(super) const fn micros(micros: u64) -> Time {
    Time::from_nanos(micros * 1_000)
}

/// Steps that the script alone takes.
impl State {
    /// Whether its steps are no plain arithmetic, so that the server leaves them to us.
    pub(super) fn is_exotic(&self) -> bool {
        self.scope.is_exploring()
    }

    /// Takes the process out of the line.
    pub(super) fn leave(&mut self, process: &str) {
        for member in self.members.iter_mut().filter(|member| member.process == process) {
            member.place = None;
        }
    }

    /// The process goes, and gives back all that it held.
    pub(super) fn bye(&mut self, process: &str) {
        for member in self.members.iter().filter(|member| member.process == process) {
            self.scope.release_all(member.permits, &member.amounts);
        }
        self.members.retain(|member| member.process != process);
    }
}
