//! The fair queue of waiting calls: who is asked about next.
//! Pure: no clock, no store. Whether there is room is not its business; it is told what is blocked.
//!
//! Tenants share by a virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): whoever was served
//! the least weighted tokens is next. A tenant that comes back from idling starts level with the last one served, so idleness earns no credit
//! (start-time fair queueing). Inside a tenant the order is that of arrival; a priority is a head start of [`PRIORITY_HEAD_START`] a
//! step, so that nobody who waits is overtaken for ever.
//!
//! Calls with the same scopes form a class. When the head of a class finds a scope of the whole class blocked, nobody of
//! that class passes it, however small; a tenant blocked by a cap of its own is passed over.

mod flows;
mod tenants;

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::quota::Amounts;
use crate::scope::{Blocked, Path, ScopeId};

use flows::{Class, Head, Rank};
pub use tenants::TenantId;
use tenants::Tenants;

/// What one step of priority is worth.
pub const PRIORITY_HEAD_START: Duration = Duration::from_secs(10);

/// Calls that fall under the same scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassId(usize);

/// The place of a waiting call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    slot: u32,
    generation: u32,
}

/// What a tenant was charged in advance for a call that is asked about elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// Whose call it is.
    pub tenant: TenantId,
    /// Where the tenant stood before it.
    start: u64,
}

/// A call that waits or is about to.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its class.
    pub class: ClassId,
    /// All scopes it falls under: its class's and its tenant's caps.
    pub path: Path,
    /// Whose share of the quota it takes.
    pub tenant: TenantId,
    /// Steps of head start among the calls of its tenant.
    pub priority: i8,
    /// What it asks.
    pub amounts: Amounts,
    /// When it would rather be refused.
    pub deadline: Option<Time>,
}

struct Entry<W> {
    call: Call,
    rank: Rank,
    waiter: W,
    /// Whether it is being asked about elsewhere, and has left its line for as long.
    is_out: bool,
}

struct Slot<W> {
    generation: u32,
    entry: Option<Entry<W>>,
}

/// All waiting calls, each with a `W` by which its caller is told.
pub struct Queue<W> {
    tenants: Tenants,
    classes: Vec<Class>,
    by_path: HashMap<Path, ClassId>,
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
    deadlines: BTreeSet<(Time, Ticket)>,
    blocked: BTreeMap<ScopeId, Blocked>,
    /// When it is worth asking again for the first of what is blocked.
    ask_again_at: Option<Time>,
    arrivals: u64,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            tenants: Tenants::default(),
            classes: Vec::new(),
            by_path: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            blocked: BTreeMap::new(),
            ask_again_at: None,
            arrivals: 0,
        }
    }
}

impl<W> Queue<W> {
    /// The class of the calls with that path.
    pub fn class(&mut self, path: Path) -> ClassId {
        let next = ClassId(self.classes.len());
        let id = *self.by_path.entry(path).or_insert(next);
        if id == next {
            self.classes.push(Class::new(path));
        }
        id
    }

    /// The tenant of that name, which is nobody in particular if it is empty.
    pub fn tenant(&mut self, name: &str) -> TenantId {
        self.tenants.intern(name)
    }

    /// Sets a tenant's share relative to the others', which have 1.
    pub fn set_weight(&mut self, name: &str, weight: f64) {
        self.tenants.set_weight(name, weight);
    }

    /// Calls waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls waiting that fall under a scope, by tenant.
    #[must_use]
    pub fn waiting(&self, scope: ScopeId) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for (tenant, count) in self.classes_under(scope).flat_map(Class::waiting) {
            *counts.entry(self.tenants.name(tenant)).or_default() += count;
        }
        let out = self.slots.iter().filter_map(|slot| slot.entry.as_ref()).filter(|entry| entry.is_out);
        for entry in out.filter(|entry| entry.call.path.scopes().contains(&scope)) {
            *counts.entry(self.tenants.name(entry.call.tenant)).or_default() += 1;
        }
        counts
    }

    /// What stands in the way of a call of that path, if anything does: somebody before it waits for one of its scopes.
    #[must_use]
    pub fn obstacle(&self, path: &Path) -> Option<Blocked> {
        path.scopes().iter().find_map(|scope| self.blocked.get(scope)).copied()
    }

    /// The fairest of the calls that fall under a scope: its tenant, and what it waits for.
    #[must_use]
    pub fn head(&self, scope: ScopeId) -> Option<(Arc<str>, Blocked)> {
        let head = self.classes_under(scope).filter_map(Class::first).min()?;
        let call = &entry_of(&self.slots, head.ticket).call;
        Some((self.tenants.name(call.tenant), self.obstacle(&call.path)?))
    }

    /// When somebody has to look again though nothing was given back: the head may have room, or a deadline is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        [self.ask_again_at, deadline].into_iter().flatten().min()
    }

    /// What the calls that surely stand before a newcomer of this kind ask for together.
    #[must_use]
    pub fn ahead_of(&self, call: &Call) -> Amounts {
        self.classes[call.class.0].ahead(call.tenant, call.priority)
    }

    /// Puts a call at its place, for the reason it found, if it was asked about; tells whether that is the first place of its class.
    pub fn push(&mut self, call: Call, waiter: W, now: Time, reason: Option<Blocked>) -> (Ticket, bool) {
        if let Some(reason) = reason {
            self.block(reason);
        }
        self.arrivals += 1;
        let rank = Rank::new(now, call.priority, self.arrivals);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 waiting calls")
        });
        let ticket = Ticket { slot, generation: self.slots[slot as usize].generation };
        let counter = self.tenants.enter(call.tenant);
        self.classes[call.class.0].push(&call, counter, rank, ticket);
        if let Some(deadline) = call.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        let is_head = self.classes[call.class.0].first().is_some_and(|head| head.ticket == ticket);
        self.slots[slot as usize].entry = Some(Entry { call, rank, waiter, is_out: false });
        (ticket, is_head)
    }

    /// Takes a call out, wherever it stands; None if it does not wait any more.
    pub fn remove(&mut self, ticket: Ticket) -> Option<(Call, W)> {
        let slot =
            self.slots.get_mut(ticket.slot as usize).filter(|slot| slot.generation == ticket.generation)?;
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(ticket.slot);
        let call = &entry.call;
        let counter = self.tenants.leave(call.tenant);
        if !entry.is_out {
            self.classes[call.class.0].remove(call, counter, entry.rank);
        }
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if self.is_empty() {
            self.unblock();
        }
        Some((entry.call, entry.waiter))
    }

    /// Takes a call out of its line for as long as it is asked about elsewhere, and charges its tenant as if it started, so that the next
    /// in turn is the right one. It keeps its ticket. Returns whom it was charged to.
    pub fn lend(&mut self, ticket: Ticket) -> Option<Loan> {
        let entry = self.slots[ticket.slot as usize].entry.as_mut()?;
        let (call, rank) = (entry.call, entry.rank);
        entry.is_out = true;
        self.classes[call.class.0].remove(&call, self.tenants.served(call.tenant), rank);
        if !self.has_tenants() {
            return None;
        }
        let lent = self.tenants.lend(call.tenant, &call.amounts);
        if let Some((_, Some((before, after)))) = lent {
            self.reorder(call.tenant, before, after);
        }
        Some(Loan { tenant: call.tenant, start: lent.map_or(0, |(start, _)| start) })
    }

    /// A call that was lent starts: who comes to the queue from now on is level with its tenant.
    pub fn start(&mut self, loan: Loan) -> TenantId {
        self.tenants.start(loan.start);
        loan.tenant
    }

    /// Puts a call back that has to wait on; false if it waits no longer.
    pub fn put_back(&mut self, ticket: Ticket) -> bool {
        let slot = self.slots.get_mut(ticket.slot as usize);
        let slot = slot.filter(|slot| slot.generation == ticket.generation);
        let Some(entry) = slot.and_then(|slot| slot.entry.as_mut()) else { return false };
        let (call, rank) = (entry.call, entry.rank);
        entry.is_out = false;
        self.classes[call.class.0].push(&call, self.tenants.served(call.tenant), rank, ticket);
        true
    }

    /// Puts all back that are out: nobody asks about them any more.
    pub fn put_all_back(&mut self) {
        let is_out = |slot: &&Slot<W>| slot.entry.as_ref().is_some_and(|entry| entry.is_out);
        let out = (0..).zip(&self.slots).filter(|(_, slot)| is_out(slot));
        let out: Vec<Ticket> = out.map(|(slot, of)| Ticket { slot, generation: of.generation }).collect();
        for ticket in out {
            self.put_back(ticket);
        }
    }

    /// Takes out everybody.
    pub fn clear(&mut self) -> Vec<W> {
        let tickets: Vec<Ticket> = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.entry.is_some())
            .map(|(index, slot)| Ticket { slot: index, generation: slot.generation })
            .collect();
        tickets.into_iter().filter_map(|ticket| self.remove(ticket)).map(|(_, waiter)| waiter).collect()
    }

    /// Books what a call takes of its tenant's share, when it starts; tells whose it was, if tenants are told apart at all.
    pub fn charge(&mut self, tenant: TenantId, amounts: &Amounts) -> Option<TenantId> {
        if !self.has_tenants() {
            return None;
        }
        if let Some((before, after)) = self.tenants.charge(tenant, amounts) {
            self.reorder(tenant, before, after);
        }
        Some(tenant)
    }

    /// Corrects a tenant's share by what a call that was charged to it really took.
    pub fn correct(&mut self, tenant: TenantId, reserved: &Amounts, actual: &Amounts) {
        if let Some((before, after)) = self.tenants.correct(tenant, reserved, actual) {
            self.reorder(tenant, before, after);
        }
    }

    /// Whether tenants are told apart at all, so that shares have an effect.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        self.tenants.are_named()
    }

    /// The first call whose deadline is over, and what it waited for.
    #[must_use]
    pub fn overdue(&self, now: Time) -> Option<(Ticket, Blocked)> {
        let due = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        // What is asked about elsewhere is answered there, and soon.
        let (_, ticket) = due.copied().find(|(_, ticket)| !entry_of(&self.slots, *ticket).is_out)?;
        // What holds up the head of a line need not be on the paths behind it: a cap can be forgotten and made anew between the
        // asking for a lease and the wait for it.
        let obstacle = self.obstacle(&entry_of(&self.slots, ticket).call.path);
        Some((ticket, obstacle.or_else(|| self.blocked.values().next().copied())?))
    }

    /// Starts a round of asking: forgets what was blocked.
    pub fn start_round(&mut self) -> Round {
        self.unblock();
        self.go_on()
    }

    /// Starts a round of asking those whom nothing holds up that is known already.
    #[must_use]
    pub fn go_on(&self) -> Round {
        let classes = (0..).map(ClassId).zip(&self.classes);
        Round(classes.filter_map(|(id, class)| Some(Reverse((class.first()?, id)))).collect())
    }

    /// The fairest call of those that no blocked scope holds up; it has to be removed, or be blocked, before the next is asked for.
    pub fn next(&self, round: &mut Round) -> Option<(Ticket, Call)> {
        loop {
            let mut fairest = round.0.peek_mut()?;
            let Reverse((seen, class)) = *fairest;
            match self.head_from(class, &seen) {
                Some(head) if head == seen => {
                    return Some((head.ticket, entry_of(&self.slots, head.ticket).call));
                }
                Some(head) => fairest.0.0 = head,
                None => drop(PeekMut::pop(fairest)),
            }
        }
    }

    /// Whether a call is the first to be asked about, of those whom nothing holds up that is known already.
    #[must_use]
    pub fn is_next(&self, ticket: Ticket) -> bool {
        self.next(&mut self.go_on()).is_some_and(|(next, _)| next == ticket)
    }

    /// Notes that there is no room for a call.
    pub fn block(&mut self, reason: Blocked) {
        let first = self.ask_again_at.map_or(reason.ask_again_at, |first| first.min(reason.ask_again_at));
        self.ask_again_at = Some(first);
        self.blocked.insert(reason.scope, reason);
    }

    /// The scopes that those who wait fall under.
    #[must_use]
    pub fn awaited(&self) -> HashSet<ScopeId> {
        let waiting = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        waiting.flat_map(|entry| entry.call.path.scopes()).copied().collect()
    }

    fn unblock(&mut self) {
        self.blocked.clear();
        self.ask_again_at = None;
    }

    /// The head of a class, unless a blocked scope holds it up: whoever stands before `seen` is held up already.
    fn head_from(&self, class: ClassId, seen: &Head) -> Option<Head> {
        let class = &self.classes[class.0];
        if self.obstacle(class.path()).is_some() {
            return None;
        }
        let mut heads = class.heads_from(seen);
        heads.find(|head| self.obstacle(&entry_of(&self.slots, head.ticket).call.path).is_none()).copied()
    }

    fn classes_under(&self, scope: ScopeId) -> impl Iterator<Item = &Class> {
        self.classes.iter().filter(move |class| class.path().scopes().contains(&scope))
    }

    fn reorder(&mut self, tenant: TenantId, before: u64, after: u64) {
        for class in &mut self.classes {
            class.reorder(tenant, before, after);
        }
    }
}

/// One round of asking, from [`Queue::start_round`] until nobody is left to ask: the heads of the classes as they were last
/// seen. Nobody moves forward in a round, so the first that still stands where it was seen is the fairest.
#[derive(Debug)]
pub struct Round(BinaryHeap<Reverse<(Head, ClassId)>>);

fn entry_of<W>(slots: &[Slot<W>], ticket: Ticket) -> &Entry<W> {
    slots[ticket.slot as usize].entry.as_ref().expect("a ticket in a class has an entry")
}
