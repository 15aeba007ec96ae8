//! The script that takes steps inside the server: what it is told, and what it answers. No I/O.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, Value};

use super::wire::{MOST, VERSION, Writer};
use crate::bucket::KEPT;
use crate::clock::Time;
use crate::pace::SPAN;
use crate::quota::Amounts;
use crate::store::PLACE_KEPT;

/// A cap is kept for as long beyond the presence of the processes that use it, and until it is full.
const CAP_KEPT: Duration = Duration::from_secs(30);
/// What was learned of any other scope survives so long without a call.
const SCOPE_KEPT: Duration = Duration::from_hours(24 * 7);

/// A step, on scopes by their place in the list of keys that goes with the batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    /// Takes the amounts and a permit from all of the scopes, outermost first, or stands in line.
    Take { scopes: Vec<usize>, amounts: Amounts },
    /// A call is over: `kept` replaces what was reserved; `own` is the scope whose provider has answered it, if it has.
    End { scopes: Vec<usize>, own: Option<usize>, sent_at: Time, reserved: Amounts, kept: Amounts },
    /// The process is there, and holds so many permits and amounts in all of each scope.
    Pulse { held: Vec<(usize, u32, Amounts)> },
    /// The process leaves the lines.
    Leave { scopes: Vec<usize> },
    /// The process goes, and gives back all that it holds.
    Bye { scopes: Vec<usize> },
    /// Tells the state of a scope.
    Read { scope: usize },
    /// Puts new values in the place of those that were read, of all scopes or of none.
    Swap { changes: Vec<Change> },
}

/// A new value of a scope.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) scope: usize,
    /// The revision that was read; 0 for a scope that was not there.
    pub(super) expected: u64,
    pub(super) value: Vec<u8>,
}

/// What has come of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A call starts, at the time of the reply.
    Granted,
    /// It does not: in this scope it has to wait. The state tells why.
    Refused {
        scope: usize,
    },
    /// Nothing is done: a scope's steps are no plain arithmetic. All its scopes are among the states.
    Exotic,
    /// This scope is not there; nothing is done, but with the other scopes of a pulse.
    Missing {
        scope: usize,
    },
    Done,
    Swapped,
    /// Somebody else was faster; the states tell what is there now.
    Changed,
}

/// What has come of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) now: Time,
    pub(super) outcomes: Vec<Outcome>,
    /// The values, after the batch, of the scopes that somebody has to look at.
    pub(super) states: Vec<(usize, Vec<u8>)>,
}

/// The script. Its first key is that of the clock, then come the scopes'; all have to be in one slot of a cluster.
pub(super) fn script() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        let micros = |length: Duration| length.as_micros();
        let constants = format!(
            "local VERSION, MOST, KEPT, PLACE_KEPT, SPAN, CAP_KEPT, SCOPE_KEPT = {VERSION}, {MOST}, {KEPT}, {}, {}, {}, {}",
            micros(PLACE_KEPT),
            micros(SPAN),
            micros(CAP_KEPT),
            micros(SCOPE_KEPT),
        );
        let parts = [
            &*constants,
            include_str!("bucket.lua"),
            include_str!("scope.lua"),
            include_str!("take.lua"),
            include_str!("step.lua"),
        ];
        Script::new(&with_constants(&parts.join("\n")))
    });
    &SCRIPT
}

/// Puts the numbers in the place of their names: each function would catch them anew each time that the script runs, which takes as long as
/// a step of it.
fn with_constants(text: &str) -> String {
    let found = text.lines().filter_map(constants).flatten();
    let numbers: HashMap<&str, &str> = found.collect();
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let (mut out, lines) =
        (String::with_capacity(text.len()), text.lines().filter(|line| constants(line).is_none()));
    for line in lines {
        let mut rest = line;
        while let Some(start) = rest.find(is_word) {
            let (before, from) = rest.split_at(start);
            let (word, after) = from.split_at(from.find(|char| !is_word(char)).unwrap_or(from.len()));
            out.extend([before, numbers.get(word).copied().unwrap_or(word)]);
            rest = after;
        }
        out.extend([rest, "\n"]);
    }
    out
}

/// The names and numbers of a line that does nothing else than to name numbers.
fn constants(line: &str) -> Option<Vec<(&str, &str)>> {
    let (names, numbers) = line.strip_prefix("local ")?.split_once(" = ")?;
    let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    let pairs: Vec<_> = names.split(", ").zip(numbers.split(", ")).collect();
    pairs.iter().all(|(_, number)| is_number(number)).then_some(pairs)
}

/// What the script is told. `presence` is how long the process is believed to be there from now on.
pub(super) fn argument(process: &str, presence: Duration, ops: &[Op]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(64 + 64 * ops.len()));
    out.array(4);
    out.number(VERSION);
    out.text(process);
    out.number(u64::try_from(presence.as_micros()).unwrap_or(u64::MAX));
    out.array(ops.len());
    for op in ops {
        out.op(op);
    }
    out.0
}

impl Writer {
    fn op(&mut self, op: &Op) {
        match op {
            Op::Take { scopes, amounts } => {
                self.kind(1, 4 + scopes.len());
                self.amounts(amounts);
                self.scopes(scopes);
            }
            Op::End { scopes, own, sent_at, reserved, kept } => {
                self.kind(2, 10 + scopes.len());
                self.index(own.map_or(0, |own| own + 1));
                self.time(*sent_at);
                self.amounts(reserved);
                self.amounts(kept);
                self.scopes(scopes);
            }
            Op::Pulse { held } => {
                self.kind(3, 6 * held.len());
                for (scope, permits, amounts) in held {
                    self.index(scope + 1);
                    self.number(*permits);
                    self.amounts(amounts);
                }
            }
            Op::Leave { scopes } => self.scopes_alone(4, scopes),
            Op::Bye { scopes } => self.scopes_alone(5, scopes),
            Op::Read { scope } => self.scopes_alone(6, &[*scope]),
            Op::Swap { changes } => {
                self.kind(7, 3 * changes.len());
                for Change { scope, expected, value } in changes {
                    self.index(scope + 1);
                    self.number(*expected);
                    self.bytes(value);
                }
            }
        }
    }

    fn kind(&mut self, kind: u8, fields: usize) {
        self.array(1 + fields);
        self.number(kind);
    }

    fn scopes(&mut self, scopes: &[usize]) {
        for scope in scopes {
            self.index(scope + 1);
        }
    }

    fn scopes_alone(&mut self, kind: u8, scopes: &[usize]) {
        self.kind(kind, scopes.len());
        self.scopes(scopes);
    }
}

/// What the script answers; None for what it never does.
pub(super) fn reply(value: Value) -> Option<Reply> {
    let [now, outcomes, states] = <[Value; 3]>::try_from(list(value)?).ok()?;
    let now = Time::from_nanos(whole(&now)?.checked_mul(1_000)?);
    let outcomes = list(outcomes)?.iter().map(outcome).collect::<Option<_>>()?;
    let mut states = list(states)?.into_iter();
    let mut told = Vec::with_capacity(states.len() / 2);
    while let Some(index) = states.next() {
        let Value::BulkString(bytes) = states.next()? else { return None };
        told.push((index_of(whole(&index)?)?, bytes));
    }
    Some(Reply { now, outcomes, states: told })
}

fn outcome(value: &Value) -> Option<Outcome> {
    let code = whole(value)?;
    Some(match code % 8 {
        0 => Outcome::Granted,
        1 => Outcome::Done,
        2 => Outcome::Swapped,
        3 => Outcome::Changed,
        4 => Outcome::Exotic,
        5 => Outcome::Refused { scope: index_of(code / 8)? },
        6 => Outcome::Missing { scope: index_of(code / 8)? },
        _ => return None,
    })
}

fn list(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

fn whole(value: &Value) -> Option<u64> {
    if let Value::Int(number) = value { u64::try_from(*number).ok() } else { None }
}

/// Lua counts from one.
fn index_of(place: u64) -> Option<usize> {
    usize::try_from(place).ok()?.checked_sub(1)
}
