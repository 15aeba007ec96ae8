//! What the processes share of one scope beside its state: who holds what, and whose turn it is. Pure.
//!
//! Permits are held by processes, not by calls: so the state does not grow with the calls, and a process that is gone gives all that
//! it held back at once. The queue of calls stays in each process; its head alone stands in the line here, with those of the others,
//! first come first served, so that each process gets its turn and no small call passes a large one for ever.

use std::sync::Arc;

use crate::bytes::{Bytes, bytes_of_fields};
use crate::clock::Time;
use crate::quota::{Amounts, Quota};
use crate::store::PLACE_KEPT;
use crate::store::outage::Held;
use crate::store::scope::Scope;

/// A process as the file knows it; never given twice.
pub(super) type ProcessId = u64;

/// What a process holds of a scope.
#[derive(Clone, Debug, PartialEq)]
struct Holder {
    process: ProcessId,
    permits: u32,
    amounts: Amounts,
}

bytes_of_fields!(Holder { process, permits, amounts });

/// The place of a process in the line.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    process: ProcessId,
    since: Time,
    kept_until: Time,
    amounts: Amounts,
}

bytes_of_fields!(Place { process, since, kept_until, amounts });

/// Beside the state of one scope.
#[derive(Clone, Debug)]
pub(super) struct Around {
    /// What was last configured, whoever did it.
    pub(super) quota: Quota,
    holders: Vec<Holder>,
    line: Vec<Place>,
}

bytes_of_fields!(Around { quota, holders, line });

impl Around {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, holders: Vec::new(), line: Vec::new() }
    }

    /// A call of a process starts: it has had its turn.
    pub(super) fn took(&mut self, process: ProcessId, amounts: &Amounts) {
        self.line.retain(|place| place.process != process);
        match self.holders.iter_mut().find(|holder| holder.process == process) {
            Some(holder) => {
                holder.permits += 1;
                holder.amounts = holder.amounts.plus(amounts);
            }
            None => self.holders.push(Holder { process, permits: 1, amounts: *amounts }),
        }
    }

    /// A call of a process is over.
    pub(super) fn gave_back(&mut self, process: ProcessId, amounts: &Amounts) {
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.process == process) {
            holder.permits = holder.permits.saturating_sub(1);
            holder.amounts = holder.amounts.minus(amounts);
        }
        self.holders.retain(|holder| holder.permits > 0);
    }

    /// A process tells anew what it holds; `before` is what was known of it.
    pub(super) fn holds_instead(&mut self, process: ProcessId, before: &Held, held: &Held) {
        let known = self.holders.iter().find(|holder| holder.process == process);
        let (permits, amounts) = known.map_or_else(Default::default, |known| (known.permits, known.amounts));
        let permits = permits.saturating_sub(before.permits) + held.permits;
        let amounts = amounts.minus(&before.amounts).plus(&held.amounts);
        self.holders.retain(|holder| holder.process != process);
        if permits > 0 {
            self.holders.push(Holder { process, permits, amounts });
        }
    }

    /// A process is gone: gives back what it held; tells whether anything has changed.
    pub(super) fn is_gone(&mut self, process: ProcessId, scope: &mut Scope) -> bool {
        let before = (self.holders.len(), self.line.len());
        for holder in self.holders.iter().filter(|holder| holder.process == process) {
            scope.release_all(holder.permits, &holder.amounts);
        }
        self.holders.retain(|holder| holder.process != process);
        self.line.retain(|place| place.process != process);
        before != (self.holders.len(), self.line.len())
    }

    /// Gives a process a place at the end of the line, or keeps the one it has. Returns until when.
    pub(super) fn stand(&mut self, process: ProcessId, amounts: &Amounts, now: Time) -> Time {
        self.line.retain(|place| place.kept_until > now);
        let kept_until = now + PLACE_KEPT;
        match self.line.iter_mut().find(|place| place.process == process) {
            Some(place) => (place.kept_until, place.amounts) = (kept_until, *amounts),
            None => self.line.push(Place { process, since: now, kept_until, amounts: *amounts }),
        }
        kept_until
    }

    /// Takes a process out of the line.
    pub(super) fn leave(&mut self, process: ProcessId) {
        self.line.retain(|place| place.process != process);
    }

    /// What those ask for together who stand before a process; None if nobody does.
    pub(super) fn ahead_of(&self, process: ProcessId, now: Time) -> Option<Amounts> {
        let own = self.line.iter().find(|place| place.process == process);
        let others = self.line.iter().filter(|place| {
            let is_before = own.is_none_or(|own| (place.since, place.process) < (own.since, own.process));
            place.process != process && place.kept_until > now && is_before
        });
        others.map(|place| place.amounts).reduce(|sum, amounts| sum.plus(&amounts))
    }
}

/// A row of the file.
pub(super) fn write(around: &Around, scope: &Scope) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    around.write(&mut out);
    scope.write(&mut out);
    out
}

/// What a row of the file says; None if it is damaged.
pub(super) fn read(name: Arc<str>, mut bytes: &[u8]) -> Option<(Around, Scope)> {
    let row = (Around::read(&mut bytes)?, Scope::read(name, &mut bytes)?);
    bytes.is_empty().then_some(row)
}
