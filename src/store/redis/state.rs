//! What the processes share of one scope: its state, and who of them holds what and stands in line. Pure.
//!
//! `step.lua` takes the same steps inside the server on all that is plain arithmetic; what it leaves to us is decided here and
//! swapped in. Both have to agree to the last unit.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::quota::{Amounts, Quota};
use crate::store::PLACE_KEPT;
use crate::store::scope::{Scope, Sent};

/// One scope.
#[derive(Debug)]
pub(super) struct State {
    /// Which of its versions it is; another one each time that it is written.
    pub(super) revision: u64,
    /// What was last configured, whoever did it.
    pub(super) quota: Quota,
    /// The processes that use it, in the order in which they came.
    pub(super) members: Vec<Member>,
    pub(super) scope: Scope,
}

/// A process that uses a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) process: String,
    /// Until when it is believed to be there.
    pub(super) until: Time,
    pub(super) permits: u32,
    pub(super) amounts: Amounts,
    pub(super) place: Option<Place>,
}

/// The place of a process in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) since: Time,
    pub(super) kept_until: Time,
    pub(super) amounts: Amounts,
}

/// The process that takes a step, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) process: &'a str,
    /// How long it is believed to be there from now on.
    pub(super) presence: Duration,
    pub(super) now: Time,
}

impl State {
    /// A scope that nobody has used.
    pub(super) fn new(name: Arc<str>, quota: &Quota, is_cap: bool) -> Self {
        let scope = Scope::new(name, quota, is_cap);
        Self { revision: 0, quota: quota.clone(), members: Vec::new(), scope }
    }

    /// Takes back what those held who are not there any more; the process that takes the step is there.
    pub(super) fn strike_off_overdue(&mut self, step: Step<'_>) {
        let is_there = |member: &Member| member.process == step.process || member.until > step.now;
        for member in self.members.iter().filter(|member| !is_there(member)) {
            self.scope.release_all(member.permits, &member.amounts);
        }
        self.members.retain(is_there);
    }

    /// What those ask for together who stand before a process; None if nobody does.
    pub(super) fn ahead_of(&self, process: &str, now: Time) -> Option<Amounts> {
        ahead_of(&self.members, process, now)
    }

    /// A call of the process starts: it has had its turn.
    pub(super) fn grant(&mut self, step: Step<'_>, amounts: &Amounts) {
        self.scope.grant(amounts, step.now);
        let member = self.seen(step);
        member.permits += 1;
        member.amounts = member.amounts.plus(amounts);
        member.place = None;
    }

    /// A call of the process is over: `actual` replaces what it had reserved. What was taken back already is not given back again.
    pub(super) fn settle(&mut self, step: Step<'_>, sent: &Sent, actual: &Amounts) {
        if let Some(member) = self.members.iter_mut().find(|member| member.process == step.process) {
            member.until = step.now + step.presence;
            if let Some(permits) = member.permits.checked_sub(1) {
                let left = member.amounts.minus(&sent.amounts);
                self.scope.release(&member.amounts.minus(&left));
                (member.permits, member.amounts) = (permits, left);
            }
        }
        self.scope.correct(sent, actual, &|| step.now);
    }

    /// The process is there, and holds so much in all, whatever was believed.
    pub(super) fn pulse(&mut self, step: Step<'_>, permits: u32, amounts: &Amounts) {
        let member = self.seen(step);
        let before = (member.permits, member.amounts);
        (member.permits, member.amounts) = (permits, *amounts);
        let Scope { permits: all, flow, .. } = &mut self.scope;
        all.set_held((all.held() + permits).saturating_sub(before.0));
        flow.granted = flow.granted.plus(&amounts.minus(&before.1));
        flow.ended(&before.1.minus(amounts));
    }

    /// Gives the process a place at the end of the line, or keeps the one it has.
    pub(super) fn stand(&mut self, step: Step<'_>, amounts: &Amounts) {
        for member in &mut self.members {
            member.place.take_if(|place| place.kept_until <= step.now);
        }
        let (kept_until, amounts) = (step.now + PLACE_KEPT, *amounts);
        let place = &mut self.seen(step).place;
        let since = place.map_or(step.now, |place| place.since);
        *place = Some(Place { since, kept_until, amounts });
    }

    /// The member that takes the step, new or not.
    fn seen(&mut self, step: Step<'_>) -> &mut Member {
        let found = self.members.iter().position(|member| member.process == step.process);
        let index = found.unwrap_or_else(|| {
            let process = step.process.to_owned();
            let (until, amounts) = (step.now, Amounts::default());
            self.members.push(Member { process, until, permits: 0, amounts, place: None });
            self.members.len() - 1
        });
        self.members[index].until = step.now + step.presence;
        &mut self.members[index]
    }
}

/// What those ask for together who stand before a process in line; None if nobody does.
pub(super) fn ahead_of(members: &[Member], process: &str, now: Time) -> Option<Amounts> {
    let places = || {
        let standing = |(index, member): (usize, _)| {
            let Member { process, place, .. }: &Member = member;
            place.filter(|place| place.kept_until > now).map(|place| (process, index, place))
        };
        members.iter().enumerate().filter_map(standing)
    };
    let own = places().find(|(other, ..)| *other == process);
    let is_before = |index: usize, place: &Place| {
        own.is_none_or(|(_, own_index, own)| (place.since, index) < (own.since, own_index))
    };
    let ahead = places().filter(|(_, index, place)| is_before(*index, place));
    let others = ahead.filter(|(other, ..)| *other != process);
    others.map(|(.., place)| place.amounts).reduce(|sum, amounts| sum.plus(&amounts))
}
