//! What goes on with budgets while the store that keeps them is out of reach, and how it is made up when it is back.
//!
//! What is left when it is lost is shared among the processes that there were: each goes on with its part, in purses of its own. When the store
//! answers again it is charged with what was taken meanwhile, and with what calls in flight had reserved here. Then all wait for a moment,
//! until the others have told what they took as well: nothing is given twice.
//!
//! No lock is held while the store is asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Answer, Asked, Claimed, Purses, Settled};
use crate::budget::{Ceiling, Measure, Outlay, Purse, Verdict, Window, reserve_all};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::retry::{CAPACITY, Kind, RetryBudget, UNSURE_COST};
use crate::store::Policy;
use crate::store::redis::Inside;
use crate::store::retries::Retries;

/// No process of a store has this name: what is claimed under it is claimed here.
const HERE: u64 = 0;

/// Seconds after a store is back in which nothing is claimed: by then every process has found it again, and told what it took.
pub const ALL_HAVE_TOLD: f64 = 4.0;

/// A purse of this process's own.
struct Part {
    asked: Asked,
    purse: Purse,
    /// What the store has to be told.
    owed: Outlay,
    /// Which of all parts it is: a call that was reserved in an earlier one was charged when that was given up.
    number: u64,
}

/// How the store is.
#[derive(Clone, Copy, Default, PartialEq)]
enum Standing {
    #[default]
    There,
    Lost,
    /// Since that moment, in the caller's seconds.
    Back(f64),
}

#[derive(Default)]
struct State {
    /// Whose it is: what a process took before it was forked is its own to tell.
    pid: u32,
    standing: Standing,
    /// Parts that the store is being told of just now.
    leaving: HashSet<Arc<str>>,
    /// How purses stood when they were last seen.
    seen: HashMap<Arc<str>, Purse>,
    parts: HashMap<Arc<str>, Part>,
    /// How many parts there were.
    made: u64,
    /// What this process may retry in each scope meanwhile.
    retries: HashMap<String, RetryBudget>,
}

impl State {
    /// Takes out a part, with what the store has to be told of it: calls in flight may take all that they have reserved.
    fn next_part(&mut self) -> Option<(Part, Outlay)> {
        let key = self.parts.keys().next()?.clone();
        let part = self.parts.remove(&key)?;
        self.leaving.insert(key);
        let mut taken = part.owed;
        taken.add(part.purse.reserved());
        Some((part, taken))
    }

    /// Puts it back if the store was not told; what is settled of it later is counted by then.
    fn told(&mut self, part: Part, taken: Outlay, is_told: bool) {
        self.leaving.remove(&part.asked.key);
        if !is_told {
            let Part { asked, mut purse, .. } = part;
            let (reserved, turn) = (purse.reserved(), purse.turn());
            purse.settle(reserved, reserved, turn);
            let part = Part { owed: taken, ..self.part(&asked, purse) };
            self.parts.insert(asked.key, part);
        }
    }

    fn part(&mut self, asked: &Asked, purse: Purse) -> Part {
        self.made += 1;
        Part { asked: asked.clone(), purse, owed: Outlay::default(), number: self.made }
    }
}

/// Purses in a store that may be lost.
pub struct Surviving<P> {
    store: P,
    policy: Policy,
    state: Mutex<State>,
}

impl<P: Purses> Surviving<P> {
    /// The purses of that store.
    pub fn new(store: P, policy: Policy) -> Self {
        Self { store, policy, state: Mutex::default() }
    }

    /// The store's own.
    pub const fn store(&self) -> &P {
        &self.store
    }

    /// Whether this process goes on without the store.
    pub fn is_lost(&self) -> bool {
        self.with(|state| state.standing == Standing::Lost)
    }

    /// Notes whether the store answers.
    ///
    /// # Errors
    /// That of the answer.
    pub fn heard<T>(&self, answer: Result<T>) -> Result<T> {
        if matches!(answer, Err(Error::Store { .. })) {
            self.with(|state| state.standing = Standing::Lost);
        }
        answer
    }

    /// Charges the store with what was taken without it, if it answers.
    ///
    /// # Errors
    /// The store's; what it was not told is kept.
    pub fn make_up(&self, now: f64) -> Result<()> {
        while let Some((part, taken)) = self.with(State::next_part) {
            let charged = self.store.charge(&part.asked, taken, now);
            self.with(|state| state.told(part, taken, charged.is_ok()));
            charged?;
        }
        let is_closed = self.policy == Policy::Closed;
        self.with(|state| state.standing = if is_closed { Standing::There } else { Standing::Back(now) });
        Ok(())
    }

    /// The only way to the state.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let _inside = Inside::enter();
        let mut state = self.state.lock();
        let pid = std::process::id();
        if state.pid != pid {
            state.pid = pid;
            state.parts.clear();
            state.leaving.clear();
        }
        act(&mut state)
    }

    /// Whether others may not have told yet what they took.
    fn is_early(&self, now: f64) -> bool {
        self.with(|state| {
            let Standing::Back(since) = state.standing else { return false };
            let is_early = (now - since).abs() < ALL_HAVE_TOLD;
            if !is_early {
                state.standing = Standing::There;
            }
            is_early
        })
    }

    /// Reserves in this process's parts of all these purses or of none.
    fn claim_here(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Answer {
        let processes = self.store.processes().max(1);
        self.with(|state| {
            if let Some(place) = asked.iter().position(|one| state.leaving.contains(&one.key)) {
                return waits(state, asked, place);
            }
            let mut parts: Vec<Part> =
                asked.iter().map(|one| self.take_part(state, one, now, processes)).collect();
            let mut purses: Vec<&mut Purse> = parts.iter_mut().map(|part| &mut part.purse).collect();
            let answer = match reserve_all(&mut purses, outlay, now) {
                Ok(()) => {
                    let turns = parts.iter().map(|part| part.number).collect();
                    Answer::Held(Claimed { process: HERE, turns })
                }
                Err((place, verdict)) => {
                    Answer::Refused(place, verdict, Box::new(parts[place].purse.clone()))
                }
            };
            state.parts.extend(asked.iter().map(|one| one.key.clone()).zip(parts));
            answer
        })
    }

    fn take_part(&self, state: &mut State, asked: &Asked, now: f64, processes: u64) -> Part {
        let is_over = |part: &Part| part.purse.verdict(Outlay::default(), now) == Verdict::Turns;
        let known = state.parts.remove(&asked.key).filter(|part| !is_over(part));
        known.unwrap_or_else(|| {
            let purse = self.part_of(asked, state.seen.get(&asked.key), now, processes);
            state.part(asked, purse)
        })
    }

    /// This process's part of a purse: of what was left when it was last seen, or of all that a new window has.
    fn part_of(&self, asked: &Asked, seen: Option<&Purse>, now: f64, processes: u64) -> Purse {
        let seen = seen.filter(|purse| purse.verdict(Outlay::default(), now) != Verdict::Turns);
        let (most, gone, window) = match seen {
            Some(purse) => {
                let mut gone = purse.spent();
                gone.add(purse.reserved());
                (purse.ceiling(), gone, purse.window())
            }
            None => (asked.ceiling, Outlay::default(), asked.window),
        };
        let share = |most: Option<u64>, gone: u64| {
            most.filter(|_| self.policy == Policy::Share).map(|most| most.saturating_sub(gone) / processes)
        };
        let ceiling = Ceiling {
            pico_usd: share(most.pico_usd, gone.pico_usd),
            tokens: share(most.tokens, gone.tokens),
            calls: share(most.calls, gone.calls),
        };
        let mut purse = Purse::new(ceiling, asked.warn_at);
        if window != Window::EVER {
            purse.begin(window);
        }
        purse
    }

    fn settle_here(
        &self,
        asked: &[Asked],
        claimed: &Claimed,
        reserved: Outlay,
        taken: Outlay,
    ) -> Vec<Settled> {
        let settle = |(one, number): (&Asked, &u64), state: &mut State| {
            let found = state.parts.get_mut(&one.key).filter(|part| part.number == *number);
            let Some(part) = found else {
                // The store was charged with all of it when it came back.
                let seen = state.seen.get(&one.key).cloned();
                return (false, seen.unwrap_or_else(|| Purse::new(one.ceiling, one.warn_at)));
            };
            part.owed.add(taken);
            let turn = part.purse.turn();
            (part.purse.settle(reserved, taken, turn), part.purse.clone())
        };
        let numbered = asked.iter().zip(&claimed.turns);
        self.with(|state| numbered.map(|one| settle(one, state)).collect())
    }

    fn saw(&self, asked: &Asked, purse: &Purse) {
        self.with(|state| state.seen.insert(asked.key.clone(), purse.clone()));
    }

    /// Sees how those purses stand that this process has never seen: of what nobody knows there is no share.
    fn look(&self, asked: &[Asked]) -> Result<()> {
        for one in asked {
            let is_seen = self.with(|state| state.seen.contains_key(&one.key));
            if !is_seen {
                self.saw(one, &self.store.read(one)?);
            }
        }
        Ok(())
    }

    fn claim_there(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        if self.is_lost() {
            // Where nothing is to be made up nobody would notice that it is still away.
            if let Some(one) = asked.first() {
                self.saw(one, &self.store.read(one)?);
            }
            self.make_up(now)?;
        }
        if !asked.is_empty() && self.is_early(now) {
            return Ok(self.with(|state| waits(state, asked, 0)));
        }
        self.look(asked)?;
        let answer = self.store.claim(asked, outlay, now)?;
        match &answer {
            Answer::Held(_) => self.with(|state| {
                for one in asked {
                    state.seen.entry(one.key.clone()).and_modify(|purse| purse.reserve(outlay));
                }
            }),
            Answer::Refused(place, _, purse) => self.saw(&asked[*place], purse),
            Answer::Elsewhen(..) => {}
        }
        Ok(answer)
    }

    /// Whether a call goes on that the store could not be asked about.
    fn goes_on(&self, asked: &[Asked]) -> bool {
        match self.policy {
            Policy::Closed => false,
            Policy::Open => true,
            Policy::Share => self.with(|state| asked.iter().all(|one| state.seen.contains_key(&one.key))),
        }
    }
}

/// The answer to one who has to wait for what others have to tell.
fn waits(state: &State, asked: &[Asked], place: usize) -> Answer {
    let one = &asked[place];
    let purse = state.seen.get(&one.key).cloned().unwrap_or_else(|| Purse::new(one.ceiling, one.warn_at));
    let is_bound = |measure: &Measure| one.ceiling.of(*measure).is_some();
    let measure = Measure::ALL.into_iter().find(is_bound).unwrap_or(Measure::Calls);
    Answer::Refused(place, Verdict::Waits(measure), Box::new(purse))
}

impl<P: Purses> Purses for Surviving<P> {
    fn claim(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        match self.heard(self.claim_there(asked, outlay, now)) {
            Err(Error::Store { .. }) if self.goes_on(asked) => Ok(self.claim_here(asked, outlay, now)),
            answer => answer,
        }
    }

    fn settle(
        &self,
        asked: &[Asked],
        claimed: &Claimed,
        reserved: Outlay,
        taken: Outlay,
    ) -> Result<Vec<Settled>> {
        if claimed.process == HERE {
            return Ok(self.settle_here(asked, claimed, reserved, taken));
        }
        let settled = self.store.settle(asked, claimed, reserved, taken)?;
        asked.iter().zip(&settled).for_each(|(one, (_, purse))| self.saw(one, purse));
        Ok(settled)
    }

    fn charge(&self, asked: &Asked, taken: Outlay, now: f64) -> Result<()> {
        self.store.charge(asked, taken, now)
    }

    fn set_ceiling(&self, asked: &Asked) -> Result<()> {
        self.store.set_ceiling(asked)
    }

    fn read(&self, asked: &Asked) -> Result<Purse> {
        let purse = self.store.read(asked)?;
        self.saw(asked, &purse);
        Ok(purse)
    }

    fn processes(&self) -> u64 {
        self.store.processes()
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }
}

impl<P: Purses + Retries> Surviving<P> {
    /// What the store says, or what this process's share of the scope's budget does: a failed call is never told of the store instead.
    fn retry<T>(
        &self,
        scope: &str,
        ask: impl FnOnce(&P) -> Result<T>,
        own: impl FnOnce(&mut RetryBudget) -> T,
    ) -> Result<T> {
        match ask(&self.store) {
            Err(Error::Store { .. }) => {
                let share = u32::try_from(u64::from(CAPACITY) / self.store.processes().max(1));
                let share = RetryBudget::new(share.unwrap_or_default().max(UNSURE_COST))?;
                Ok(self.with(|state| own(state.retries.entry(scope.to_owned()).or_insert(share))))
            }
            answer => {
                self.with(|state| state.retries.remove(scope));
                answer
            }
        }
    }
}

impl<P: Purses + Retries> Retries for Surviving<P> {
    fn try_take(&self, scope: &str, kind: Kind, is_queued: bool) -> Result<bool> {
        let own = |budget: &mut RetryBudget| budget.try_take(kind, is_queued, SystemClock.now());
        self.retry(scope, |store| store.try_take(scope, kind, is_queued), own)
    }

    fn succeeded(&self, scope: &str, last_failure: Option<Kind>, is_queued: bool) -> Result<()> {
        self.with(|state| state.retries.get_mut(scope).map(|own| own.succeeded(last_failure, is_queued)));
        match self.store.succeeded(scope, last_failure, is_queued) {
            // The call has its answer: a store that cannot hear of it must not cost it.
            Err(Error::Store { .. }) => Ok(()),
            done => done,
        }
    }

    fn balance(&self, scope: &str) -> Result<u32> {
        self.retry(scope, |store| store.balance(scope), |budget| budget.balance())
    }

    fn is_remote(&self) -> bool {
        Purses::is_remote(&self.store)
    }
}
