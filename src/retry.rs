//! What follows a failure: another attempt after a wait, or giving up. Backoff, jitter and what a provider asks for.
//! No HTTP, no clock and no dice: the caller brings what failed, how long it has tried, and a random number.

mod budget;

use std::time::Duration;

pub use budget::{CAPACITY, REFUSED_COST, RetryBudget, TRICKLE, UNSURE_COST};

use crate::error::{Error, Result};

/// The longest wait a provider is believed to ask for; what is above it is another unit, or a date.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24 * 31);
/// How much later than a provider asks a call may come, as a share of that wait, so that not all come at once.
pub const SPREAD: f64 = 0.2;
/// How much later it comes at most.
pub const LONGEST_SPREAD: Duration = Duration::from_secs(5);

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Refused by a rate limit that refills.
    RateLimit,
    /// The provider has too much to do.
    Overload,
    /// Any other error of the provider's.
    ServerError,
    /// No answer in time; the model may have run.
    Timeout,
    /// No connection, or one that broke.
    Connection,
    /// The application itself says that it is worth another attempt.
    Chosen,
    /// Out of money, or of a quota that does not refill in time.
    Exhausted,
    /// More than one request may hold.
    TooLarge,
    /// The provider does not understand the request.
    BadRequest,
    /// The key is wrong, or may not do this.
    Auth,
    /// Nobody knows.
    Unknown,
}

impl Kind {
    /// All of them, those worth another attempt first.
    pub const ALL: [Self; 11] = [
        Self::RateLimit,
        Self::Overload,
        Self::ServerError,
        Self::Timeout,
        Self::Connection,
        Self::Chosen,
        Self::Exhausted,
        Self::TooLarge,
        Self::BadRequest,
        Self::Auth,
        Self::Unknown,
    ];

    /// Whether another attempt could end otherwise.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::RateLimit
            | Self::Overload
            | Self::ServerError
            | Self::Timeout
            | Self::Connection
            | Self::Chosen => true,
            Self::Exhausted | Self::TooLarge | Self::BadRequest | Self::Auth | Self::Unknown => false,
        }
    }

    /// The name users write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Overload => "overload",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Chosen => "chosen",
            Self::Exhausted => "exhausted",
            Self::TooLarge => "too_large",
            Self::BadRequest => "bad_request",
            Self::Auth => "auth",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::invalid("kind", "one of ".to_owned() + &Self::ALL.map(Self::name).join(", "), quoted(name))
        })
    }
}

/// What is known of how long to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// The provider asks for this much at least.
    AtLeast(Duration),
    /// The application wants just this.
    Exactly(Duration),
}

impl Hint {
    /// What a provider's seconds are worth: nothing if they are zero, negative, no number, or more than
    /// [`LONGEST_RETRY_AFTER`].
    #[must_use]
    pub fn from_provider(seconds: f64) -> Self {
        match Duration::try_from_secs_f64(seconds) {
            Ok(wait) if !wait.is_zero() && wait <= LONGEST_RETRY_AFTER => Self::AtLeast(wait),
            _ => Self::None,
        }
    }
}

/// How waits are spread, so that callers that failed together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Jitter {
    /// Anything from nothing to the backoff.
    #[default]
    Full,
    /// Half the backoff, and anything up to the other half.
    Equal,
    /// Anything from the first backoff to three times the last wait.
    Decorrelated,
}

impl Jitter {
    const ALL: [Self; 3] = [Self::Full, Self::Equal, Self::Decorrelated];

    /// The name users write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Equal => "equal",
            Self::Decorrelated => "decorrelated",
        }
    }

    /// The jitter of that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|jitter| jitter.name() == name)
            .ok_or_else(|| Error::invalid("jitter", "full, equal or decorrelated", quoted(name)))
    }
}

/// How far one call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The attempt that has failed, from 1.
    pub attempt: u32,
    /// Since the first attempt began.
    pub elapsed: Duration,
    /// The wait before this attempt; zero before the first.
    pub last_wait: Duration,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another attempt after this wait.
    RetryAfter(Duration),
    /// The failure is the answer.
    GiveUp(Reason),
}

/// Why there is no other attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It would fail again.
    Kind,
    /// All attempts are used.
    Attempts,
    /// The next one would start after the time allowed.
    Timeout,
    /// The provider asks for more time than is left: to wait would be in vain.
    RetryAfter,
    /// The retry budget is empty.
    Budget,
}

impl Reason {
    /// One word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Attempts => "attempts",
            Self::Timeout => "timeout",
            Self::RetryAfter => "retry_after",
            Self::Budget => "budget",
        }
    }
}

/// When to try again: how often, for how long, and how the waits grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    attempts: Option<u32>,
    timeout: Option<Duration>,
    wait_initial: Duration,
    wait_max: Duration,
    jitter: Jitter,
}

impl Default for Policy {
    /// Ten attempts that start within 120 s, full jitter from 1 s to 30 s: its waits, 75 s in the mean, outlast the minute in which
    /// providers count, and a second one.
    fn default() -> Self {
        Self {
            attempts: Some(10),
            timeout: Some(Duration::from_mins(2)),
            wait_initial: Duration::from_secs(1),
            wait_max: Duration::from_secs(30),
            jitter: Jitter::Full,
        }
    }
}

impl Policy {
    /// At most so many attempts, all of which start within `timeout` of the first; None sets no bound.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no attempts, the first backoff is zero, or `wait_max` is below it.
    pub fn new(
        attempts: Option<u32>,
        timeout: Option<Duration>,
        wait_initial: Duration,
        wait_max: Duration,
        jitter: Jitter,
    ) -> Result<Self> {
        if attempts == Some(0) {
            return Err(Error::invalid("attempts", "a whole number from 1", 0));
        }
        if wait_initial.is_zero() {
            return Err(Error::invalid("wait_initial", "a duration above 0", 0));
        }
        if wait_max < wait_initial {
            let expected = format!("at least wait_initial, {} s", wait_initial.as_secs_f64());
            return Err(Error::invalid("wait_max", expected, wait_max.as_secs_f64()));
        }
        Ok(Self { attempts, timeout, wait_initial, wait_max, jitter })
    }

    /// How many attempts there are at most.
    #[must_use]
    pub const fn attempts(&self) -> Option<u32> {
        self.attempts
    }

    /// The time within which attempts start.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The first backoff.
    #[must_use]
    pub const fn wait_initial(&self) -> Duration {
        self.wait_initial
    }

    /// The longest backoff.
    #[must_use]
    pub const fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// How waits are spread.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// What follows the failure of an attempt; `random` is evenly spread from 0 to 1.
    ///
    /// ```
    /// use ratekeeper::retry::{Decision, Hint, Kind, Policy, Progress, Reason};
    /// use std::time::Duration;
    ///
    /// let policy = Policy::default();
    /// let first = Progress { attempt: 1, elapsed: Duration::from_secs(2), last_wait: Duration::ZERO };
    /// let after = |hint| policy.decide(Kind::RateLimit, hint, &first, 0.5);
    /// assert_eq!(after(Hint::None), Decision::RetryAfter(Duration::from_millis(500)));
    /// assert_eq!(after(Hint::from_provider(8.0)), Decision::RetryAfter(Duration::from_millis(8800)));
    /// assert_eq!(after(Hint::from_provider(3600.0)), Decision::GiveUp(Reason::RetryAfter));
    /// ```
    #[must_use]
    pub fn decide(&self, kind: Kind, hint: Hint, progress: &Progress, random: f64) -> Decision {
        if !kind.is_retryable() {
            return Decision::GiveUp(Reason::Kind);
        }
        if self.attempts.is_some_and(|most| progress.attempt >= most) {
            return Decision::GiveUp(Reason::Attempts);
        }
        let left = self.timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(progress.elapsed));
        let wait = match hint {
            Hint::AtLeast(asked) if asked > left => return Decision::GiveUp(Reason::RetryAfter),
            // The spread is given up before the attempt is.
            Hint::AtLeast(asked) => {
                asked.saturating_add(spread(asked, random)).min(left).max(self.backoff(progress, random))
            }
            Hint::Exactly(wait) => wait,
            Hint::None => self.backoff(progress, random),
        };
        let is_over = self.timeout.is_some() && left.is_zero();
        if is_over || wait > left { Decision::GiveUp(Reason::Timeout) } else { Decision::RetryAfter(wait) }
    }

    fn backoff(&self, progress: &Progress, random: f64) -> Duration {
        let doublings = progress.attempt.saturating_sub(1);
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let backoff = self.wait_initial.saturating_mul(factor).min(self.wait_max);
        match self.jitter {
            Jitter::Full => share(backoff, random),
            Jitter::Equal => backoff / 2 + share(backoff.saturating_sub(backoff / 2), random),
            Jitter::Decorrelated => {
                let top = progress.last_wait.max(self.wait_initial).saturating_mul(3);
                (self.wait_initial + share(top.saturating_sub(self.wait_initial), random)).min(self.wait_max)
            }
        }
    }
}

/// How much later than asked a call comes.
pub(crate) fn spread(asked: Duration, random: f64) -> Duration {
    share(share(asked, SPREAD).min(LONGEST_SPREAD), random)
}

/// That part of a length; all of it if the part is not from 0 to 1.
fn share(length: Duration, part: f64) -> Duration {
    if (0.0..1.0).contains(&part) {
        Duration::try_from_secs_f64(length.as_secs_f64() * part).map_or(length, |share| share.min(length))
    } else {
        length
    }
}

fn quoted(name: &str) -> String {
    format!("{name:?}")
}
