//! Purses and retry budgets in a Redis server: each step one script call, on all purses of a call at once.
//!
//! A process is there for as long as it asks or pulses; what one that is missed had reserved counts in full, where the purse is used next.
//! The words in which script and process talk are here, and nowhere else.

mod servers;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::str::{FromStr, SplitWhitespace};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Script, Value};
pub use servers::{leave_purses, pulse_purses, purses_at};

use crate::budget::{Ceiling, Measure, Outlay, Purse, Verdict, Window};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::retry::{CAPACITY, Kind, RetryBudget, TRICKLE};
use crate::store::purses::{Answer, Asked, Claimed, Member, PLACE_KEPT, Purses, REMEMBERED, Settled};
use crate::store::redis::Inside;
use crate::store::retries::Retries;

/// How long a process is believed to be there after it has last asked or pulsed.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// How long a purse without a period, or a retry budget, is remembered after it was last used.
const KEPT: Duration = Duration::from_hours(24 * 400);
/// Names of processes are below this, so that a double tells them apart.
const MOST_NAME: u64 = 1 << 52;

static PURSE: LazyLock<Script> = LazyLock::new(|| {
    script(
        concat!(include_str!("amounts.lua"), include_str!("purse.lua")),
        &[
            ("PRESENCE", PRESENCE.as_micros()),
            ("PLACE_KEPT", PLACE_KEPT.as_micros()),
            ("REMEMBERED", REMEMBERED.as_millis()),
            ("KEPT", KEPT.as_millis()),
        ],
    )
});
static RETRIES: LazyLock<Script> = LazyLock::new(|| {
    script(
        include_str!("retries.lua"),
        &[("CAPACITY", CAPACITY.into()), ("TRICKLE", TRICKLE.as_micros()), ("KEPT", KEPT.as_millis())],
    )
});

fn script(body: &str, constants: &[(&str, u128)]) -> Script {
    let mut code = String::new();
    for (name, value) in constants {
        writeln!(code, "local {name} = {value}").expect("a text takes all that is written to it");
    }
    Script::new(&(code + body))
}

/// A way to run a script on a server.
pub trait Call: Send + Sync {
    /// Runs it, and waits for its answer for a bounded time.
    ///
    /// # Errors
    /// [`Error::Store`] if there is none. Whether the script has run is then not known.
    fn call(&self, script: &'static Script, keys: Vec<String>, argument: Vec<u8>) -> Result<Value>;

    /// The server, without what is secret.
    fn shown(&self) -> &str;
}

/// This process, as the server knows it.
struct Me {
    pid: u32,
    name: u64,
    /// Whether the server has heard of it under that name.
    is_known: bool,
    /// How many processes there were when it was last told, this one among them.
    processes: u64,
}

impl Me {
    fn new() -> Self {
        let name = RandomState::new().hash_one(std::process::id()) % MOST_NAME;
        Self { pid: std::process::id(), name, is_known: false, processes: 1 }
    }
}

/// What processes share of budgets, in a Redis server.
pub struct RedisPurses {
    link: Arc<dyn Call>,
    /// What all keys begin with, its part in braces being the same for all: one slot of a cluster has them.
    prefix: String,
    me: Mutex<Me>,
    /// What calls have earned for the retry budgets of their scopes, and nobody was told.
    earned: Mutex<HashMap<String, u32>>,
    /// A clock of its user's, in tests.
    manual: Option<Arc<dyn Clock>>,
}

impl RedisPurses {
    /// Those of a server; all keys begin with the prefix.
    pub fn new(link: Arc<dyn Call>, prefix: &str, manual: Option<Arc<dyn Clock>>) -> Self {
        Self { link, prefix: prefix.to_owned(), me: Mutex::new(Me::new()), earned: Mutex::default(), manual }
    }

    fn run(&self, step: &str, asked: &[Asked], words: &str) -> Result<String> {
        let (name, is_known) = self.who();
        let mut keys = vec![format!("{}processes", self.prefix)];
        keys.extend(asked.iter().map(|one| format!("{}purse:{}", self.prefix, one.key)));
        let argument = format!("{step} {name} {} {} {words}", u8::from(is_known), self.at());
        let answer = self.link.call(&PURSE, keys, argument.into_bytes())?;
        redis::from_redis_value(answer).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// Its name; a child of a fork is a process of its own.
    fn who(&self) -> (u64, bool) {
        self.with_me(|me| {
            if me.pid != std::process::id() {
                *me = Me::new();
            }
            (me.name, me.is_known)
        })
    }

    /// No fork finds this process's name locked.
    fn with_me<T>(&self, act: impl FnOnce(&mut Me) -> T) -> T {
        let _inside = Inside::enter();
        act(&mut self.me.lock())
    }

    fn at(&self) -> String {
        let manual = self.manual.as_ref();
        manual.map_or_else(|| "-".to_owned(), |clock| (clock.now().nanos() / 1_000).to_string())
    }

    fn claim_as(&self, asked: &[Asked], words: &str) -> Result<Option<Answer>> {
        let said = self.run("claim", asked, words)?;
        let name = self.who().0;
        let mut said = Words(said.split_whitespace());
        let answer = match said.0.next() {
            Some("lapsed") => {
                self.with_me(|me| *me = Me::new());
                return Ok(None);
            }
            Some("held") => {
                let processes = said.number().unwrap_or(1);
                self.with_me(|me| me.processes = processes);
                let turns = asked.iter().map(|_| said.number()).collect::<Option<_>>();
                turns.map(|turns| Answer::Held(Claimed { process: name, turns }))
            }
            Some("elsewhen") => {
                said.number().zip(said.number()).map(|(place, now)| Answer::Elsewhen(place, now))
            }
            Some("waits") => said.refusal(asked, Verdict::Waits),
            Some("exceeded") => said.refusal(asked, Verdict::Exceeded),
            _ => None,
        };
        self.with_me(|me| me.is_known = true);
        answer.map(Some).ok_or_else(|| self.unreadable("it gave another answer than our script's"))
    }

    fn unreadable(&self, what: &str) -> Error {
        Error::shared(self.link.shown(), what)
    }
}

impl Purses for RedisPurses {
    fn claim(&self, asked: &[Asked], outlay: Outlay, _now: f64) -> Result<Answer> {
        let mut words = written(outlay);
        for one in asked {
            write_asked(&mut words, one);
        }
        if let Some(answer) = self.claim_as(asked, &words)? {
            return Ok(answer);
        }
        let again = self.claim_as(asked, &words)?;
        again.ok_or_else(|| self.unreadable("it does not know a process that it has not met"))
    }

    fn settle(
        &self,
        asked: &[Asked],
        claimed: &Claimed,
        reserved: Outlay,
        taken: Outlay,
    ) -> Result<Vec<Settled>> {
        let mut words = format!("{} {} {}", claimed.process, written(reserved), written(taken));
        for (one, turn) in asked.iter().zip(&claimed.turns) {
            write!(words, " {turn}").expect("a text takes all that is written to it");
            write_asked(&mut words, one);
        }
        let said = self.run("settle", asked, &words)?;
        let mut said = Words(said.split_whitespace());
        let settled = asked.iter().map(|one| {
            let warned = said.number::<u8>()? == 1;
            Some((warned, said.purse(one)?))
        });
        settled.collect::<Option<_>>().ok_or_else(|| self.unreadable("it told of no purse"))
    }

    fn charge(&self, asked: &Asked, taken: Outlay, _now: f64) -> Result<()> {
        let mut words = written(taken);
        write_asked(&mut words, asked);
        self.run("charge", std::slice::from_ref(asked), &words).map(drop)
    }

    fn set_ceiling(&self, asked: &Asked) -> Result<()> {
        let mut words = String::new();
        write_asked(&mut words, asked);
        self.run("ceiling", std::slice::from_ref(asked), &words).map(drop)
    }

    fn read(&self, asked: &Asked) -> Result<Purse> {
        let mut words = String::new();
        write_asked(&mut words, asked);
        let said = self.run("read", std::slice::from_ref(asked), &words)?;
        Words(said.split_whitespace()).purse(asked).ok_or_else(|| self.unreadable("it told of no purse"))
    }

    fn processes(&self) -> u64 {
        self.with_me(|me| me.processes)
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl RedisPurses {
    /// Asks for one step on a scope's retry budget, and tells by the way what its calls have earned.
    fn retries(&self, scope: &str, step: &str, cost: u32) -> Result<u32> {
        let earned = self.with_earned(|all| all.remove(scope)).unwrap_or_default();
        let keys = vec![format!("{}retries:{scope}", self.prefix)];
        let argument = format!("{step} {cost} {earned} {}", self.at());
        let answer = self.link.call(&RETRIES, keys, argument.into_bytes()).inspect_err(|_| {
            self.earn(scope, earned);
        })?;
        let said: String =
            redis::from_redis_value(answer).map_err(|error| self.unreadable(&error.to_string()))?;
        said.parse().map_err(|_| self.unreadable("it gave another answer than our script's"))
    }

    fn earn(&self, scope: &str, amount: u32) {
        self.with_earned(|all| {
            if let Some(earned) = all.get_mut(scope) {
                *earned = earned.saturating_add(amount).min(CAPACITY);
            } else if amount > 0 {
                all.insert(scope.to_owned(), amount.min(CAPACITY));
            }
        });
    }

    fn with_earned<T>(&self, act: impl FnOnce(&mut HashMap<String, u32>) -> T) -> T {
        let _inside = Inside::enter();
        act(&mut self.earned.lock())
    }

    /// Tells what calls have earned.
    fn tell_earned(&self) -> Result<()> {
        let scopes: Vec<String> = self.with_earned(|all| all.keys().cloned().collect());
        scopes.iter().try_for_each(|scope| self.retries(scope, "balance", 0).map(drop))
    }
}

impl Retries for RedisPurses {
    fn try_take(&self, scope: &str, kind: Kind, is_queued: bool) -> Result<bool> {
        Ok(self.retries(scope, "take", RetryBudget::cost(kind, is_queued))? == 1)
    }

    /// Asks nobody: what was earned is told with the next retry, or the next pulse.
    fn succeeded(&self, scope: &str, last_failure: Option<Kind>, is_queued: bool) -> Result<()> {
        self.earn(scope, last_failure.map_or(1, |kind| RetryBudget::cost(kind, is_queued)));
        Ok(())
    }

    fn balance(&self, scope: &str) -> Result<u32> {
        self.retries(scope, "balance", 0)
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl Member for RedisPurses {
    /// Says so where anybody has heard of it, and what its calls have earned.
    fn pulse(&self) -> Result<()> {
        if self.who().1 {
            self.run("pulse", &[], "")?;
        }
        self.tell_earned()
    }

    fn leave(&self) -> Result<()> {
        self.tell_earned()?;
        if self.who().1 {
            self.run("leave", &[], "")?;
        }
        self.with_me(|me| *me = Me::new());
        Ok(())
    }
}

fn written(outlay: Outlay) -> String {
    format!("{} {} {}", outlay.pico_usd, outlay.tokens, outlay.calls)
}

fn write_asked(words: &mut String, asked: &Asked) {
    let Asked { ceiling, warn_at, window, is_first_word, .. } = asked;
    for most in [ceiling.pico_usd, ceiling.tokens, ceiling.calls] {
        words.push(' ');
        words.push_str(&most.map_or_else(|| "-".to_owned(), |most| most.to_string()));
    }
    let window =
        if *window == Window::EVER { "- -".to_owned() } else { format!("{} {}", window.start, window.end) };
    write!(words, " {warn_at} {window} {}", u8::from(*is_first_word))
        .expect("a text takes all that is written to it");
}

/// The most of a measure.
struct Most(Option<u64>);

/// What the script has said.
struct Words<'a>(SplitWhitespace<'a>);

impl Words<'_> {
    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    /// The most of a measure; a dash is any amount.
    fn most(&mut self) -> Option<Most> {
        match self.0.next()? {
            "-" => Some(Most(None)),
            word => word.parse().ok().map(|most| Most(Some(most))),
        }
    }

    /// A window; dashes are all of time.
    fn window(&mut self) -> Option<Window> {
        match (self.0.next()?, self.0.next()?) {
            ("-", "-") => Some(Window::EVER),
            (start, end) => Some(Window { start: start.parse().ok()?, end: end.parse().ok()? }),
        }
    }

    fn outlay(&mut self) -> Option<Outlay> {
        Some(Outlay { pico_usd: self.number()?, tokens: self.number()?, calls: self.number()? })
    }

    fn purse(&mut self, asked: &Asked) -> Option<Purse> {
        let ceiling = Ceiling { pico_usd: self.most()?.0, tokens: self.most()?.0, calls: self.most()?.0 };
        let (spent, reserved) = (self.outlay()?, self.outlay()?);
        let window = self.window()?;
        let turn = self.number()?;
        Some(Purse::new(ceiling, asked.warn_at).told(spent, reserved, window, turn))
    }

    fn refusal(&mut self, asked: &[Asked], why: impl FnOnce(Measure) -> Verdict) -> Option<Answer> {
        let (place, measure): (usize, usize) = (self.number()?, self.number()?);
        let verdict = why(*Measure::ALL.get(measure)?);
        Some(Answer::Refused(place, verdict, Box::new(self.purse(asked.get(place)?)?)))
    }
}

#[cfg(test)]
mod tests;
