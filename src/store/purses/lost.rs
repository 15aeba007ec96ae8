//! What goes on with budgets while the store that keeps them is out of reach, and how it is made up when it is back.
//!
//! What is left when it is lost is shared among the processes that there were: each goes on with its part, in purses of its own. When the store
//! answers again it is charged with what was taken meanwhile, and with what calls in flight had reserved here: nothing is given twice.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Answer, Asked, Claimed, Purses, Settled};
use crate::budget::{Ceiling, Outlay, Purse, Verdict, Window, reserve_all};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::retry::{CAPACITY, Kind, RetryBudget, UNSURE_COST};
use crate::store::retries::Retries;

/// No process of a store has this name: what is claimed under it is claimed here.
const HERE: u64 = 0;

/// What a call does that cannot ask the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenLost {
    /// Goes on with this process's share of what was left.
    #[default]
    Share,
    /// Fails.
    Closed,
    /// Goes on, without a ceiling.
    Open,
}

/// A purse of this process's own.
struct Part {
    asked: Asked,
    purse: Purse,
    /// What the store has to be told.
    owed: Outlay,
    /// Which of all parts it is: a call that was reserved in an earlier one was charged when that was given up.
    number: u64,
}

#[derive(Default)]
struct State {
    /// How purses stood when they were last seen.
    seen: HashMap<Arc<str>, Purse>,
    parts: HashMap<Arc<str>, Part>,
    /// How many parts there were.
    made: u64,
    /// What this process may retry in each scope meanwhile.
    retries: HashMap<String, RetryBudget>,
}

impl State {
    fn part(&mut self, asked: &Asked, purse: Purse) -> Part {
        self.made += 1;
        Part { asked: asked.clone(), purse, owed: Outlay::default(), number: self.made }
    }
}

/// Purses in a store that may be lost.
pub struct Surviving<P> {
    store: P,
    policy: WhenLost,
    state: Mutex<State>,
}

impl<P: Purses> Surviving<P> {
    /// The purses of that store.
    pub fn new(store: P, policy: WhenLost) -> Self {
        Self { store, policy, state: Mutex::default() }
    }

    /// The store's own.
    pub const fn store(&self) -> &P {
        &self.store
    }

    /// Whether this process goes on without the store.
    pub fn is_lost(&self) -> bool {
        !self.state.lock().parts.is_empty()
    }

    /// Charges the store with what was taken without it, if it answers.
    ///
    /// # Errors
    /// The store's; what it was not told is kept.
    pub fn make_up(&self, now: f64) -> Result<()> {
        let mut state = self.state.lock();
        let keys: Vec<Arc<str>> = state.parts.keys().cloned().collect();
        for key in keys {
            let Some(part) = state.parts.get(&key) else { continue };
            let mut taken = part.owed;
            // Calls in flight may take all that they have reserved; what they leave is lost, never given twice.
            taken.add(part.purse.reserved());
            self.store.charge(&part.asked, taken, now)?;
            state.parts.remove(&key);
        }
        Ok(())
    }

    /// Reserves in this process's parts of all these purses or of none.
    fn claim_here(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Answer {
        let mut state = self.state.lock();
        let mut parts = Vec::with_capacity(asked.len());
        for one in asked {
            let known = state.parts.remove(&one.key);
            let is_over = |part: &Part| part.purse.verdict(Outlay::default(), now) == Verdict::Turns;
            let part = known.filter(|part| !is_over(part)).unwrap_or_else(|| {
                let purse = self.part_of(one, state.seen.get(&one.key), now);
                state.part(one, purse)
            });
            parts.push(part);
        }
        let mut purses: Vec<&mut Purse> = parts.iter_mut().map(|part| &mut part.purse).collect();
        let answer = match reserve_all(&mut purses, outlay, now) {
            Ok(()) => {
                let turns = parts.iter().map(|part| part.number).collect();
                Answer::Held(Claimed { process: HERE, turns })
            }
            Err((place, verdict)) => Answer::Refused(place, verdict, Box::new(parts[place].purse.clone())),
        };
        state.parts.extend(asked.iter().map(|one| one.key.clone()).zip(parts));
        answer
    }

    /// This process's part of a purse: of what was left when it was last seen, or of all that a new window has.
    fn part_of(&self, asked: &Asked, seen: Option<&Purse>, now: f64) -> Purse {
        let seen = seen.filter(|purse| purse.verdict(Outlay::default(), now) != Verdict::Turns);
        let (most, gone, window) = match seen {
            Some(purse) => {
                let mut gone = purse.spent();
                gone.add(purse.reserved());
                (purse.ceiling(), gone, purse.window())
            }
            None => (asked.ceiling, Outlay::default(), asked.window),
        };
        let processes = self.store.processes().max(1);
        let share = |most: Option<u64>, gone: u64| {
            most.filter(|_| self.policy == WhenLost::Share).map(|most| most.saturating_sub(gone) / processes)
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
        let mut state = self.state.lock();
        let mut settled = Vec::with_capacity(asked.len());
        for (one, number) in asked.iter().zip(&claimed.turns) {
            let found = state.parts.get_mut(&one.key).filter(|part| part.number == *number);
            let Some(part) = found else {
                // The store was charged with all of it when it came back.
                let seen = state.seen.get(&one.key).cloned();
                settled.push((false, seen.unwrap_or_else(|| Purse::new(one.ceiling, one.warn_at))));
                continue;
            };
            part.owed.add(taken);
            let turn = part.purse.turn();
            settled.push((part.purse.settle(reserved, taken, turn), part.purse.clone()));
        }
        settled
    }

    fn saw(&self, asked: &Asked, purse: &Purse) {
        self.state.lock().seen.insert(asked.key.clone(), purse.clone());
    }

    /// Sees how those purses stand that this process has never seen: of what nobody knows there is no share.
    fn look(&self, asked: &[Asked]) -> Result<()> {
        for one in asked {
            let is_seen = self.state.lock().seen.contains_key(&one.key);
            if !is_seen {
                self.saw(one, &self.store.read(one)?);
            }
        }
        Ok(())
    }

    fn claim_there(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        if self.is_lost() {
            self.make_up(now)?;
        }
        self.look(asked)?;
        let answer = self.store.claim(asked, outlay, now)?;
        if let Answer::Refused(place, _, purse) = &answer {
            self.saw(&asked[*place], purse);
        }
        Ok(answer)
    }

    /// Whether a call goes on that the store could not be asked about.
    fn goes_on(&self, asked: &[Asked]) -> bool {
        match self.policy {
            WhenLost::Closed => false,
            WhenLost::Open => true,
            WhenLost::Share => {
                let state = self.state.lock();
                asked.iter().all(|one| state.seen.contains_key(&one.key))
            }
        }
    }
}

impl<P: Purses> Purses for Surviving<P> {
    fn claim(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        match self.claim_there(asked, outlay, now) {
            Err(Error::Shared { .. }) if self.goes_on(asked) => Ok(self.claim_here(asked, outlay, now)),
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
            Err(Error::Shared { .. }) => {
                let share = u32::try_from(u64::from(CAPACITY) / self.store.processes().max(1));
                let share = RetryBudget::new(share.unwrap_or_default().max(UNSURE_COST))?;
                let mut state = self.state.lock();
                Ok(own(state.retries.entry(scope.to_owned()).or_insert(share)))
            }
            answer => {
                self.state.lock().retries.remove(scope);
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
        if let Some(own) = self.state.lock().retries.get_mut(scope) {
            own.succeeded(last_failure, is_queued);
        }
        self.store.succeeded(scope, last_failure, is_queued)
    }

    fn balance(&self, scope: &str) -> Result<u32> {
        self.retry(scope, |store| store.balance(scope), |budget| budget.balance())
    }

    fn is_remote(&self) -> bool {
        Purses::is_remote(&self.store)
    }
}
