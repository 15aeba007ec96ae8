//! Fifty processes on one state in virtual time: with clocks that are wrong, and a network that delays and loses what they say.
//!
//! A process is what it is in earnest, a [`Tree`]; the server takes the steps of the script, or is one. Here are the ways between them, in the
//! order in which [`super::exchange`] goes them, and what a process does that has no answer in time ([`super::alone`]).

mod answers;
mod granting;
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use granting::Granting;

use super::connection::ANSWER_WITHIN;
use super::exchange::{LATEST_LOOK, PRESENCE};
use super::model::micros;
use super::state::{State, Step};
use super::step::{Change, Op, Reply};
use super::telling::Keys;
use super::tree::{Ending, Tree};
use crate::clock::Time;
use crate::quota::{Amounts, Quota};
use crate::scope::{Path, ScopeId};
use crate::store::book::Book;
use crate::store::through_bytes::Dice;
use crate::store::{LeaseId, Policy};

const PROCESSES: usize = 50;
const SCOPES: [&str; 2] = ["account", "model"];
/// Its clock may be so wrong.
const SKEW: Duration = Duration::from_secs(5);
const START: Time = micros(1_700_000_000_000_000);
/// So many wait at most in one process, and are asked about together.
const MOST_WAITING: usize = 16;
/// How often a process tries to swap in what it has decided, before it goes on with what is plain.
const COLD_TRIES: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Come(usize),
    Look(usize),
    Arrive(u64),
    Answer(u64),
    GiveUp(u64),
    End(usize, u64),
    Kill(usize),
    LoseStore(u64),
    FindStore,
}

/// What a process waits for the answer to.
enum Asking {
    Cold(Vec<Option<(State, usize)>>),
    Plain { endings: Vec<Ending>, asked: Vec<(Path, Amounts)> },
}

/// A call of the script on its way.
struct Flight {
    who: usize,
    process: String,
    asked_at: Time,
    keys: Keys,
    ops: Vec<Op>,
    asking: Asking,
    is_answered: bool,
    reply: Option<Reply>,
}

struct Process {
    name: String,
    tree: Tree,
    /// What its clock is ahead of the server's, in nanoseconds, and what it believes the server's to be ahead of its own.
    skew: i64,
    ahead: i64,
    told: Time,
    waiting: VecDeque<(Path, Amounts)>,
    held: HashMap<u64, (LeaseId, usize)>,
    asking: Option<u64>,
    cold_tries: u32,
    /// When its latest question arrives: those of one process do not pass each other.
    arrives: Time,
    /// While it has no connection.
    down_until: Time,
}

pub(super) struct World {
    dice: Dice,
    now: Time,
    granting: Granting,
    quotas: [Quota; 2],
    policy: Policy,
    processes: Vec<Process>,
    flights: HashMap<u64, Flight>,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    numbers: u64,
    is_store_lost: bool,
    /// The most permits of each scope that calls had at once.
    most_held: [usize; 2],
    /// What processes have granted while they had no answer.
    alone: Vec<(Time, usize, Amounts)>,
    counts: HashMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64, quotas: [Quota; 2], policy: Policy, granting: Granting) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            now: START,
            granting,
            quotas,
            policy,
            processes: Vec::new(),
            flights: HashMap::new(),
            events: BinaryHeap::new(),
            numbers: 0,
            is_store_lost: false,
            most_held: [0; 2],
            alone: Vec::new(),
            counts: HashMap::new(),
        };
        for who in 0..PROCESSES {
            let process = world.process();
            world.processes.push(process);
            let [come, look, kill] = [2_000, 2_000, 240_000].map(|millis| world.millis(millis));
            world.after(come, Event::Come(who));
            world.after(look, Event::Look(who));
            world.after(kill, Event::Kill(who));
        }
        world
    }

    /// One that has just been started.
    fn process(&mut self) -> Process {
        self.numbers += 1;
        let mut tree = Tree::new(Book::new(Duration::from_mins(10)));
        for (name, quota) in SCOPES.iter().zip(&self.quotas) {
            tree.register(name, quota, false, self.now);
        }
        let skew = i64::try_from(SKEW.as_nanos()).unwrap();
        let skew = i64::try_from(self.dice.below(2 * skew.unsigned_abs())).unwrap() - skew;
        Process {
            name: format!("p{}", self.numbers),
            tree,
            skew,
            ahead: 0,
            told: Time::ZERO,
            waiting: VecDeque::new(),
            held: HashMap::new(),
            asking: None,
            cold_tries: 0,
            arrives: self.now,
            down_until: self.now,
        }
    }

    fn run(&mut self, lasts: Duration) {
        while let Some(Reverse((at, _, event))) = self.events.pop()
            && at < START + lasts
        {
            self.now = at;
            self.happens(event);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Come(who) => self.come(who),
            Event::Look(who) => {
                self.exchange(who);
                let is_waiting = !self.processes[who].waiting.is_empty();
                let pause = if is_waiting { LATEST_LOOK } else { Duration::from_millis(2_500) };
                self.after(pause, Event::Look(who));
            }
            Event::Arrive(number) => self.arrive(number),
            Event::Answer(number) => self.answer(number),
            Event::GiveUp(number) => self.give_up(number),
            Event::End(who, lease) => self.end(who, lease),
            Event::Kill(who) => {
                self.processes[who] = self.process();
                let life = self.millis(240_000);
                self.after(life, Event::Kill(who));
                self.count("killed");
            }
            Event::LoseStore(millis) => {
                self.is_store_lost = true;
                self.after(Duration::from_millis(millis), Event::FindStore);
            }
            Event::FindStore => self.is_store_lost = false,
        }
    }

    /// Calls come unevenly: mostly one by one, at times many at once, at times nobody for a while.
    fn come(&mut self, who: usize) {
        let (many, pause) = match self.dice.below(12) {
            0 => (10, 1_000),
            1 => (0, 30_000),
            _ => (1, 1_500),
        };
        for _ in 0..many {
            let amounts = self.dice.amounts();
            let amounts = Amounts { requests: 1, ..amounts };
            let outer = Path::of(ScopeId(0));
            let path = if self.dice.below(3) == 0 { outer } else { outer.with(ScopeId(1)).unwrap() };
            let waiting = &mut self.processes[who].waiting;
            if waiting.len() < MOST_WAITING {
                waiting.push_back((path, amounts));
            }
        }
        self.exchange(who);
        let pause = self.millis(pause);
        self.after(pause, Event::Come(who));
    }

    /// A call has its answer from the provider: it has used less than it reserved, as much, or more.
    fn end(&mut self, who: usize, lease: u64) {
        let now = self.own_time(who);
        let less = self.dice.amounts();
        let process = &mut self.processes[who];
        let Some((id, _)) = process.held.remove(&lease) else { return };
        let reserved = process.tree.book.lease(id).unwrap().sent.amounts;
        let actual = match lease % 3 {
            0 => Amounts { requests: 1, ..less },
            1 => reserved,
            _ => reserved.minus(&Amounts { requests: 0, ..less }),
        };
        process.tree.settle(id, &actual, now).unwrap();
        self.exchange(who);
    }

    /// Says what there is to say, unless something is on its way.
    fn exchange(&mut self, who: usize) {
        if self.processes[who].asking.is_some() {
            return;
        }
        if self.now < self.processes[who].down_until {
            return self.decide_alone(who);
        }
        let now = self.own_time(who);
        let Process { tree, cold_tries, name, waiting, .. } = &mut self.processes[who];
        if tree.outage.is_some() {
            tree.end_outage(now);
        }
        let (mut keys, mut ops) = (Keys::default(), Vec::new());
        // The server of the simulation knows its scopes by these numbers.
        (0..).zip(SCOPES).for_each(|(index, _)| _ = keys.place(ScopeId(index)));
        let asking = if !tree.cold_scopes().is_empty() && *cold_tries < COLD_TRIES {
            *cold_tries += 1;
            let step = Step { process: name, presence: PRESENCE, now };
            let mut changed = Vec::new();
            for id in tree.cold_scopes() {
                let (scope, change) = (keys.place(id), tree.changed(id, step));
                ops.push(match &change {
                    Some((state, _)) => {
                        let (expected, value) = (state.revision, state.encode());
                        Op::Swap { changes: vec![Change { scope, expected, value }] }
                    }
                    None => Op::Read { scope },
                });
                changed.push(change);
            }
            Asking::Cold(changed)
        } else {
            *cold_tries = 0;
            let endings = tree.tell(&mut keys, &mut ops, now);
            tree.easing.take_if(|easing| easing.is_over(now));
            let is_free = |(path, amounts): &&(Path, Amounts)| {
                tree.easing.as_ref().is_none_or(|easing| easing.refusal(path, amounts, now).is_none())
            };
            let asked: Vec<_> = waiting.iter().take_while(is_free).copied().collect();
            ops.extend(asked.iter().map(|(path, amounts)| {
                let scopes = path.scopes().iter().map(|id| id.0 as usize).collect();
                Op::Take { scopes, amounts: *amounts }
            }));
            Asking::Plain { endings, asked }
        };
        if !ops.is_empty() {
            self.send(who, keys, ops, asking);
        }
    }

    fn send(&mut self, who: usize, keys: Keys, ops: Vec<Op>, asking: Asking) {
        self.numbers += 1;
        let (number, way) = (self.numbers, self.way());
        let (is_heard, is_answered) = (self.dice.below(60) > 0, self.dice.below(60) > 0);
        let asked_at = self.here(who);
        let process = &mut self.processes[who];
        process.asking = Some(number);
        process.arrives = (process.arrives + Duration::from_micros(1)).max(self.now + way);
        let (arrives, process) = (process.arrives, process.name.clone());
        self.flights
            .insert(number, Flight { who, process, asked_at, keys, ops, asking, is_answered, reply: None });
        if is_heard {
            self.at(arrives, Event::Arrive(number));
        }
        self.after(ANSWER_WITHIN, Event::GiveUp(number));
    }

    /// The server takes the steps, whoever still waits for it.
    fn arrive(&mut self, number: u64) {
        let Some(flight) = self.flights.get_mut(&number).filter(|_| !self.is_store_lost) else { return };
        let reply = self.granting.step(&flight.process, self.now, &flight.ops);
        flight.reply = Some(reply);
        if flight.is_answered {
            let way = self.way();
            self.after(way, Event::Answer(number));
        } else {
            self.count("answer lost");
        }
    }

    /// The process's own clock.
    fn here(&self, who: usize) -> Time {
        shifted(self.now, self.processes[who].skew)
    }

    /// What it believes the server's to be, which it never lets go back.
    fn own_time(&mut self, who: usize) -> Time {
        let now = shifted(self.here(who), self.processes[who].ahead);
        let process = &mut self.processes[who];
        process.told = process.told.max(now);
        process.told
    }

    /// How long a message is on its way: mostly not long, at times longer than anybody waits for it.
    fn way(&mut self) -> Duration {
        let longest = if self.dice.below(40) == 0 { 2_000_000 } else { 20_000 };
        Duration::from_micros(100 + self.dice.below(longest))
    }

    fn millis(&mut self, longest: u64) -> Duration {
        Duration::from_millis(1 + self.dice.below(longest))
    }

    fn after(&mut self, length: Duration, event: Event) {
        self.at(self.now + length, event);
    }

    fn at(&mut self, time: Time, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((time, self.numbers, event)));
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

fn shifted(time: Time, by: i64) -> Time {
    Time::from_nanos(time.nanos().saturating_add_signed(by))
}
