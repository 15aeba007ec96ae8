//! What processes of the simulation make of answers, and of none.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Asking, Event, Flight, Process, SCOPES, World};
use crate::quota::Amounts;
use crate::scope::Path;
use crate::store::redis::clock::closer;
use crate::store::redis::state::State;
use crate::store::redis::step::{Op, Outcome, Reply};
use crate::store::redis::telling::Keys;
use crate::store::redis::tree::Ending;
use crate::store::{Decision, LeaseId};

impl World {
    pub(super) fn answer(&mut self, number: u64) {
        let Some(flight) = self.flights.get(&number) else { return };
        let who = flight.who;
        if self.processes[who].asking != Some(number) || self.processes[who].name != flight.process {
            self.flights.remove(&number);
            return self.count("answer late");
        }
        let Flight { keys, ops, asking, reply, asked_at, .. } = self.flights.remove(&number).unwrap();
        let (reply, here) = (reply.unwrap(), self.here(who));
        let process = &mut self.processes[who];
        process.asking = None;
        process.ahead = closer(process.ahead, reply.now, asked_at, here);
        match asking {
            Asking::Cold(changed) => self.cold_answer(who, &keys, &ops, changed, &reply),
            Asking::Plain { endings, asked } => self.plain_answer(who, &keys, &endings, &asked, &reply),
        }
    }

    fn take_over(&mut self, who: usize, keys: &Keys, reply: &Reply) {
        for (place, bytes) in &reply.states {
            assert!(self.processes[who].tree.take_over(keys.ids[*place], bytes.clone()));
        }
    }

    fn cold_answer(
        &mut self,
        who: usize,
        keys: &Keys,
        ops: &[Op],
        changed: Vec<Option<(State, usize)>>,
        reply: &Reply,
    ) {
        let tree = &mut self.processes[who].tree;
        for ((op, outcome), change) in ops.iter().zip(&reply.outcomes).zip(changed) {
            let scope = match op {
                Op::Swap { changes } => changes[0].scope,
                Op::Read { scope } => *scope,
                _ => panic!("the others are plain arithmetic"),
            };
            let id = keys.ids[scope];
            match (outcome, change) {
                (Outcome::Swapped, Some((state, done))) => {
                    tree.outbox.done(id, done);
                    tree.swapped(id, state, reply.now);
                }
                _ => tree.unseen(id),
            }
        }
        self.take_over(who, keys, reply);
        self.exchange(who);
    }

    fn plain_answer(
        &mut self,
        who: usize,
        keys: &Keys,
        endings: &[Ending],
        asked: &[(Path, Amounts)],
        reply: &Reply,
    ) {
        self.take_over(who, keys, reply);
        let first_take = reply.outcomes.len() - asked.len();
        assert!(reply.outcomes.iter().all(|outcome| *outcome != Outcome::Exotic), "nothing is explored here");
        assert!(endings.len() <= first_take);
        let mut granted = Vec::new();
        let Process { tree, waiting, name, .. } = &mut self.processes[who];
        let mut waiting_on: VecDeque<_> = waiting.split_off(asked.len());
        let refused =
            asked.iter().zip(&reply.outcomes[first_take..]).filter(
                |((path, amounts), outcome)| match outcome {
                    Outcome::Granted => {
                        let Decision::Granted(id) = tree.granted(path, amounts, reply.now) else {
                            panic!("what is granted is a lease")
                        };
                        granted.push((id, path.scopes().len()));
                        false
                    }
                    Outcome::Refused { scope } => {
                        let refusal = tree.refused(path, amounts, keys.ids[*scope], name, reply.now);
                        matches!(refusal, Decision::Wait(_))
                    }
                    outcome => {
                        match outcome {
                            Outcome::Missing { scope } => tree.lose(keys.ids[*scope]),
                            _ => path.scopes().iter().for_each(|id| tree.lose(*id)),
                        }
                        true
                    }
                },
            );
        let mut refused: VecDeque<_> = refused.map(|(call, _)| *call).collect();
        refused.append(&mut waiting_on);
        *waiting = refused;
        self.counts.entry("granted").and_modify(|count| *count += granted.len() as u64).or_default();
        for (id, depth) in granted {
            self.hold(who, id, depth);
        }
        self.note_held();
    }

    /// A call starts, and is answered within some seconds.
    fn hold(&mut self, who: usize, id: LeaseId, depth: usize) {
        self.numbers += 1;
        self.processes[who].held.insert(self.numbers, (id, depth));
        let longest = if self.dice.below(20) == 0 { 30_000 } else { 3_000 };
        let lasts = self.millis(longest);
        self.after(lasts, Event::End(who, self.numbers));
    }

    fn note_held(&mut self) {
        for scope in 0..SCOPES.len() {
            let held = self.processes.iter().flat_map(|process| process.held.values());
            let held = held.filter(|(_, depth)| *depth > scope).count();
            self.most_held[scope] = self.most_held[scope].max(held);
        }
    }

    /// No answer has come in time: the process is without its store until it has another connection.
    pub(super) fn give_up(&mut self, number: u64) {
        let Some(Flight { who, process, .. }) = self.flights.get(&number) else { return };
        let who = *who;
        let is_asking = self.processes[who].asking == Some(number) && self.processes[who].name == *process;
        if is_asking {
            let (now, pause) = (self.own_time(who), self.millis(950));
            let process = &mut self.processes[who];
            process.asking = None;
            process.down_until = self.now + Duration::from_millis(50) + pause;
            process.tree.begin_outage(self.policy, now);
            self.count("given up");
            self.decide_alone(who);
        }
    }

    pub(super) fn decide_alone(&mut self, who: usize) {
        let now = self.own_time(who);
        self.processes[who].tree.begin_outage(self.policy, now);
        while let Some((path, amounts)) = self.processes[who].waiting.front().copied() {
            let process = &mut self.processes[who];
            match process.tree.reserve_alone(&path, &amounts, now) {
                Some(Decision::Wait(_)) => return,
                Some(Decision::Granted(id)) => {
                    self.alone.push((self.now, path.scopes().len(), amounts));
                    self.hold(who, id, path.scopes().len());
                }
                // Its caller is told that it cannot be; or that nobody can be asked.
                Some(Decision::Never(_)) | None => self.count("refused alone"),
            }
            self.processes[who].waiting.pop_front();
        }
    }
}
