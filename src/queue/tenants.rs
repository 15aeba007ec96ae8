//! What each tenant was served so far, in weighted tokens.

use std::collections::HashMap;
use std::sync::Arc;

use crate::quota::Amounts;

/// An output token weighs two input tokens (Sheng et al., section 3).
const OUTPUT_WEIGHT: u64 = 2;
/// Counters are in 1/65536 of a weighted token, so that shares of weights are fine enough.
const SCALE: f64 = 65536.0;
/// Below this many tenants nobody is forgotten.
const KEPT: usize = 1024;

/// A tenant known to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId {
    slot: u32,
    generation: u32,
}

/// The tenant without a name, whom every queue knows.
const NOBODY: TenantId = TenantId { slot: 0, generation: 0 };

#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    generation: u32,
    served: u64,
    weight: f64,
    waiting: u32,
}

#[derive(Debug)]
pub(super) struct Tenants {
    slots: Vec<Option<Tenant>>,
    by_name: HashMap<Arc<str>, TenantId>,
    free: Vec<u32>,
    generations: u32,
    /// Where the last one served stood before: who has idled starts here.
    level: u64,
    sweep_at: usize,
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            slots: vec![Some(Tenant::new("".into(), NOBODY.generation))],
            by_name: HashMap::new(),
            free: Vec::new(),
            generations: 0,
            level: 0,
            sweep_at: KEPT,
        }
    }
}

impl Tenants {
    /// Whether any tenant has a name.
    pub(super) fn are_named(&self) -> bool {
        !self.by_name.is_empty()
    }

    pub(super) fn intern(&mut self, name: &str) -> TenantId {
        if name.is_empty() {
            return NOBODY;
        }
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        if self.by_name.len() >= self.sweep_at {
            self.sweep();
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 tenants")
        });
        let name: Arc<str> = name.into();
        self.generations = self.generations.wrapping_add(1);
        let id = TenantId { slot, generation: self.generations };
        self.slots[slot as usize] = Some(Tenant::new(name.clone(), id.generation));
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn name(&self, id: TenantId) -> Arc<str> {
        self.get(id).map_or_else(|| "".into(), |tenant| tenant.name.clone())
    }

    pub(super) fn set_weight(&mut self, name: &str, weight: f64) {
        let id = self.intern(name);
        if let Some(tenant) = self.get_mut(id) {
            tenant.weight = weight;
        }
    }

    /// One more of its calls waits; returns where the tenant stands.
    pub(super) fn enter(&mut self, id: TenantId) -> u64 {
        let level = self.level;
        let tenant = self.get_mut(id).expect("a tenant is kept while its call is being made");
        if tenant.waiting == 0 {
            tenant.served = tenant.served.max(level);
        }
        tenant.waiting += 1;
        tenant.served
    }

    /// One of its calls waits no longer; returns where the tenant stands.
    pub(super) fn leave(&mut self, id: TenantId) -> u64 {
        let tenant = self.get_mut(id).expect("a tenant is kept while it waits");
        tenant.waiting -= 1;
        tenant.served
    }

    /// Where a tenant that waits stands.
    pub(super) fn served(&self, id: TenantId) -> u64 {
        self.get(id).expect("a tenant is kept while it waits").served
    }

    /// Adds what a call takes; returns where the tenant stood and stands now if it waits, for then it has moved.
    pub(super) fn charge(&mut self, id: TenantId, amounts: &Amounts) -> Option<(u64, u64)> {
        let (start, moved) = self.lend(id, amounts)?;
        self.start(start);
        moved
    }

    /// The same for a call that may not start yet; tells from where it does ([`Tenants::start`]).
    pub(super) fn lend(&mut self, id: TenantId, amounts: &Amounts) -> Option<(u64, Option<(u64, u64)>)> {
        let level = self.level;
        let tenant = self.get_mut(id)?;
        let before = tenant.served;
        let start = if tenant.waiting == 0 { before.max(level) } else { before };
        // At least one unit, so that whoever is served moves back in the order.
        tenant.served = start.saturating_add(tenant.share(amounts).max(1));
        Some((start, tenant.moved_from(before)))
    }

    /// A call starts: whoever comes now is level with its tenant as it stood.
    pub(super) fn start(&mut self, start: u64) {
        self.level = self.level.max(start);
    }

    /// Replaces what a call was thought to take by what it took; returns the same as [`Tenants::charge`].
    pub(super) fn correct(
        &mut self,
        id: TenantId,
        reserved: &Amounts,
        actual: &Amounts,
    ) -> Option<(u64, u64)> {
        let tenant = self.get_mut(id)?;
        let before = tenant.served;
        tenant.served = before.saturating_add(tenant.share(actual)).saturating_sub(tenant.share(reserved));
        tenant.moved_from(before)
    }

    /// Forgets those who would start level with a newcomer. What was served before matters only as long as somebody waits.
    fn sweep(&mut self) {
        let all = || self.slots.iter().flatten();
        let least = all().filter(|tenant| tenant.waiting > 0).map(|tenant| tenant.served).min();
        let most = || all().map(|tenant| tenant.served).max();
        self.level = self.level.max(least.or_else(most).unwrap_or_default());
        let level = self.level;
        for (index, slot) in (0..).zip(&mut self.slots).skip(1) {
            let is_idle = |tenant: &mut Tenant| {
                tenant.waiting == 0 && tenant.served <= level && tenant.weight.to_bits() == 1.0_f64.to_bits()
            };
            if let Some(tenant) = slot.take_if(is_idle) {
                self.by_name.remove(&tenant.name);
                self.free.push(index);
            }
        }
        self.sweep_at = KEPT.max(2 * self.by_name.len());
    }

    fn get(&self, id: TenantId) -> Option<&Tenant> {
        self.slots.get(id.slot as usize)?.as_ref().filter(|tenant| tenant.generation == id.generation)
    }

    fn get_mut(&mut self, id: TenantId) -> Option<&mut Tenant> {
        self.slots.get_mut(id.slot as usize)?.as_mut().filter(|tenant| tenant.generation == id.generation)
    }
}

impl Tenant {
    fn new(name: Arc<str>, generation: u32) -> Self {
        Self { name, generation, served: 0, weight: 1.0, waiting: 0 }
    }

    fn moved_from(&self, before: u64) -> Option<(u64, u64)> {
        (self.waiting > 0).then_some((before, self.served))
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn share(&self, amounts: &Amounts) -> u64 {
        let split = amounts.input_tokens.saturating_add(amounts.output_tokens.saturating_mul(OUTPUT_WEIGHT));
        let service = split.max(amounts.tokens).max(amounts.requests);
        (service as f64 * SCALE / self.weight) as u64
    }
}
