//! The extremes of a number since any past moment, in constant space.

use std::cmp::Ordering;

use crate::bytes::Bytes;
use crate::clock::Time;

/// How many are kept. With more, the oldest two merge to the more extreme of them: for lows that gives back less, never more.
pub(crate) const KEPT: usize = 8;

/// The lowest, or the highest, values since past moments: entries of rising time, each less extreme than the one before.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    entries: [(Time, u128); KEPT],
    len: usize,
    extreme: Ordering,
}

impl Bytes for Marks {
    fn write(&self, out: &mut Vec<u8>) {
        (self.extreme == Ordering::Less).write(out);
        self.entries[..self.len].to_vec().write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut marks = if bool::read(from)? { Self::lows() } else { Self::highs() };
        let entries = Vec::<(Time, u128)>::read(from)?;
        marks.len = entries.len();
        marks.entries.get_mut(..entries.len())?.copy_from_slice(&entries);
        Some(marks)
    }
}

impl Marks {
    pub(super) fn lows() -> Self {
        Self { entries: Default::default(), len: 0, extreme: Ordering::Less }
    }

    pub(super) fn highs() -> Self {
        Self { extreme: Ordering::Greater, ..Self::lows() }
    }

    pub(super) fn entries(&self) -> &[(Time, u128)] {
        &self.entries[..self.len]
    }

    /// Puts these entries in the place of all; false, and nothing is done, for more than are kept.
    pub(super) fn replace(&mut self, entries: &[(Time, u128)]) -> bool {
        let Some(places) = self.entries.get_mut(..entries.len()) else { return false };
        places.copy_from_slice(entries);
        self.len = entries.len();
        true
    }

    pub(super) fn record(&mut self, now: Time, value: u128) {
        // The low with which a late bucket starts lies a nanosecond ahead.
        let now = self.entries[..self.len].last().map_or(now, |(last, _)| now.max(*last));
        while self.len > 0 && self.entries[self.len - 1].1.cmp(&value) != self.extreme {
            self.len -= 1;
        }
        if self.len == KEPT {
            let (extreme, later) = (self.entries[0].1, self.entries[1].0);
            self.entries.copy_within(1.., 0);
            self.entries[0] = (later, extreme);
            self.len -= 1;
        }
        self.entries[self.len] = (now, value);
        self.len += 1;
    }

    /// Forgets all, and starts from one value.
    pub(super) fn restart(&mut self, now: Time, value: u128) {
        self.len = 0;
        self.record(now, value);
    }

    /// The same moments with the part of each of so many processes.
    pub(super) fn share_of(&self, processes: u32) -> Self {
        let mut share = self.clone();
        share.entries.iter_mut().for_each(|(_, value)| *value /= u128::from(processes));
        share
    }

    /// The most extreme value after `time`.
    pub(super) fn after(&self, time: Time) -> Option<u128> {
        self.entries[..self.len].iter().find(|(at, _)| *at > time).map(|(_, value)| *value)
    }

    /// The most extreme value at `time` or after it.
    pub(super) fn from(&self, time: Time) -> Option<u128> {
        self.entries[..self.len].iter().find(|(at, _)| *at >= time).map(|(_, value)| *value)
    }

    /// Lowers what was recorded after `time`.
    pub(super) fn lower_after(&mut self, time: Time, by: u128) {
        let later = self.entries[..self.len].partition_point(|(at, _)| *at <= time);
        for entry in &mut self.entries[later..self.len] {
            entry.1 -= by;
        }
        let Some(&(_, lowest)) = self.entries[later..self.len].first() else { return };
        let kept = self.entries[..later].partition_point(|(_, value)| *value < lowest);
        self.entries.copy_within(later..self.len, kept);
        self.len -= later - kept;
    }
}
