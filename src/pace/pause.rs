//! The pause of one scope: nobody starts before the time told.

use std::time::Duration;

use super::Refusal;
use crate::bytes::bytes_of_fields;
use crate::clock::Time;
use crate::quota::Dimension;
use crate::retry::spread;

/// A pause for which nobody waits ends after this long at the latest, so that one call looks whether the provider meant it.
pub const LONGEST_PROBE_WAIT: Duration = Duration::from_mins(1);
/// The first wait that is guessed where none was told; it doubles with each episode up to [`LONGEST_GUESS`].
const FIRST_GUESS: Duration = Duration::from_secs(1);
/// The least wait after the second refusal in a row; it doubles likewise.
const FIRST_FRUITLESS: Duration = Duration::from_millis(250);
/// However patient callers are, one of them looks after this long whether the provider meant it.
pub const LONGEST_TRUSTED: Duration = Duration::from_mins(10);
/// The longest wait that is guessed. A window that is used up turns within a minute, and half of a longer guess would be lost.
pub const LONGEST_GUESS: Duration = Duration::from_secs(16);

/// Until when a scope is paused, and by what.
#[derive(Clone, Debug, Default)]
pub struct Pause {
    until: Time,
    /// The time that the provider named, which lies behind `until` where nobody would wait for it.
    told: Time,
    /// When the last episode began.
    cut_at: Option<Time>,
    /// Episodes without a success in between.
    episodes: u32,
    /// What ran out, if told.
    dimension: Option<Dimension>,
}

bytes_of_fields!(Pause { until, told, cut_at, episodes, dimension });

impl Pause {
    /// The time before which nobody starts.
    #[must_use]
    pub const fn until(&self) -> Time {
        self.until
    }

    /// The time before which the provider says it is in vain.
    #[must_use]
    pub fn told(&self) -> Time {
        self.told.max(self.until)
    }

    /// What ran out, as far as is known.
    #[must_use]
    pub fn dimension(&self) -> Dimension {
        self.dimension.unwrap_or(Dimension::Requests)
    }

    /// Whether nobody may start.
    #[must_use]
    pub fn is_on(&self, now: Time) -> bool {
        now < self.until
    }

    /// Whether it is longer than callers are willing to wait.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.told > self.until
    }

    /// Whether a refusal of a call sent then begins an episode: what was sent before the last one began belongs to it.
    #[must_use]
    pub fn is_news(&self, sent_at: Time) -> bool {
        self.cut_at.is_none_or(|cut_at| sent_at > cut_at)
    }

    /// When the last episode began, and how many there were without a success in between.
    pub(crate) const fn episodes(&self) -> (Option<Time>, u32) {
        (self.cut_at, self.episodes)
    }

    /// A call was refused. Returns the time at which there is room for it: told, or guessed when an episode begins.
    pub fn refused(&mut self, refusal: &Refusal, sent_at: Time, now: Time) -> Time {
        let is_news = self.is_news(sent_at);
        if is_news {
            self.cut_at = Some(now);
            self.episodes = self.episodes.saturating_add(1);
            self.dimension = refusal.dimension;
        }
        let wait = match refusal.retry_after {
            Some(told) if is_news => told.max(self.fruitless()),
            Some(told) => told,
            None if is_news => self.guess(),
            None => return self.until,
        };
        let ready_at = now + wait;
        if wait > refusal.patience && wait > LONGEST_PROBE_WAIT {
            self.extend(now + LONGEST_PROBE_WAIT);
            self.told = self.told.max(ready_at);
        } else {
            let later = if is_news { spread(wait, refusal.random) } else { Duration::ZERO };
            self.extend((ready_at + later).min(now + LONGEST_TRUSTED));
        }
        ready_at
    }

    /// A call has its answer: what was sent since the last episode began ends the row of them.
    pub fn succeeded(&mut self, sent_at: Time) {
        if self.episodes > 0 && self.is_news(sent_at) {
            self.episodes = 0;
            self.told = Time::ZERO;
        }
    }

    fn extend(&mut self, until: Time) {
        self.until = self.until.max(until);
    }

    /// How long to wait at least after refusals in a row, whatever is told: a wait of milliseconds that does not help is no help.
    fn fruitless(&self) -> Duration {
        let Some(doublings) = self.episodes.checked_sub(2) else { return Duration::ZERO };
        FIRST_FRUITLESS.saturating_mul(1 << doublings.min(16)).min(LONGEST_GUESS)
    }

    fn guess(&self) -> Duration {
        let doublings = self.episodes.saturating_sub(1).min(16);
        FIRST_GUESS.saturating_mul(1 << doublings).min(LONGEST_GUESS)
    }
}
