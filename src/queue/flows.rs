//! The calls of one class: a line for each tenant, and the order of the lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Call, PRIORITY_HEAD_START, TenantId, Ticket};
use crate::clock::Time;
use crate::quota::Amounts;
use crate::scope::Path;

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

/// The head of a line, with what it is compared by: among those who were served the same, the order is that of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    served: u64,
    rank: Rank,
    pub(super) ticket: Ticket,
    tenant: TenantId,
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
    /// The heads of the lines, by what their tenants were served so far.
    order: BTreeSet<Head>,
}

impl Class {
    pub(super) fn new(path: Path) -> Self {
        Self { path, lines: HashMap::new(), order: BTreeSet::new() }
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

    pub(super) fn push(&mut self, call: &Call, served: u64, rank: Rank, ticket: Ticket) {
        let line = self.lines.entry(call.tenant).or_default();
        let before = line.head(served, call.tenant);
        line.calls.insert(rank, ticket);
        let amounts = line.amounts.entry(call.priority).or_default();
        *amounts = amounts.plus(&call.amounts);
        let after = line.head(served, call.tenant);
        replace(&mut self.order, before, after);
    }

    pub(super) fn remove(&mut self, call: &Call, served: u64, rank: Rank) {
        let line = self.lines.get_mut(&call.tenant).expect("a waiting call stands in a line");
        let before = line.head(served, call.tenant);
        line.calls.remove(&rank);
        if let Some(amounts) = line.amounts.get_mut(&call.priority) {
            *amounts = amounts.minus(&call.amounts);
        }
        let after = line.head(served, call.tenant);
        replace(&mut self.order, before, after);
        if after.is_none() {
            self.lines.remove(&call.tenant);
        }
    }

    pub(super) fn reorder(&mut self, tenant: TenantId, before: u64, after: u64) {
        if let Some(line) = self.lines.get(&tenant) {
            replace(&mut self.order, line.head(before, tenant), line.head(after, tenant));
        }
    }

    /// The head of the fairest line.
    pub(super) fn first(&self) -> Option<Head> {
        self.order.first().copied()
    }

    /// The heads of the lines, the fairest first, from where one was seen.
    pub(super) fn heads_from(&self, seen: &Head) -> impl Iterator<Item = &Head> {
        self.order.range(seen..)
    }
}

impl Line {
    fn head(&self, served: u64, tenant: TenantId) -> Option<Head> {
        let (&rank, &ticket) = self.calls.first_key_value()?;
        Some(Head { served, rank, ticket, tenant })
    }
}

fn replace(order: &mut BTreeSet<Head>, before: Option<Head>, after: Option<Head>) {
    if before != after {
        before.inspect(|head| _ = order.remove(head));
        order.extend(after);
    }
}
