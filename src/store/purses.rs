//! Budgets that processes share: one trait, each method one atomic step over all purses of a call, and the arithmetic of one purse
//! that many processes hold something of. What fits is [`crate::budget`]'s decision.
//!
//! The calendar is the caller's: it brings the wall clock's `now`, and the window that is in force then. No locks here.

mod known;
mod lost;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use known::{Known, Member};
pub use lost::{ALL_HAVE_TOLD, Surviving};

use crate::budget::{Ceiling, Measure, Outlay, Purse, Verdict, Window};
use crate::bytes::bytes_of_fields;
use crate::clock::Time;
use crate::error::Result;

/// How long a process keeps its place in the line after it has last asked.
pub const PLACE_KEPT: Duration = Duration::from_secs(1);
/// How long what is spent is remembered after its window is over: a clock that is set back gives no second budget until then.
pub const REMEMBERED: Duration = Duration::from_hours(24 * 31);

/// One purse that a call is about, as this process knows it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it is about: the same in every process.
    pub key: Arc<str>,
    /// The ceilings that this process was configured with.
    pub ceiling: Ceiling,
    /// From which share of a ceiling a settlement says so.
    pub warn_at: f64,
    /// The window that is in force at the caller's `now`.
    pub window: Window,
    /// Whether this process has not named its ceilings yet: the last word counts for all.
    pub is_first_word: bool,
}

/// What a process holds of the purses of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Who holds it.
    pub process: u64,
    /// In which turn of each purse, in their order.
    pub turns: Vec<u64>,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is reserved in all purses.
    Held(Claimed),
    /// Nothing is reserved: the place of the purse without room, whether it has to be waited for, and how that purse stands.
    Refused(usize, Verdict, Box<Purse>),
    /// Nothing is reserved: by the store's clock it is another time, for which the window of that purse has to be worked out.
    Elsewhen(usize, f64),
}

/// How a purse stands after a settlement, and whether that was the step past its warning.
pub type Settled = (bool, Purse);

/// The purses that processes share.
pub trait Purses: Send + Sync {
    /// Reserves `outlay` in all of these or in none. Whoever has to wait stands in line for a second, so that calls of other processes
    /// do not pass; to be asked again until then.
    ///
    /// # Errors
    /// [`Error::Store`](crate::error::Error::Store), here and below, if they cannot be reached: then nothing is changed.
    fn claim(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer>;

    /// Replaces what was reserved by what was taken. What was counted already, since this process was missed or the window is
    /// over, is not counted again.
    ///
    /// # Errors
    /// The store's.
    fn settle(
        &self,
        asked: &[Asked],
        claimed: &Claimed,
        reserved: Outlay,
        taken: Outlay,
    ) -> Result<Vec<Settled>>;

    /// Adds what was taken without a reservation.
    ///
    /// # Errors
    /// The store's.
    fn charge(&self, asked: &Asked, taken: Outlay, now: f64) -> Result<()>;

    /// Sets the ceilings for all processes.
    ///
    /// # Errors
    /// The store's.
    fn set_ceiling(&self, asked: &Asked) -> Result<()>;

    /// How the purse stands, in the caller's window or a later one.
    ///
    /// # Errors
    /// The store's.
    fn read(&self, asked: &Asked) -> Result<Purse>;

    /// How many processes use it, as far as this one was told: among so many it shares what is left when the store is lost.
    fn processes(&self) -> u64 {
        1
    }

    /// Whether a step may take longer than an event loop, or whoever wants Python's lock, should stand still.
    fn is_remote(&self) -> bool {
        false
    }
}

/// What one process has reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    process: u64,
    holds: u64,
    outlay: Outlay,
}

/// Where a process waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    process: u64,
    since: Time,
    until: Time,
}

bytes_of_fields!(Holder { process, holds, outlay });
bytes_of_fields!(Place { process, since, until });

/// A purse, and who holds and awaits what of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    purse: Purse,
    /// The ceilings that were configured last; `raise_to` sets others, which stay until somebody is configured otherwise.
    word: Ceiling,
    holders: Vec<Holder>,
    line: Vec<Place>,
}

bytes_of_fields!(Kept { purse, word, holders, line });

impl Kept {
    /// Nothing spent.
    #[must_use]
    pub fn new(asked: &Asked) -> Self {
        let mut purse = Purse::new(asked.ceiling, asked.warn_at);
        if asked.window != Window::EVER {
            purse.begin(asked.window);
        }
        Self { purse, word: asked.ceiling, holders: Vec::new(), line: Vec::new() }
    }

    /// How it stands.
    #[must_use]
    pub const fn purse(&self) -> &Purse {
        &self.purse
    }

    /// Whether any process holds something of it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.holders.is_empty()
    }

    /// Takes over the ceilings of a process that names them for the first time, unless they were named before by whomever.
    pub fn hear(&mut self, asked: &Asked) {
        if asked.is_first_word && self.word != asked.ceiling {
            self.set_ceiling(asked);
            self.word = asked.ceiling;
        }
    }

    /// Sets the ceilings.
    pub const fn set_ceiling(&mut self, asked: &Asked) {
        self.purse.set_ceiling(asked.ceiling);
    }

    /// Begins the window in force at `now`, if its own is over.
    pub fn turn_to(&mut self, window: Window, now: f64) {
        if self.purse.verdict(Outlay::default(), now) == Verdict::Turns {
            let turn = self.purse.turn();
            self.purse.begin(window);
            if self.purse.turn() != turn {
                self.holders.clear();
            }
        }
    }

    /// Adds what was taken without a reservation.
    pub fn charge(&mut self, taken: Outlay) {
        self.purse.charge(taken);
    }

    /// Replaces a reservation by what was taken, unless it was counted before; whether that was the step past the warning.
    pub fn settle(&mut self, process: u64, turn: u64, reserved: Outlay, taken: Outlay) -> bool {
        let holder = self.holders.iter_mut().find(|holder| holder.process == process);
        let Some(holder) = holder.filter(|_| turn == self.purse.turn()) else { return false };
        holder.outlay.subtract(reserved);
        holder.holds = holder.holds.saturating_sub(1);
        if holder.holds == 0 {
            self.holders.retain(|holder| holder.process != process);
        }
        self.purse.settle(reserved, taken, turn)
    }

    /// Counts all that a process had reserved as taken: it is gone, and nobody knows. Whether it had reserved or awaited anything.
    pub fn strike_off(&mut self, process: u64) -> bool {
        let before = self.line.len();
        self.leave(process);
        let Some(place) = self.holders.iter().position(|holder| holder.process == process) else {
            return self.line.len() < before;
        };
        let Holder { outlay, .. } = self.holders.swap_remove(place);
        let turn = self.purse.turn();
        self.purse.settle(outlay, outlay, turn);
        true
    }

    fn hold(&mut self, process: u64, outlay: Outlay) {
        self.purse.reserve(outlay);
        let known = self.holders.iter_mut().find(|holder| holder.process == process);
        if let Some(holder) = known {
            holder.holds += 1;
            holder.outlay.add(outlay);
        } else {
            self.holders.push(Holder { process, holds: 1, outlay });
        }
    }

    /// Since when a process stands in line here.
    fn stands_since(&self, process: u64, now: Time) -> Option<Time> {
        let place = self.line.iter().find(|place| place.process == process && place.until > now)?;
        Some(place.since)
    }

    /// Whether another process has waited here for longer.
    fn is_behind(&self, process: u64, since: Time, now: Time) -> bool {
        let is_ahead = |place: &Place| (place.since, place.process) < (since, process);
        self.line.iter().any(|place| place.process != process && place.until > now && is_ahead(place))
    }

    fn stand(&mut self, process: u64, since: Time, now: Time) {
        self.line.retain(|place| place.process != process && place.until > now);
        self.line.push(Place { process, since, until: now + PLACE_KEPT });
    }

    fn leave(&mut self, process: u64) {
        self.line.retain(|place| place.process != process);
    }
}

/// Reserves `outlay` for that process in all of these or in none, behind the processes that have waited for longer. `now` is the
/// wall clock's, which windows go by; the line goes by the store's own `time`.
///
/// # Errors
/// The place of the purse without room, and whether it has to be waited for.
pub fn claim_all(
    kept: &mut [Kept],
    outlay: Outlay,
    process: u64,
    now: f64,
    time: Time,
) -> std::result::Result<Vec<u64>, (usize, Verdict)> {
    // One who waits for several purses has waited in all of them since the same moment: nobody is ahead here and behind there.
    let since = kept.iter().filter_map(|kept| kept.stands_since(process, time)).min().unwrap_or(time);
    let mut waits = Vec::new();
    for (place, one) in kept.iter().enumerate() {
        match one.purse.verdict(outlay, now) {
            Verdict::Fits if one.is_behind(process, since, time) => {
                waits.push((place, Verdict::Waits(asks_for(one, outlay))));
            }
            Verdict::Fits => {}
            verdict @ Verdict::Waits(_) => waits.push((place, verdict)),
            verdict => {
                for one in kept {
                    one.leave(process);
                }
                return Err((place, verdict));
            }
        }
    }
    if let Some(first) = waits.first() {
        for (place, _) in &waits {
            kept[*place].stand(process, since, time);
        }
        return Err(*first);
    }
    for one in kept.iter_mut() {
        one.leave(process);
        one.hold(process, outlay);
    }
    Ok(kept.iter().map(|one| one.purse.turn()).collect())
}

/// The measure that is said to be waited for by one who waits for others to go first.
fn asks_for(kept: &Kept, outlay: Outlay) -> Measure {
    let is_bound = |measure: &Measure| kept.purse.ceiling().of(*measure).is_some() && outlay.of(*measure) > 0;
    Measure::ALL.into_iter().find(is_bound).unwrap_or(Measure::Calls)
}
