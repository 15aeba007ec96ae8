//! Whatever happens, a scope that was written and read again goes on as if it had not been.

use std::time::Duration;

use super::book::Book;
use super::scope::Scope;
use super::{Decision, LeaseId};
use crate::bytes::Bytes;
use crate::clock::Time;
use crate::pace::{Refusal, Setback, Told};
use crate::quota::{Amounts, Dimension, Limit, Quota};
use crate::scope::{Path, ScopeId};

/// Evenly spread numbers, the same for the same seed (xorshift).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    pub(super) fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(2) == 0).then_some(value)
    }

    pub(super) fn dimension(&mut self) -> Dimension {
        let all = [Dimension::Requests, Dimension::Tokens, Dimension::InputTokens, Dimension::Concurrency];
        all[usize::try_from(self.below(4)).unwrap()]
    }

    fn period(&mut self) -> Duration {
        Duration::from_millis([1, 1_000, 60_000, 86_400_000][usize::try_from(self.below(4)).unwrap()])
    }

    pub(super) fn amounts(&mut self) -> Amounts {
        let (input_tokens, output_tokens) = (self.below(400), self.below(300));
        Amounts { requests: self.below(3), tokens: input_tokens + output_tokens, input_tokens, output_tokens }
    }

    fn quota(&mut self) -> Quota {
        let mut limits: Vec<Limit> = Vec::new();
        for dimension in Dimension::RATES {
            let (amount, period) = (1 + self.below(5_000), self.period());
            let burst = self.maybe(1 + amount / 3);
            limits.extend(self.maybe(Limit::new(dimension, amount, period, burst).unwrap()));
        }
        let permits = 1 + u32::try_from(self.below(6)).unwrap();
        let concurrency = self.maybe(permits);
        Quota::new(limits, concurrency).unwrap().with_headroom(Duration::from_millis(self.below(2) * 250))
    }

    pub(super) fn setback(&mut self) -> Setback {
        match self.below(4) {
            0 => Setback::Overloaded,
            1 => Setback::Other,
            _ => {
                let dimension = self.dimension();
                Setback::Refused(Refusal {
                    dimension: self.maybe(dimension),
                    period: self.maybe(Duration::from_mins(1)),
                    retry_after: self.maybe(()).map(|()| Duration::from_millis(self.below(400_000))),
                    patience: Duration::from_mins(2),
                    random: 0.25,
                })
            }
        }
    }

    pub(super) fn told(&mut self) -> Told {
        let (dimension, period, limit) = (self.dimension(), self.period(), 1 + self.below(9_000));
        let remaining = self.below(limit + 1);
        Told {
            dimension,
            period: self.maybe(period),
            limit: self.maybe(limit),
            remaining: self.maybe(remaining),
            rounded_to: 1,
        }
    }
}

/// Two books that are told the same; the scopes of one of them go through bytes before every step.
struct Twins {
    dice: Dice,
    books: [Book; 2],
    paths: Vec<Path>,
    held: Vec<LeaseId>,
    now: Time,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut books = [Book::new(Duration::from_mins(1)), Book::new(Duration::from_mins(1))];
        let quotas = [dice.quota(), dice.quota(), Quota::new(Vec::new(), None).unwrap()];
        let named = ["account", "model", "unknown"].into_iter().zip(&quotas);
        let ids: Vec<ScopeId> =
            named.map(|(name, quota)| each(&mut books, |book| book.add(name, quota, false))).collect();
        each(&mut books, |book| book.be_careful(ids[2]));
        let inner = Path::of(ids[0]).with(ids[1]).unwrap();
        Self {
            dice,
            books,
            paths: vec![inner, Path::of(ids[0]), Path::of(ids[2])],
            held: Vec::new(),
            now: Time::from_nanos(1 << 60),
        }
    }

    fn carry(&mut self) {
        let ids = self.paths.iter().flat_map(|path| path.scopes().to_vec());
        for id in ids.collect::<Vec<_>>() {
            let book = &mut self.books[1];
            let scope = book.scope(id).unwrap();
            let (mut bytes, name) = (Vec::new(), scope.name.clone());
            scope.write(&mut bytes);
            let mut rest = bytes.as_slice();
            let read = Scope::read(name, &mut rest).expect("what was written can be read");
            assert!(rest.is_empty());
            book.put(id, read);
        }
    }

    fn step(&mut self) {
        self.carry();
        let (now, amounts) = (self.now, self.dice.amounts());
        let which = usize::try_from(self.dice.below(self.held.len().max(1) as u64)).unwrap();
        match self.dice.below(12) {
            0..=3 => {
                let path = self.paths[usize::try_from(self.dice.below(3)).unwrap()];
                let decision = each(&mut self.books, |book| book.reserve(&path, &amounts, now));
                self.held.extend(if let Decision::Granted(id) = decision { Some(id) } else { None });
            }
            4..=5 if !self.held.is_empty() => {
                let id = self.held.swap_remove(which);
                each(&mut self.books, |book| book.settle(id, &amounts, || now)).ok();
            }
            6 if !self.held.is_empty() => {
                let (id, setback) = (self.held.swap_remove(which), self.dice.setback());
                each(&mut self.books, |book| book.fail(id, &amounts, &setback, || now)).ok();
            }
            7 if !self.held.is_empty() => {
                let (id, told) = (self.held[which], [self.dice.told(), self.dice.told()]);
                each(&mut self.books, |book| book.learn(id, &told, now)).ok();
            }
            8 if self.dice.below(50) == 0 => {
                let quota = self.dice.quota();
                let name = self.books[0].name(self.paths[1].scopes()[0]);
                each(&mut self.books, |book| book.configure(&name, &quota, now));
            }
            9 => self.now = now + Duration::from_millis(self.dice.below(20_000)),
            _ => self.now = now + Duration::from_micros(self.dice.below(30_000)),
        }
        for path in self.paths.clone() {
            let now = self.now;
            each(&mut self.books, |book| book.earliest(&path, &Amounts::default(), &amounts, now)).ok();
            each(&mut self.books, |book| book.status(path.scopes()[0], now));
        }
    }
}

/// Does the same with both, which has to have the same result.
fn each<T: PartialEq + std::fmt::Debug>(books: &mut [Book; 2], mut act: impl FnMut(&mut Book) -> T) -> T {
    let [here, there] = books;
    let (result, other) = (act(here), act(there));
    assert_eq!(result, other);
    result
}

#[test]
fn what_was_written_and_read_decides_alike_for_two_million_steps() {
    for seed in 1..=1_000 {
        let mut twins = Twins::new(seed);
        (0..2_000).for_each(|_| twins.step());
    }
}

#[test]
fn what_is_cut_off_is_no_state() {
    let mut twins = Twins::new(7);
    (0..200).for_each(|_| twins.step());
    let mut bytes = Vec::new();
    twins.books[0].scope(twins.paths[1].scopes()[0]).unwrap().write(&mut bytes);
    for len in 0..bytes.len() {
        assert!(Scope::read("a".into(), &mut &bytes[..len]).is_none());
    }
    assert_eq!(u64::read(&mut [0xff; 12].as_slice()), None);
}
