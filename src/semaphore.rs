//! Permits: how many calls of a scope may be in flight.
//! Pure counting: who gets the next permit is the queue's business, who lost one by silence the store's.

use crate::bytes::bytes_of_fields;

/// The permits of one scope; without a limit it only counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Permits {
    limit: Option<u32>,
    held: u32,
}

bytes_of_fields!(Permits { limit, held });

impl Permits {
    /// All permits free.
    #[must_use]
    pub const fn new(limit: Option<u32>) -> Self {
        Self { limit, held: 0 }
    }

    /// What each of so many processes may have of them, one at least, of which `held` are held.
    #[must_use]
    pub fn share_of(&self, processes: u32, held: u32) -> Self {
        Self { limit: self.limit.map(|limit| (limit / processes.max(1)).max(1)), held }
    }

    /// The most that may be held at once.
    #[must_use]
    pub const fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// How many are held. After a cut of the limit this can be more than the limit, until they come back.
    #[must_use]
    pub const fn held(&self) -> u32 {
        self.held
    }

    /// Whether one more may be taken.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.limit.is_none_or(|limit| self.held < limit)
    }

    /// Takes one.
    pub fn take(&mut self) {
        self.held += 1;
    }

    /// Gives one back.
    pub fn give_back(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// Sets how many are held, where somebody else has counted.
    pub(crate) fn set_held(&mut self, held: u32) {
        self.held = held;
    }

    /// Sets how many there are. Held ones stay held.
    pub fn resize(&mut self, limit: Option<u32>) {
        self.limit = limit;
    }
}
