//! Whatever happens, the script inside the server and the arithmetic that all stores share go on alike, to the last unit.

use std::collections::HashMap;
use std::time::Duration;

use super::model::{Model, micros};
use super::server::{PRESENCE, Scopes, Server};
use super::state::{State, Step};
use super::step::{Change, Op, Outcome};
use super::wire::decode;
use crate::clock::Time;
use crate::pace::{Refusal, Told};
use crate::quota::{Amounts, Dimension, Limit, Quota};
use crate::store::scope::Sent;
use crate::store::through_bytes::Dice;

/// How many steps are taken; many more by hand, with this in the environment.
const STEPS: &str = "RATEKEEPER_TWIN_STEPS";
const STEPS_BY_DEFAULT: u64 = 60_000;
const STEPS_A_SEED: u64 = 2_000;

const NAMES: [&str; 4] = ["account", "one", "other", "cap"];
const PATHS: [&[usize]; 6] = [&[0], &[0, 1], &[0, 2], &[0, 1, 3], &[2], &[3]];
const PROCESSES: [&str; 3] = ["a", "b", "c"];
/// Whole microseconds, but no round ones.
const PERIODS: [u64; 5] = [1_000, 1_000_000, 60_000_000, 12_345_679, 86_400_000_000];

struct Lease {
    process: usize,
    path: &'static [usize],
    sent: Sent,
}

struct Twins<'a> {
    dice: Dice,
    /// Amounts of this seed are so large.
    scale: u64,
    scopes: Scopes<'a>,
    model: Model,
    leases: Vec<Lease>,
    now: Time,
    /// Calls of the script that were not made yet, and what they are to say.
    calls: redis::Pipeline,
    expected: Vec<(Time, Vec<Op>, Vec<Outcome>)>,
    counts: HashMap<&'static str, u64>,
}

impl<'a> Twins<'a> {
    fn new(seed: u64, server: &'a Server) -> Self {
        let mut scopes = Scopes::of(server, "", &NAMES);
        redis::cmd("FLUSHALL").exec(&mut scopes.connection).unwrap();
        let mut dice = Dice::new(seed);
        let scale = [1, 1, 1, 97_000_003][index(&mut dice, 4)];
        let (model, leases, now) =
            (Model::new(NAMES.len()), Vec::new(), micros(1_700_000_000_000_000 + seed));
        let (calls, expected, counts) = (redis::pipe(), Vec::new(), HashMap::new());
        Self { dice, scale, scopes, model, leases, now, calls, expected, counts }
    }

    fn amounts(&mut self) -> Amounts {
        let amounts = self.dice.amounts();
        let scaled = |amount: u64, dice: &mut Dice| amount * self.scale + dice.below(self.scale);
        let input_tokens = scaled(amounts.input_tokens, &mut self.dice);
        let output_tokens = scaled(amounts.output_tokens, &mut self.dice);
        let tokens = input_tokens + output_tokens;
        Amounts { requests: amounts.requests, tokens, input_tokens, output_tokens }
    }

    fn quota(&mut self) -> Quota {
        let mut limits = Vec::new();
        for dimension in Dimension::RATES {
            let scale = if dimension == Dimension::Requests { 1 } else { self.scale };
            let amount = 5 * scale + self.dice.below(5_000 * scale);
            let period = Duration::from_micros(PERIODS[index(&mut self.dice, PERIODS.len())]);
            let burst = self.dice.maybe(1 + amount / 3);
            limits.extend(self.dice.maybe(Limit::new(dimension, amount, period, burst).unwrap()));
        }
        let permits = 1 + u32::try_from(self.dice.below(6)).unwrap();
        let headroom = Duration::from_millis(self.dice.below(2) * 250);
        Quota::new(limits, self.dice.maybe(permits)).unwrap().with_headroom(headroom)
    }

    /// One step of both; the server's is taken later, together with others.
    fn step(&mut self) {
        let process = index(&mut self.dice, PROCESSES.len());
        let ops: Vec<Op> = (0..=self.dice.below(3)).map(|_| self.op(process)).collect();
        let step = Step { process: PROCESSES[process], presence: PRESENCE, now: self.now };
        let outcomes = self.model.batch(step, &ops);
        for (op, outcome) in ops.iter().zip(&outcomes) {
            self.note(process, op, *outcome);
        }
        self.scopes.process = step.process;
        self.calls.add_command(self.scopes.call(self.now, &ops));
        self.expected.push((self.now, ops, outcomes));
        let pause = [1, 1, 30_000, 30_000, 30_000, 4_000_000][index(&mut self.dice, 6)];
        self.now = self.now + Duration::from_micros(self.dice.below(pause));
        if self.dice.below(20) == 0 {
            self.compare();
            self.change();
        }
    }

    fn op(&mut self, process: usize) -> Op {
        let path = PATHS[index(&mut self.dice, PATHS.len())];
        let own: Vec<usize> =
            (0..self.leases.len()).filter(|lease| self.leases[*lease].process == process).collect();
        match self.dice.below(16) {
            0..=7 => Op::Take { scopes: path.to_vec(), amounts: self.amounts() },
            8..=12 if !own.is_empty() => {
                let lease = self.leases.swap_remove(own[index(&mut self.dice, own.len())]);
                let caps_and_all = lease.path.iter().rev().find(|scope| **scope != 3).copied();
                let own = self.dice.maybe(()).and(caps_and_all);
                let kept = self.amounts();
                let (scopes, Sent { at: sent_at, amounts: reserved }) = (lease.path.to_vec(), lease.sent);
                Op::End { scopes, own, sent_at, reserved, kept }
            }
            13 => self.pulse(process, path),
            14 if self.dice.below(4) == 0 => Op::Bye { scopes: path.to_vec() },
            14 => Op::Leave { scopes: path.to_vec() },
            _ => Op::Read { scope: path[0] },
        }
    }

    /// What the process really holds, as a rule.
    fn pulse(&mut self, process: usize, path: &[usize]) -> Op {
        let held = path.iter().map(|scope| {
            if self.dice.below(8) == 0 {
                let permits = u32::try_from(self.dice.below(3)).unwrap();
                return (*scope, permits, self.amounts());
            }
            let own = |lease: &&Lease| lease.process == process && lease.path.contains(scope);
            let amounts = self.leases.iter().filter(own).map(|lease| lease.sent.amounts);
            let sum = amounts.fold(Amounts::default(), |sum, amounts| sum.plus(&amounts));
            (*scope, u32::try_from(self.leases.iter().filter(own).count()).unwrap(), sum)
        });
        Op::Pulse { held: held.collect() }
    }

    fn note(&mut self, process: usize, op: &Op, outcome: Outcome) {
        let kind = match (op, outcome) {
            (Op::Take { scopes, amounts }, Outcome::Granted) => {
                let path = PATHS.into_iter().find(|path| path == scopes).unwrap();
                let sent = Sent { at: self.now, amounts: *amounts };
                self.leases.push(Lease { process, path, sent });
                "granted"
            }
            (Op::Take { .. }, Outcome::Refused { .. }) => "refused",
            (Op::End { .. }, Outcome::Done) => "ended",
            (_, Outcome::Exotic) => "exotic",
            (_, Outcome::Missing { .. }) => "missing",
            _ => "other",
        };
        *self.counts.entry(kind).or_default() += 1;
    }

    /// Takes all steps on the server that were not taken there yet; both then have to say and be the same.
    fn compare(&mut self) {
        if self.expected.is_empty() {
            return;
        }
        let calls = std::mem::replace(&mut self.calls, redis::pipe());
        let replies: Vec<redis::Value> = calls.query(&mut self.scopes.connection).unwrap();
        let expected = std::mem::take(&mut self.expected);
        assert_eq!(replies.len(), expected.len());
        for (reply, (now, ops, outcomes)) in replies.into_iter().zip(expected) {
            let reply = super::step::reply(reply).unwrap();
            assert_eq!((reply.now, &reply.outcomes), (now, &outcomes), "{ops:?}");
        }
        for (scope, state) in self.model.states.iter_mut().enumerate() {
            if let Some(state) = state {
                let there = self.scopes.state(scope);
                state.revision = there.revision;
                let is_same = there.encode() == state.encode();
                assert!(is_same, "{}:\n{}", NAMES[scope], difference(&there, state));
            }
        }
    }

    /// Something that Rust alone decides: swapped in, and rounded as what is read from the server is.
    fn change(&mut self) {
        let scope = index(&mut self.dice, NAMES.len());
        let expected = self.model.states[scope].as_ref().map_or(0, |state| state.revision);
        let mut state = match self.model.states[scope].take() {
            Some(state) if !state.is_exotic() || self.dice.below(3) > 0 => self.changed(scope, state),
            _ => State::new(NAMES[scope].into(), &self.quota(), scope == 3),
        };
        let process = PROCESSES[0];
        state.strike_off_overdue(Step { process, presence: PRESENCE, now: self.now });
        let value = state.encode();
        self.model.states[scope] = decode(self.scopes.keys[scope].as_str().into(), &value);
        self.scopes.process = process;
        let swap = Op::Swap { changes: vec![Change { scope, expected, value }] };
        let mut outcome = self.scopes.one(self.now, swap.clone());
        if outcome == Outcome::Changed {
            // Somebody was struck off just now.
            let expected = self.scopes.state(scope).revision;
            let Op::Swap { mut changes } = swap else { unreachable!() };
            changes[0].expected = expected;
            outcome = self.scopes.one(self.now, Op::Swap { changes });
        }
        assert_eq!(outcome, Outcome::Swapped);
    }

    fn told(&mut self) -> Told {
        let told = self.dice.told();
        let scaled = |amount| amount * if told.dimension == Dimension::Requests { 1 } else { self.scale };
        Told { limit: told.limit.map(scaled), remaining: told.remaining.map(scaled), ..told }
    }

    fn changed(&mut self, scope: usize, mut state: State) -> State {
        let (now, dice) = (self.now, &mut self.dice);
        let lease = self.leases.iter().find(|lease| lease.path.contains(&scope)).map(|lease| lease.sent);
        match (dice.below(8), lease) {
            (0, _) => {
                let quota = self.quota();
                state.scope.configure(&quota, now);
                state.quota = quota;
            }
            (1..=3, Some(sent)) => {
                let told = [self.told(), self.told()];
                state.scope.learn(&sent, &told, now);
            }
            (4, Some(sent)) => state.scope.failed(&sent, &dice.setback(), now),
            (5..=6, Some(sent)) if scope != 3 => {
                let retry_after = Some(Duration::from_nanos(1 + dice.below(3_000_000_000)));
                let (patience, random) = (Duration::from_mins(1), 0.37);
                let refusal = Refusal { dimension: None, period: None, retry_after, patience, random };
                let ready_at = state.scope.pause.refused(&refusal, sent.at, now);
                for meter in &mut state.scope.meters {
                    meter.drain(dice.below(50), ready_at, false, now);
                }
            }
            _ => {}
        }
        state
    }
}

fn index(dice: &mut Dice, most: usize) -> usize {
    usize::try_from(dice.below(most as u64)).unwrap()
}

/// The lines that differ.
fn difference(there: &State, here: &State) -> String {
    let facts = |state: &State| format!("{:#?}\n{:#?}", state.members, state.scope);
    let (there, here) = (facts(there), facts(here));
    let lines = there.lines().zip(here.lines()).enumerate().filter(|(_, (there, here))| there != here);
    let told = lines.map(|(line, (there, here))| format!("{line}: {there} there, {here} here"));
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_script_and_the_arithmetic_of_all_stores_go_on_alike() {
    let server = Server::start();
    let steps = std::env::var(STEPS).map_or(STEPS_BY_DEFAULT, |steps| steps.parse().unwrap());
    let mut seen: HashMap<&str, u64> = HashMap::new();
    for seed in 1..=steps.div_ceil(STEPS_A_SEED) {
        let mut twins = Twins::new(seed, &server);
        let mut taken = 0;
        while taken < STEPS_A_SEED {
            twins.step();
            taken = twins.counts.values().sum();
        }
        twins.compare();
        twins.counts.into_iter().for_each(|(kind, count)| *seen.entry(kind).or_default() += count);
    }
    // None of it is rare.
    for kind in ["granted", "refused", "ended", "exotic", "missing", "other"] {
        assert!(seen[kind] > steps / 200, "{kind}: {seen:?}");
    }
}
