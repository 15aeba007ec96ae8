//! The server of the simulation, and the book that is kept of what it grants, by its clock.

use std::collections::HashMap;

use redis::Connection;

use super::SCOPES;
use crate::clock::Time;
use crate::quota::{Amounts, Dimension, Limit};
use crate::store::redis::model::Model;
use crate::store::redis::server::{PRESENCE, Server, call};
use crate::store::redis::state::{State, Step};
use crate::store::redis::step::{Change, Op, Outcome, Reply, reply};
use crate::store::redis::wire::decode;

/// Who takes the steps.
pub(super) enum Steps {
    /// The arithmetic that the script is proved equal to.
    InRust(Model),
    /// The script itself.
    OnServer { connection: Connection, keys: Vec<String> },
}

/// A process, since when, and for how much.
type Call = (String, Time, [u64; 4]);

/// What was granted to a process: from that many scopes, outermost first.
pub(super) struct Grant {
    pub(super) at: Time,
    pub(super) depth: usize,
    /// What was reserved, or used if that was less.
    pub(super) taken: Amounts,
}

pub(super) struct Granting {
    steps: Steps,
    pub(super) grants: Vec<Grant>,
    /// Where in it the calls are that have not ended, by who has them, since when and for how much.
    open: HashMap<Call, Vec<usize>>,
    pub(super) ended: usize,
}

impl Granting {
    pub(super) fn in_rust() -> Self {
        Self::by(Steps::InRust(Model::new(SCOPES.len())))
    }

    pub(super) fn on(server: &Server) -> Self {
        let mut connection = server.connect();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        let keys = SCOPES.map(|name| format!("{{t}}{name}")).to_vec();
        Self::by(Steps::OnServer { connection, keys })
    }

    fn by(steps: Steps) -> Self {
        Self { steps, grants: Vec::new(), open: HashMap::new(), ended: 0 }
    }

    /// Takes steps, and notes what was granted and ended.
    pub(super) fn step(&mut self, process: &str, now: Time, ops: &[Op]) -> Reply {
        let reply = match &mut self.steps {
            Steps::InRust(model) => step_in_rust(model, process, now, ops),
            Steps::OnServer { connection, keys } => {
                reply(call(process, keys, now, ops).query(connection).unwrap()).unwrap()
            }
        };
        for (op, outcome) in ops.iter().zip(&reply.outcomes) {
            match (op, outcome) {
                (Op::Take { scopes, amounts }, Outcome::Granted) => {
                    self.open
                        .entry(call_of(process, reply.now, amounts))
                        .or_default()
                        .push(self.grants.len());
                    self.grants.push(Grant { at: reply.now, depth: scopes.len(), taken: *amounts });
                }
                (Op::End { sent_at, reserved, kept, .. }, Outcome::Done) => {
                    self.end(&call_of(process, *sent_at, reserved), kept);
                }
                _ => {}
            }
        }
        reply
    }

    /// What a call has used beyond what it had reserved is a debt, which nobody could prevent; so it is not in the book.
    fn end(&mut self, key: &Call, kept: &Amounts) {
        let Some(grant) = self.open.get_mut(key).and_then(Vec::pop) else { return };
        let taken = &mut self.grants[grant].taken;
        // The lesser of both.
        *taken = taken.minus(&taken.minus(kept));
        self.ended += 1;
    }

    /// The state of a scope.
    pub(super) fn state(&mut self, scope: usize) -> State {
        let name = SCOPES[scope];
        let value = match &mut self.steps {
            Steps::InRust(model) => model.states[scope].as_ref().unwrap().encode(),
            Steps::OnServer { connection, keys } => {
                redis::cmd("GET").arg(&keys[scope]).query::<Vec<u8>>(connection).unwrap()
            }
        };
        decode(name.into(), &value).unwrap()
    }

    /// What was granted of a limit of a scope, in order.
    pub(super) fn charges(&self, scope: usize, limit: &Limit) -> impl Iterator<Item = (Time, u64)> {
        let dimension = limit.dimension();
        let of_scope = self.grants.iter().filter(move |grant| grant.depth > scope);
        of_scope.map(move |grant| (grant.at, grant.taken.get(dimension)))
    }
}

fn call_of(process: &str, at: Time, amounts: &Amounts) -> Call {
    (process.to_owned(), at, Dimension::RATES.map(|dimension| amounts.get(dimension)))
}

/// What `step.lua` does with a batch, its revisions included: they rise with every batch that may have changed something.
fn step_in_rust(model: &mut Model, process: &str, now: Time, ops: &[Op]) -> Reply {
    let step = Step { process, presence: PRESENCE, now };
    let is_plain = ops.iter().any(|op| !matches!(op, Op::Swap { .. } | Op::Read { .. }));
    if is_plain {
        let outcomes = model.batch(step, ops);
        let there = |scope: usize, model: &Model| model.states[scope].is_some();
        let mut told = Vec::new();
        for scope in (0..SCOPES.len()).filter(|scope| there(*scope, model)).collect::<Vec<_>>() {
            model.states[scope].as_mut().unwrap().revision += 1;
            told.push(scope);
        }
        return answer(model, now, outcomes, told);
    }
    let mut told = Vec::new();
    let outcomes = ops.iter().map(|op| one_in_rust(model, step, op, &mut told)).collect();
    answer(model, now, outcomes, told)
}

fn one_in_rust(model: &mut Model, step: Step<'_>, op: &Op, told: &mut Vec<usize>) -> Outcome {
    match op {
        Op::Swap { changes } => {
            let [Change { scope, expected, value }] = &changes[..] else {
                panic!("what is plain arithmetic is swapped in scope by scope")
            };
            let has_changed = meet(model, step, *scope);
            match &model.states[*scope] {
                None if *expected > 0 => return Outcome::Missing { scope: *scope },
                Some(state) if has_changed || state.revision != *expected => {
                    told.push(*scope);
                    return Outcome::Changed;
                }
                _ => {}
            }
            let mut state = decode(SCOPES[*scope].into(), value).unwrap();
            state.revision = if *expected > 0 { expected + 1 } else { step.now.nanos() / 1_000 };
            model.states[*scope] = Some(state);
            meet(model, step, *scope);
            Outcome::Swapped
        }
        Op::Read { scope } => {
            meet(model, step, *scope);
            let outcome = model.batch(step, std::slice::from_ref(op))[0];
            told.extend((outcome == Outcome::Done).then_some(*scope));
            outcome
        }
        _ => panic!("the others are plain arithmetic"),
    }
}

/// Strikes off who is overdue; whether anybody was.
fn meet(model: &mut Model, step: Step<'_>, scope: usize) -> bool {
    let Some(state) = &mut model.states[scope] else { return false };
    let before = state.members.len();
    state.strike_off_overdue(step);
    let has_changed = state.members.len() < before;
    state.revision += u64::from(has_changed);
    has_changed
}

fn answer(model: &Model, now: Time, outcomes: Vec<Outcome>, told: Vec<usize>) -> Reply {
    let states = told.into_iter().map(|scope| (scope, model.states[scope].as_ref().unwrap().encode()));
    Reply { now, outcomes, states: states.collect() }
}

/// The most that was granted in any window beyond burst + rate x time, in the limit's amounts; exact, and rounded up.
pub(super) fn excess(limit: &Limit, charges: impl Iterator<Item = (Time, u64)>) -> u64 {
    let (period, rate) = (limit.period().as_nanos(), u128::from(limit.amount()));
    let (mut level, mut most, mut before) = (0u128, 0u128, Time::ZERO);
    for (at, amount) in charges {
        level = level.saturating_sub(at.since(before).as_nanos() * rate) + u128::from(amount) * period;
        most = most.max(level);
        before = at;
    }
    let beyond = most.saturating_sub(u128::from(limit.burst()) * period);
    u64::try_from(beyond.div_ceil(period)).unwrap()
}
