//! The calls of one class: a line for each tenant, and the order of the lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::{Call, PRIORITY_HEAD_START, TenantId, Ticket};
use crate::clock::Time;
use crate::quota::Amounts;
use crate::store::Path;

/// A place in a tenant's line: arrival less head start, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    virtual_arrival: i128,
    arrival: u64,
}

impl Rank {
    pub(super) fn new(now: Time, priority: i8, arrival: u64) -> Self {
        let step = PRIORITY_HEAD_START.as_nanos().cast_signed();
        Self { virtual_arrival: i128::from(now.nanos()) - i128::from(priority) * step, arrival }
    }
}

#[derive(Debug, Default)]
struct Line {
    calls: BTreeMap<Rank, Ticket>,
    /// What they ask for together, by steps of priority.
    amounts: BTreeMap<i8, Amounts>,
}

#[derive(Debug)]
pub(super) struct Class {
    path: Path,
    lines: HashMap<TenantId, Line>,
    /// The lines by what their tenants were served so far.
    order: BTreeSet<(u64, TenantId)>,
    /// In a round of asking: everybody up to here is held up.
    passed: Option<(u64, TenantId)>,
}

impl Class {
    pub(super) fn new(path: Path) -> Self {
        Self { path, lines: HashMap::new(), order: BTreeSet::new(), passed: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = (TenantId, usize)> {
        self.lines.iter().map(|(tenant, line)| (*tenant, line.calls.len()))
    }

    /// What the calls of a tenant ask for that came before a newcomer with at least its priority: they all start before it.
    pub(super) fn ahead(&self, tenant: TenantId, priority: i8) -> Amounts {
        let Some(line) = self.lines.get(&tenant) else { return Amounts::default() };
        line.amounts.range(priority..).fold(Amounts::default(), |sum, (_, amounts)| sum.plus(amounts))
    }

    pub(super) fn push(&mut self, call: &Call, counter: u64, rank: Rank, ticket: Ticket) {
        let line = self.lines.entry(call.tenant).or_default();
        line.calls.insert(rank, ticket);
        let amounts = line.amounts.entry(call.priority).or_default();
        *amounts = amounts.plus(&call.amounts);
        self.order.insert((counter, call.tenant));
    }

    pub(super) fn remove(&mut self, call: &Call, counter: u64, rank: Rank) {
        let line = self.lines.get_mut(&call.tenant).expect("a waiting call stands in a line");
        line.calls.remove(&rank);
        if let Some(amounts) = line.amounts.get_mut(&call.priority) {
            *amounts = amounts.minus(&call.amounts);
        }
        if line.calls.is_empty() {
            self.lines.remove(&call.tenant);
            self.order.remove(&(counter, call.tenant));
        }
    }

    pub(super) fn reorder(&mut self, tenant: TenantId, before: u64, after: u64) {
        if self.order.remove(&(before, tenant)) {
            self.order.insert((after, tenant));
        }
    }

    /// The head of the fairest line, with what it is compared by.
    pub(super) fn first(&self) -> Option<(u64, Rank, Ticket)> {
        let (counter, tenant) = self.order.first()?;
        self.lines[tenant].calls.first_key_value().map(|(rank, ticket)| (*counter, *rank, *ticket))
    }

    pub(super) fn rewind(&mut self) {
        self.passed = None;
    }

    /// The head of the fairest line whose own scopes are free, with what it is compared by.
    pub(super) fn head(&mut self, is_held_up: impl Fn(Ticket) -> bool) -> Option<(u64, Rank, Ticket)> {
        let from = self.passed.map_or(Bound::Unbounded, Bound::Excluded);
        for &(counter, tenant) in self.order.range((from, Bound::Unbounded)) {
            let (&rank, &ticket) =
                self.lines[&tenant].calls.first_key_value().expect("no empty lines are kept");
            if !is_held_up(ticket) {
                return Some((counter, rank, ticket));
            }
            self.passed = Some((counter, tenant));
        }
        None
    }
}
