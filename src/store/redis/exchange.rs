//! What goes to the server and what comes back: what was ended, what is asked for, and what was decided here.
//!
//! All that is plain arithmetic goes in one call of the script. What is not is decided here on the state that was last seen, and swapped in
//! if it still is what it was. Who asks holds the turn; the tree is not locked while the server is waited for.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::clock::ServerClock;
use super::gate::Inside;
use super::state::{State, Step};
use super::step::{self, Change, Op, Outcome, Reply};
use super::store::{RedisStore, Ties};
use super::tree::{Cold, Ending, Row, Seen, Tree, unknown_wait};
use super::wire;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::quota::Amounts;
use crate::scope::{Blocked, Path, ScopeId};
use crate::store::Decision;

/// How long a process is believed to be there after it has last said so.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// How often it says so.
const PULSE: Duration = Duration::from_millis(2_500);
/// So many ended calls go in one script call, lest it hold up the server.
const MOST_ENDINGS: usize = 128;
/// Who waits looks again no later than this, though nobody has rung.
const LATEST_LOOK: Duration = Duration::from_millis(500);
/// and no sooner than this where it is not known what there is to wait for.
const SOONEST_LOOK: Duration = Duration::from_millis(10);
/// How often what another process has changed meanwhile is decided anew.
const MOST_TRIES: usize = 32;
/// A cap that has not been used for so long is not spoken for.
const IDLE: Duration = Duration::from_secs(30);

/// The scopes of one script call, as positions in its list of keys.
#[derive(Default)]
struct Keys {
    ids: Vec<ScopeId>,
    places: HashMap<ScopeId, usize>,
}

impl Keys {
    fn place(&mut self, id: ScopeId) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() - 1
        })
    }

    fn places(&mut self, path: &Path) -> Vec<usize> {
        path.scopes().iter().map(|id| self.place(*id)).collect()
    }
}

impl RedisStore {
    /// Tells what is to be told, and asks for all of these in their order.
    pub(super) fn exchange(&self, asked: &[(Path, Amounts)]) -> Vec<Result<Decision>> {
        let ties = {
            let _inside = Inside::enter();
            self.ties()
        };
        let _turn = ties.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decisions: Vec<Option<Decision>> = vec![None; asked.len()];
        let failure = self.decide(&ties, asked, &mut decisions).err();
        let answers =
            decisions.into_iter().zip(asked).map(|(decision, (path, _))| match (decision, &failure) {
                (Some(decision), _) => Ok(self.looked_at_again(decision)),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => Ok(unknown_wait(path.scopes()[0], self.clock.now() + SOONEST_LOOK)),
            });
        answers.collect()
    }

    fn decide(
        &self,
        ties: &Ties,
        asked: &[(Path, Amounts)],
        decisions: &mut [Option<Decision>],
    ) -> Result<()> {
        for _ in 0..MOST_TRIES {
            self.swap_cold(ties)?;
            self.ask_plainly(ties, asked, decisions)?;
            let has_told = {
                let _inside = Inside::enter();
                self.tree.lock().outbox.is_empty()
            };
            if has_told && decisions.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(())
    }

    /// One script call with all that is plain.
    fn ask_plainly(
        &self,
        ties: &Ties,
        asked: &[(Path, Amounts)],
        decisions: &mut [Option<Decision>],
    ) -> Result<()> {
        let (mut keys, mut ops) = (Keys::default(), Vec::new());
        let endings = {
            let _inside = Inside::enter();
            self.tree.lock().tell(&mut keys, &mut ops, self.clock.now())
        };
        let first_take = ops.len();
        let pending: Vec<usize> = (0..asked.len()).filter(|place| decisions[*place].is_none()).collect();
        for place in &pending {
            let (path, amounts) = &asked[*place];
            ops.push(Op::Take { scopes: keys.places(path), amounts: *amounts });
        }
        if ops.is_empty() {
            return Ok(());
        }
        let reply = self.call(ties, &keys, &ops)?;
        let mut exotic = Vec::new();
        {
            let _inside = Inside::enter();
            let mut tree = self.tree.lock();
            self.take_over(ties, &mut tree, &keys, &reply)?;
            for (ending, outcome) in endings.iter().zip(&reply.outcomes) {
                if *outcome == Outcome::Exotic {
                    tree.end_coldly(ending);
                }
            }
            for (place, outcome) in pending.into_iter().zip(&reply.outcomes[first_take..]) {
                let (path, amounts) = &asked[place];
                match outcome {
                    Outcome::Granted => {
                        decisions[place] = Some(tree.granted(path, amounts, reply.now));
                    }
                    Outcome::Refused { scope } => {
                        decisions[place] =
                            Some(tree.refused(path, amounts, keys.ids[*scope], &ties.process, reply.now));
                    }
                    Outcome::Exotic => exotic.push(place),
                    // A scope that is not there yet is made by the next round.
                    _ => tree.lose(path, &keys, outcome),
                }
            }
        }
        for place in exotic {
            let (path, amounts) = &asked[place];
            decisions[place] = Some(self.take_coldly(ties, path, amounts)?);
        }
        Ok(())
    }

    /// Reads a scope, and says by the way that this process is there.
    pub(super) fn look(&self, scope: ScopeId) -> Result<()> {
        let ties = {
            let _inside = Inside::enter();
            self.ties()
        };
        let _turn = ties.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.decide(&ties, &[], &mut [])?;
        let mut keys = Keys::default();
        let ops = [{
            let _inside = Inside::enter();
            self.tree.lock().pulse(&mut keys, &[scope])
        }];
        let reply = self.call(&ties, &keys, &ops)?;
        let _inside = Inside::enter();
        self.take_over(&ties, &mut self.tree.lock(), &keys, &reply)
    }

    /// Gives back all that this process holds.
    pub(super) fn bye(&self) -> Result<()> {
        let ties = {
            let _inside = Inside::enter();
            self.ties()
        };
        let _turn = ties.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Keys::default();
        {
            let _inside = Inside::enter();
            let tree = self.tree.lock();
            let used = (0..)
                .map(ScopeId)
                .zip(&tree.rows)
                .filter(|(_, row)| row.as_ref().is_some_and(|row| row.is_agreed));
            used.for_each(|(id, _)| _ = keys.place(id));
        }
        if keys.ids.is_empty() {
            return Ok(());
        }
        self.decide(&ties, &[], &mut [])?;
        let ops = [Op::Bye { scopes: (0..keys.ids.len()).collect() }];
        self.call(&ties, &keys, &ops).map(drop)
    }

    /// Swaps in what is decided here of single scopes.
    fn swap_cold(&self, ties: &Ties) -> Result<()> {
        for _ in 0..MOST_TRIES {
            let (mut keys, mut ops, mut changed) = (Keys::default(), Vec::new(), Vec::new());
            {
                let _inside = Inside::enter();
                let (tree, now) = (self.tree.lock(), self.clock.now());
                let step = Step { process: &ties.process, presence: PRESENCE, now };
                for id in tree.cold_scopes() {
                    let place = keys.place(id);
                    let change = tree.changed(id, step);
                    ops.push(match &change {
                        Some((state, _)) => Op::Swap { changes: vec![change_of(place, state)] },
                        None => Op::Read { scope: place },
                    });
                    changed.push(change);
                }
            }
            if ops.is_empty() {
                return Ok(());
            }
            let reply = self.call(ties, &keys, &ops)?;
            let _inside = Inside::enter();
            let mut tree = self.tree.lock();
            for ((id, outcome), change) in keys.ids.iter().zip(&reply.outcomes).zip(changed) {
                match (outcome, change) {
                    (Outcome::Swapped, Some((state, done))) => {
                        tree.outbox.done(*id, done);
                        tree.swapped(*id, state, reply.now);
                    }
                    // What is read or has changed comes with the reply; what does not is not there.
                    _ => tree.unseen(*id),
                }
            }
            self.take_over(ties, &mut tree, &keys, &reply)?;
        }
        Ok(())
    }

    /// Decides about a call here, since one of its scopes is no plain arithmetic.
    fn take_coldly(&self, ties: &Ties, path: &Path, amounts: &Amounts) -> Result<Decision> {
        for _ in 0..MOST_TRIES {
            let mut keys = Keys::default();
            keys.places(path);
            let now = self.clock.now();
            let step = Step { process: &ties.process, presence: PRESENCE, now };
            let decided = {
                let _inside = Inside::enter();
                self.tree.lock().decide(path, amounts, step)
            };
            let Some((states, refusal)) = decided else {
                self.read(ties, &keys)?;
                continue;
            };
            let changes = (0..).zip(&states).map(|(place, (_, state))| change_of(place, state)).collect();
            let reply = self.call(ties, &keys, &[Op::Swap { changes }])?;
            let _inside = Inside::enter();
            let mut tree = self.tree.lock();
            if reply.outcomes.first() == Some(&Outcome::Swapped) {
                for (id, state) in states {
                    tree.swapped(id, state, reply.now);
                }
                return Ok(match refusal {
                    None => tree.lease(path, amounts, now),
                    Some((scope, decision)) => {
                        tree.places.extend(scope);
                        decision
                    }
                });
            }
            keys.ids.iter().for_each(|id| tree.unseen(*id));
            self.take_over(ties, &mut tree, &keys, &reply)?;
        }
        Ok(unknown_wait(path.scopes()[0], self.clock.now() + SOONEST_LOOK))
    }

    fn read(&self, ties: &Ties, keys: &Keys) -> Result<()> {
        let ops: Vec<Op> = (0..keys.ids.len()).map(|scope| Op::Read { scope }).collect();
        let reply = self.call(ties, keys, &ops)?;
        let _inside = Inside::enter();
        let mut tree = self.tree.lock();
        keys.ids.iter().for_each(|id| tree.unseen(*id));
        self.take_over(ties, &mut tree, keys, &reply)
    }

    /// Has the script run.
    fn call(&self, ties: &Ties, keys: &Keys, ops: &[Op]) -> Result<Reply> {
        let names = {
            let _inside = Inside::enter();
            let tree = self.tree.lock();
            let names = keys.ids.iter().map(|id| self.key(&tree.book.name(*id)));
            std::iter::once(self.clock_key()).chain(names).collect()
        };
        let asked = ServerClock::here();
        let value = ties.link.call(step::script(), names, step::argument(&ties.process, PRESENCE, ops))?;
        let reply = step::reply(value).filter(|reply| reply.outcomes.len() == ops.len());
        let reply = reply.ok_or_else(|| self.foreign(ties))?;
        self.clock.heard(reply.now, asked);
        Ok(reply)
    }

    fn take_over(&self, ties: &Ties, tree: &mut Tree, keys: &Keys, reply: &Reply) -> Result<()> {
        let are_read =
            reply.states.iter().all(|(place, bytes)| tree.take_over(keys.ids[*place], bytes.clone()));
        if are_read { Ok(()) } else { Err(self.foreign(ties)) }
    }

    fn foreign(&self, ties: &Ties) -> Error {
        Error::Shared {
            store: ties.link.shown().to_owned(),
            what: "what is there was written by something else, or by another version: use the same release everywhere, or another \
                   prefix (?prefix=...)"
                .to_owned(),
        }
    }

    /// A decision with the time at which to look again, though nobody rings.
    fn looked_at_again(&self, decision: Decision) -> Decision {
        let Decision::Wait(blocked) = decision else { return decision };
        let now = self.clock.now();
        let due = blocked
            .ready_at
            .map_or(now + LATEST_LOOK, |ready_at| ready_at.max(now + Duration::from_micros(100)));
        Decision::Wait(Blocked { ask_again_at: due.min(now + LATEST_LOOK), ..blocked })
    }
}

impl Tree {
    /// What is to be told of ended calls and lines that were left, and that this process is there, if that is due.
    fn tell(&mut self, keys: &mut Keys, ops: &mut Vec<Op>, now: Time) -> Vec<Ending> {
        self.end_silent(now);
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
        let left = std::mem::take(&mut self.outbox.left);
        if !left.is_empty() {
            ops.push(Op::Leave { scopes: left.into_iter().map(|id| keys.place(id)).collect() });
        }
        if now >= self.pulse_at && self.outbox.endings.is_empty() {
            self.pulse_at = now + PULSE;
            let used = self.used(now);
            if !used.is_empty() {
                ops.push(self.pulse(keys, &used));
            }
        }
        endings
    }

    /// The scopes that this process speaks for.
    fn used(&self, now: Time) -> Vec<ScopeId> {
        let holdings = self.book.holdings();
        let is_used = |(id, row): &(ScopeId, &Row)| {
            row.is_agreed && (!row.is_cap || now.since(row.used_at) < IDLE || holdings.contains_key(id))
        };
        let rows = (0..).map(ScopeId).zip(&self.rows).filter_map(|(id, row)| Some((id, row.as_ref()?)));
        rows.filter(is_used).map(|(id, _)| id).collect()
    }

    /// Says that this process is there, and what it holds in all.
    fn pulse(&self, keys: &mut Keys, scopes: &[ScopeId]) -> Op {
        let holdings = self.book.holdings();
        let held = scopes.iter().map(|id| {
            let (permits, amounts) = holdings.get(id).copied().unwrap_or_default();
            (keys.place(*id), permits, amounts)
        });
        Op::Pulse { held: held.collect() }
    }

    fn granted(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        for id in path.scopes() {
            self.places.remove(id);
            if let Some(row) = self.row(*id) {
                row.used_at = now;
            }
        }
        Decision::Granted(self.book.grant(path, amounts, now))
    }

    /// A lease whose charge is in the state that was swapped in.
    fn lease(&mut self, path: &Path, amounts: &Amounts, now: Time) -> Decision {
        path.scopes().iter().for_each(|id| _ = self.places.remove(id));
        Decision::Granted(self.book.lease_out(path, amounts, now))
    }

    fn refused(
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

    /// A scope that the server does not know, or no longer.
    fn lose(&mut self, path: &Path, keys: &Keys, outcome: &Outcome) {
        let missing =
            if let Outcome::Missing { scope } = outcome { &keys.ids[*scope..=*scope] } else { path.scopes() };
        for id in missing {
            if let Some(row) = self.row(*id) {
                (row.is_agreed, row.seen) = (false, Seen::Absent);
            }
        }
    }

    /// The scopes of which something is to be decided here.
    fn cold_scopes(&self) -> Vec<ScopeId> {
        let rows = (0..).map(ScopeId).zip(&self.rows);
        let is_cold = |(id, row): &(ScopeId, &Option<Row>)| {
            row.as_ref().is_some_and(|row| !row.is_agreed || self.outbox.cold.contains_key(id))
        };
        rows.filter(is_cold).map(|(id, _)| id).collect()
    }

    /// The state of a scope after what is to be decided of it, and how much that was; None if it has to be read first.
    fn changed(&self, id: ScopeId, step: Step<'_>) -> Option<(State, usize)> {
        let row = self.rows[id.0 as usize].as_ref()?;
        let mut state = self.seen_state(id)?;
        state.strike_off_overdue(step);
        if state.quota != row.quota {
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
            }
        }
        Some((state, cold.len()))
    }

    fn seen_state(&self, id: ScopeId) -> Option<State> {
        let row = self.rows[id.0 as usize].as_ref()?;
        match &row.seen {
            Seen::Nothing => None,
            Seen::Absent => self.first_state(id),
            Seen::Value(bytes) => wire::decode(row.name.clone(), bytes),
        }
    }

    /// What a call gets by the states that were last seen, and the states after it; None if one has to be read first.
    #[allow(clippy::type_complexity, reason = "the two halves of one answer")]
    fn decide(
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
            states.iter_mut().for_each(|(_, state)| state.grant(step, amounts));
            return Some((states, None));
        };
        let stands = match &refusal {
            Decision::Wait(blocked) if blocked.cause == crate::scope::Cause::Room => Some(blocked.scope),
            _ => None,
        };
        for (_, state) in states.iter_mut().filter(|(id, _)| Some(*id) == stands) {
            state.stand(step, amounts);
        }
        Some((states, Some((stands, refusal))))
    }

    /// What was decided of a scope is in force, as the version that the server has made of it.
    fn swapped(&mut self, id: ScopeId, mut state: State, now: Time) {
        state.revision = if state.revision == 0 { now.nanos() / 1_000 } else { state.revision + 1 };
        let bytes = state.encode();
        if let Some(row) = self.row(id) {
            row.is_agreed = row.quota == state.quota;
            (row.seen, row.members) = (Seen::Value(bytes), state.members);
            self.book.put(id, state.scope);
        }
    }

    /// Nothing is there, unless the reply says otherwise.
    fn unseen(&mut self, id: ScopeId) {
        if let Some(row) = self.row(id) {
            row.seen = Seen::Absent;
        }
    }

    /// An ended call of a scope that is no plain arithmetic.
    fn end_coldly(&mut self, ending: &Ending) {
        for id in ending.path.scopes() {
            let is_success = ending.own == Some(*id);
            let cold = Cold::End { sent: ending.sent, kept: ending.kept, setback: None, is_success };
            self.outbox.cold.entry(*id).or_default().push(cold);
        }
    }
}

fn change_of(scope: usize, state: &State) -> Change {
    Change { scope, expected: state.revision, value: state.encode() }
}
