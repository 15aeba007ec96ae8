//! The script and the Rust arithmetic of purses agree, on a real server; so do those of retry budgets.

mod plain;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plain::{Cut, Plain, Server};

use super::servers::SERVERS;
use super::{Call, PRESENCE, RedisPurses, leave_purses, pulse_purses};
use crate::budget::{Ceiling, Outlay, Verdict, Window};
use crate::clock::{Clock, ManualClock, Time};
use crate::retry::{CAPACITY, Kind, RetryBudget};
use crate::store::Policy;
use crate::store::purses::{Answer, Asked, Claimed, Kept, Member, Purses, claim_all};
use crate::store::retries::Retries;

#[test]
fn one_server_is_used_as_one_process_and_a_pulse_makes_up_what_it_was_not_told() {
    let server = Server::start("servers");
    let is_cut = Arc::new(AtomicBool::new(false));
    let link: Arc<dyn Call> = Arc::new(Cut { link: server.link(), is_cut: is_cut.clone() });
    let open = || Ok(RedisPurses::new(link.clone(), "test{servers}:", None));
    let mine = SERVERS.at("redis://servers", Policy::Share, open).unwrap();
    let found = SERVERS.at("redis://servers", Policy::Share, || panic!("it is there")).unwrap();
    assert!(Arc::ptr_eq(&mine, &found));
    let ceiling = Ceiling { calls: Some(10), ..Ceiling::default() };
    let purse = [Asked { key: "a".into(), ceiling, warn_at: 0.8, window: Window::EVER, is_first_word: true }];
    let one = Outlay { calls: 1, ..Outlay::default() };
    for is_away in [false, true] {
        is_cut.store(is_away, Ordering::Relaxed);
        let Answer::Held(held) = mine.claim(&purse, one, 0.0).unwrap() else { panic!("it fits") };
        mine.settle(&purse, &held, one, one).unwrap();
        mine.succeeded("scope", None, false).unwrap();
    }
    assert!(mine.is_lost() && pulse_purses().is_err());
    assert!(mine.try_take("scope", Kind::Connection, false).unwrap());
    is_cut.store(false, Ordering::Relaxed);
    pulse_purses().unwrap();
    assert!(!mine.is_lost());
    assert_eq!(mine.read(&purse[0]).unwrap().spent().calls, 2);
    assert_eq!(mine.balance("scope").unwrap(), CAPACITY);
    leave_purses().unwrap();
}

/// Evenly spread numbers, the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    /// Of any size up to all that fits, most of them about as large as what is spent in earnest.
    fn amount(&mut self) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => u64::MAX - self.below(3),
            2 => self.below(u64::MAX),
            _ => self.below(20_000_000_000_000_000),
        }
    }

    fn outlay(&mut self) -> Outlay {
        Outlay { pico_usd: self.amount(), tokens: self.below(50_000), calls: self.below(2) }
    }

    fn maybe(&mut self, most: u64) -> Option<u64> {
        (self.below(3) > 0).then_some(most)
    }

    fn ceiling(&mut self) -> Ceiling {
        let (pico, tokens, calls) = (self.amount(), self.below(300_000), self.below(30));
        Ceiling { pico_usd: self.maybe(pico), tokens: self.maybe(tokens), calls: self.maybe(calls) }
    }
}

const HOUR: u64 = 3_600;

/// What both are asked, and what a hold needs to be settled.
struct Held {
    asked: Vec<Asked>,
    outlay: Outlay,
    there: Claimed,
    here: Claimed,
}

/// Purses on the server, and the same ones here.
struct Twins {
    dice: Dice,
    clock: Arc<ManualClock>,
    processes: Vec<RedisPurses>,
    /// When each of them is missed.
    until: HashMap<u64, Time>,
    names: Vec<u64>,
    kept: HashMap<String, Kept>,
    held: Vec<Held>,
}

impl Twins {
    fn new(link: &Arc<Plain>, seed: u64) -> Self {
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(HOUR * 500_000));
        let open = |_| {
            RedisPurses::new(link.clone(), &format!("test{{{seed}}}:"), Some(clock.clone() as Arc<dyn Clock>))
        };
        let processes: Vec<RedisPurses> = (0..3).map(open).collect();
        let names = processes.iter().map(|process| process.who().0).collect();
        Self { dice, clock, processes, until: HashMap::new(), names, kept: HashMap::new(), held: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "as the script does")]
    fn seconds(&self) -> f64 {
        (self.clock.now().nanos() / 1_000) as f64 / 1e6
    }

    /// Purses of all kinds, by hours and for ever; the window is now and then another one than that of now.
    #[expect(clippy::cast_precision_loss, reason = "hours are few")]
    fn asked(&mut self) -> Vec<Asked> {
        let mut asked = Vec::new();
        for key in ["ever", "hourly", "other"] {
            if self.dice.below(3) == 0 {
                continue;
            }
            let off = if self.dice.below(20) == 0 { self.dice.below(5) } else { 2 };
            let hour = (self.clock.now().nanos() / 1_000_000_000 / HOUR + off - 2) * HOUR;
            let window = if key == "ever" {
                Window::EVER
            } else {
                Window { start: hour as f64, end: (hour + HOUR) as f64 }
            };
            let ceiling = self.dice.ceiling();
            let is_first_word = self.dice.below(10) == 0;
            asked.push(Asked { key: key.into(), ceiling, warn_at: 0.8, window, is_first_word });
        }
        asked
    }

    /// The purse as the script finds it.
    fn find(&mut self, asked: &Asked) -> Option<Kept> {
        let now = self.clock.now();
        let mut kept = self.kept.get(&*asked.key)?.clone();
        for (process, _) in self.until.iter().filter(|(_, until)| **until <= now) {
            kept.strike_off(*process);
        }
        Some(kept)
    }

    fn put(&mut self, asked: &[Asked], kept: Vec<Kept>) {
        self.kept.extend(asked.iter().map(|one| one.key.to_string()).zip(kept));
    }

    fn pulse(&mut self, who: usize) {
        let (name, now) = (self.names[who], self.clock.now());
        if self.until.get(&name).is_some_and(|until| *until > now) {
            self.until.insert(name, now + PRESENCE);
        }
    }

    fn claim_here(&mut self, who: usize, asked: &[Asked], outlay: Outlay) -> Answer {
        let (now, time, process) = (self.seconds(), self.clock.now(), self.names[who]);
        self.until.insert(process, time + PRESENCE);
        let mut all = Vec::new();
        for (place, one) in asked.iter().enumerate() {
            let found = self.find(one);
            let is_over = |kept: &Kept| kept.purse().verdict(Outlay::default(), now) == Verdict::Turns;
            if found.as_ref().is_none_or(is_over) && !one.window.contains(now) {
                return Answer::Elsewhen(place, now);
            }
            let mut kept = found.unwrap_or_else(|| Kept::new(one));
            kept.turn_to(one.window, now);
            kept.hear(one);
            all.push(kept);
        }
        let claimed = claim_all(&mut all, outlay, process, now, time);
        let answer = match claimed {
            Ok(turns) => Answer::Held(Claimed { process, turns }),
            Err((place, verdict)) => Answer::Refused(place, verdict, Box::new(all[place].purse().clone())),
        };
        self.put(asked, all);
        answer
    }

    fn claim(&mut self, who: usize) {
        let (asked, outlay) = (self.asked(), self.dice.outlay());
        if asked.is_empty() {
            return;
        }
        let there = self.processes[who].claim(&asked, outlay, 0.0).unwrap();
        // One that was missed goes on under another name.
        self.names[who] = self.processes[who].who().0;
        let here = self.claim_here(who, &asked, outlay);
        match (&there, &here) {
            (Answer::Refused(place, verdict, purse), Answer::Refused(other, why, known)) => {
                assert_eq!((place, verdict), (other, why));
                assert_alike(purse, known);
            }
            _ => assert_eq!(there, here),
        }
        if let (Answer::Held(there), Answer::Held(here)) = (there, here) {
            self.held.push(Held { asked, outlay, there, here });
        }
    }

    fn settle(&mut self, who: usize) {
        let which = self.dice.place(self.held.len());
        let Held { asked, outlay, there, here } = self.held.swap_remove(which);
        let taken = if self.dice.below(4) == 0 { self.dice.outlay() } else { outlay };
        self.pulse(who);
        let settled = self.processes[who].settle(&asked, &there, outlay, taken).unwrap();
        for ((one, turn), (warned, purse)) in asked.iter().zip(&here.turns).zip(settled) {
            let mut kept = self.find(one).unwrap();
            let warns = kept.settle(here.process, *turn, outlay, taken);
            assert_eq!(warned, warns);
            assert_alike(&purse, kept.purse());
            self.put(std::slice::from_ref(one), vec![kept]);
        }
    }

    fn read(&mut self, who: usize) {
        let asked = self.asked();
        self.pulse(who);
        for one in &asked {
            let there = self.processes[who].read(one).unwrap();
            let mut kept = self.find(one).unwrap_or_else(|| Kept::new(one));
            kept.turn_to(one.window, one.window.start);
            assert_alike(&there, kept.purse());
        }
    }

    fn raise(&mut self, who: usize) {
        let Some(one) = self.asked().pop() else { return };
        self.pulse(who);
        self.processes[who].set_ceiling(&one).unwrap();
        let mut kept = self.find(&one).unwrap_or_else(|| Kept::new(&one));
        kept.set_ceiling(&one);
        self.put(&[one], vec![kept]);
    }

    fn step(&mut self) {
        let who = self.dice.place(self.processes.len());
        match self.dice.below(20) {
            0..=9 => self.claim(who),
            10..=14 if !self.held.is_empty() => self.settle(who),
            15 => self.read(who),
            16 if self.dice.below(4) == 0 => self.raise(who),
            17 => self.clock.advance(Duration::from_micros(self.dice.below(3_000_000_000))),
            _ => self.clock.advance(Duration::from_micros(self.dice.below(900_000))),
        }
    }
}

/// Whether it was warned of is not told.
fn assert_alike(there: &crate::budget::Purse, here: &crate::budget::Purse) {
    let all = |purse: &crate::budget::Purse| {
        (purse.ceiling(), purse.spent(), purse.reserved(), purse.window(), purse.turn())
    };
    assert_eq!(all(there), all(here));
}

#[test]
fn script_and_rust_agree_on_a_hundred_thousand_steps_of_three_processes() {
    let server = Server::start("purses");
    let link = server.link();
    for seed in 1..=100 {
        let mut twins = Twins::new(&link, seed);
        (0..1_000).for_each(|_| twins.step());
    }
}

#[test]
fn script_and_rust_agree_on_retry_budgets() {
    let server = Server::start("retries");
    let link = server.link();
    for seed in 1..=20 {
        let clock = Arc::new(ManualClock::default());
        let there = RedisPurses::new(link.clone(), &format!("test{{{seed}}}:"), Some(clock.clone()));
        let (mut here, mut dice) = (RetryBudget::default(), Dice(seed));
        for _ in 0..500 {
            let kind = [Kind::RateLimit, Kind::Overload, Kind::Connection][dice.place(3)];
            let is_queued = dice.below(2) == 0;
            if dice.below(3) > 0 {
                let taken = here.try_take(kind, is_queued, clock.now());
                assert_eq!(there.try_take("a", kind, is_queued).unwrap(), taken);
            } else {
                let last = (dice.below(2) == 0).then_some(kind);
                here.succeeded(last, is_queued);
                there.succeeded("a", last, is_queued).unwrap();
            }
            assert_eq!(there.balance("a").unwrap(), here.balance());
            clock.advance(Duration::from_millis(dice.below(4_000)));
        }
    }
}

#[test]
fn a_claim_is_one_round_trip_and_all_that_is_kept_expires() {
    let server = Server::start("trips");
    let link = server.link();
    let purses = RedisPurses::new(link.clone(), "test{trips}:", None);
    let ceiling = Ceiling { calls: Some(100), ..Ceiling::default() };
    let asked: Vec<Asked> = ["a", "b", "c"]
        .map(|key| Asked {
            key: key.into(),
            ceiling,
            warn_at: 0.8,
            window: Window::EVER,
            is_first_word: true,
        })
        .into();
    let outlay = Outlay { calls: 1, ..Outlay::default() };
    let scripts = || -> u64 {
        let said: String = redis::cmd("INFO").arg("commandstats").query(&mut *link.0.lock()).unwrap();
        let calls = said.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    };
    purses.claim(&asked, outlay, 0.0).unwrap();
    let before = scripts();
    let claims = (0..10).map(|_| purses.claim(&asked, outlay, 0.0).unwrap());
    assert!(claims.into_iter().all(|answer| matches!(answer, Answer::Held(_))));
    assert_eq!(scripts() - before, 10);
    purses.pulse().unwrap();
    let before = scripts();
    purses.succeeded("scope", None, false).unwrap();
    assert_eq!(scripts() - before, 0, "what is earned is told later");
    purses.try_take("scope", Kind::Overload, false).unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut *link.0.lock()).unwrap();
    assert_eq!(keys.len(), 5);
    for key in keys {
        let left: i64 = redis::cmd("PTTL").arg(&key).query(&mut *link.0.lock()).unwrap();
        assert!(left > 0, "{key} is kept for ever");
    }
    purses.leave().unwrap();
    assert_eq!(purses.read(&asked[0]).unwrap().spent().calls, 11);
}
