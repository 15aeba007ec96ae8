//! What goes to the server and what comes back: what was ended, what is asked for, and what was decided here.
//!
//! All that is plain arithmetic goes in one call of the script. What is not is decided here on the state that was last seen, and swapped in
//! if it still is what it was. Who asks holds the turn; the tree is not locked while the server is waited for.

use std::sync::PoisonError;
use std::time::Duration;

use super::clock::ServerClock;
use super::gate::Inside;
use super::state::{State, Step};
use super::step::{self, Change, Op, Outcome, Reply};
use super::store::{RedisStore, Ties};
use super::telling::Keys;
use super::tree::{Tree, unknown_wait};
use crate::error::{Error, Result};
use crate::quota::Amounts;
use crate::scope::{Blocked, Path, ScopeId};
use crate::store::Decision;

/// How long a process is believed to be there after it has last said so.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// Who waits looks again no later than this, though nobody has rung,
pub(super) const LATEST_LOOK: Duration = Duration::from_millis(500);
/// and no sooner than this where it is not known what there is to wait for.
const SOONEST_LOOK: Duration = Duration::from_millis(10);
/// How often what another process has changed meanwhile is decided anew.
const MOST_TRIES: usize = 32;

impl RedisStore {
    /// Tells what is to be told, and asks for all of these in their order; or decides alone, while the server is lost.
    pub(super) fn exchange(&self, asked: &[(Path, Amounts)]) -> Vec<Result<Decision>> {
        let ties = self.ties();
        let _turn = ties.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decisions: Vec<Option<Decision>> = vec![None; asked.len()];
        let failure = self.come_back(&ties).and_then(|()| {
            self.hold_back(asked, &mut decisions);
            self.decide(&ties, asked, &mut decisions)
        });
        let failure = failure.err();
        self.count_processes(&ties);
        if failure.is_some() {
            self.decide_alone(&ties, asked, &mut decisions);
        }
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
                self.tree.lock().has_told()
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
        let first_ending = first_take - endings.len();
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
            Self::take_over(ties, &mut tree, &keys, &reply)?;
            tree.heard(&endings, first_ending, &reply.outcomes[..first_take], &keys);
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
                    Outcome::Missing { scope } => tree.lose(keys.ids[*scope]),
                    _ => path.scopes().iter().for_each(|id| tree.lose(*id)),
                }
            }
        }
        for place in exotic {
            let (path, amounts) = &asked[place];
            decisions[place] = Some(self.take_coldly(ties, path, amounts)?);
        }
        Ok(())
    }

    /// Reads a scope, and says by the way that this process is there. While the server is lost this process's share is there to be seen.
    pub(super) fn look(&self, scope: ScopeId) {
        let ties = self.ties();
        let _turn = ties.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = self.come_back(&ties).and_then(|()| self.look_through(&ties, scope));
        self.count_processes(&ties);
        if looked.is_err() {
            self.decide_alone(&ties, &[], &mut []);
        }
    }

    fn look_through(&self, ties: &Ties, scope: ScopeId) -> Result<()> {
        for _ in 0..MOST_TRIES {
            self.decide(ties, &[], &mut [])?;
            if self.pulse_in(ties, scope)? {
                break;
            }
        }
        Ok(())
    }

    fn count_processes(&self, ties: &Ties) {
        let processes = {
            let _inside = Inside::enter();
            self.tree.lock().processes()
        };
        ties.link.count(Some(processes), 0);
    }

    /// Whether the scope is there, as it is now known here.
    fn pulse_in(&self, ties: &Ties, scope: ScopeId) -> Result<bool> {
        let mut keys = Keys::default();
        let ops = [{
            let _inside = Inside::enter();
            self.tree.lock().pulse(&mut keys, &[scope])
        }];
        let reply = self.call(ties, &keys, &ops)?;
        let _inside = Inside::enter();
        let mut tree = self.tree.lock();
        let is_missing = matches!(reply.outcomes[..], [Outcome::Missing { .. }]);
        if is_missing {
            tree.lose(scope);
        }
        Self::take_over(ties, &mut tree, &keys, &reply)?;
        Ok(!is_missing)
    }

    /// Gives back all that this process holds.
    pub(super) fn take_leave(&self) -> Result<()> {
        let ties = self.ties();
        // What was used before a fork, and not since, is the parent's.
        if !ties.link.is_own() {
            return Ok(());
        }
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
    pub(super) fn swap_cold(&self, ties: &Ties) -> Result<()> {
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
            Self::take_over(ties, &mut tree, &keys, &reply)?;
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
            Self::take_over(ties, &mut tree, &keys, &reply)?;
        }
        Ok(unknown_wait(path.scopes()[0], self.clock.now() + SOONEST_LOOK))
    }

    fn read(&self, ties: &Ties, keys: &Keys) -> Result<()> {
        let ops: Vec<Op> = (0..keys.ids.len()).map(|scope| Op::Read { scope }).collect();
        let reply = self.call(ties, keys, &ops)?;
        let _inside = Inside::enter();
        let mut tree = self.tree.lock();
        keys.ids.iter().for_each(|id| tree.unseen(*id));
        Self::take_over(ties, &mut tree, keys, &reply)
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
        let mut arguments = vec![step::argument(&ties.process, PRESENCE, ops)];
        arguments.extend(self.clock.fixed().map(|now| now.to_string().into_bytes()));
        let value = ties.link.call(step::script(), names, arguments)?;
        let reply = step::reply(value).filter(|reply| reply.outcomes.len() == ops.len());
        let reply = reply.ok_or_else(|| Self::foreign(ties))?;
        self.clock.heard(reply.now, asked);
        Ok(reply)
    }

    fn take_over(ties: &Ties, tree: &mut Tree, keys: &Keys, reply: &Reply) -> Result<()> {
        let are_read =
            reply.states.iter().all(|(place, bytes)| tree.take_over(keys.ids[*place], bytes.clone()));
        if are_read { Ok(()) } else { Err(Self::foreign(ties)) }
    }

    fn foreign(ties: &Ties) -> Error {
        let what = "what is there was written by something else, or by another version: use the same release everywhere, or another \
                    prefix (?prefix=...)";
        Error::shared(ties.link.shown(), what)
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

fn change_of(scope: usize, state: &State) -> Change {
    Change { scope, expected: state.revision, value: state.encode() }
}
