//! What a provider grants and what a call asks: plain values.
//! No state and no time: how much is left is the bucket's business.

use std::fmt;
use std::time::Duration;

use crate::bytes::{Bytes, bytes_of_fields};
use crate::error::{Error, Result};

/// The largest amount or burst a limit may have; above it a number is a typing error rather than a quota.
pub const MAX_AMOUNT: u64 = 1_000_000_000_000;
/// The shortest period of a limit.
pub const MIN_PERIOD: Duration = Duration::from_millis(1);
/// The longest period of a limit.
pub const MAX_PERIOD: Duration = Duration::from_hours(24 * 31);

/// What is counted. Tokens are always LLM tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Calls started.
    Requests,
    /// Tokens in all, as the provider counts them at admission.
    Tokens,
    /// Tokens sent.
    InputTokens,
    /// Tokens produced.
    OutputTokens,
    /// Calls in flight.
    Concurrency,
}

impl Dimension {
    /// The dimensions that flow, and so can have a [`Limit`].
    pub const RATES: [Self; 4] = [Self::Requests, Self::Tokens, Self::InputTokens, Self::OutputTokens];

    /// The name users write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Concurrency => "concurrency",
        }
    }

    /// What one of it is called in a sentence.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::Concurrency => "permits",
        }
    }

    /// The rate dimension of that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no rate dimension has it.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::RATES.into_iter().find(|dimension| dimension.name() == name).ok_or_else(|| {
            Error::invalid(
                "dimension",
                "one of requests, tokens, input_tokens, output_tokens",
                format!("{name:?}"),
            )
        })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one call asks of each rate dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Calls, one as a rule.
    pub requests: u64,
    /// Tokens in all, by the provider's rule of admission: not always input plus output.
    pub tokens: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens produced.
    pub output_tokens: u64,
}

impl Amounts {
    /// The amount of one dimension; a call holds one permit of concurrency.
    #[must_use]
    pub const fn get(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Requests => self.requests,
            Dimension::Tokens => self.tokens,
            Dimension::InputTokens => self.input_tokens,
            Dimension::OutputTokens => self.output_tokens,
            Dimension::Concurrency => 1,
        }
    }

    /// Both together, in every dimension.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }

    /// What remains of these without `other`, in every dimension; never below zero.
    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            tokens: self.tokens.saturating_sub(other.tokens),
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
        }
    }
}

/// One amount per period of one dimension, and how much of it may go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    dimension: Dimension,
    amount: u64,
    period: Duration,
    burst: u64,
}

impl Bytes for Limit {
    fn write(&self, out: &mut Vec<u8>) {
        self.dimension.write(out);
        (self.amount, self.period).write(out);
        self.burst.write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let (dimension, (amount, period)) = Bytes::read(from)?;
        Self::new(dimension, amount, period, Some(Bytes::read(from)?)).ok()
    }
}

impl Limit {
    /// `amount` per `period`; all of it may go at once unless `burst` says less (or more).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a dimension without a rate, zero or absurd amounts, or a period outside 1 ms to 31 days.
    pub fn new(dimension: Dimension, amount: u64, period: Duration, burst: Option<u64>) -> Result<Self> {
        if dimension == Dimension::Concurrency {
            return Err(Error::invalid("dimension", "a rate (concurrency belongs to the quota)", dimension));
        }
        let within = |field: &str, value: u64| match value {
            1..=MAX_AMOUNT => Ok(value),
            _ => Err(Error::invalid(field, format!("a whole number from 1 to {MAX_AMOUNT}"), value)),
        };
        if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
            return Err(Error::invalid("per", "a period from 1 ms to 31 days", format!("{period:?}")));
        }
        let amount = within("amount", amount)?;
        let burst = within("burst", burst.unwrap_or(amount))?;
        Ok(Self { dimension, amount, period, burst })
    }

    /// What is counted.
    #[must_use]
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How much per period.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// The period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// How much may go at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The most one call may ask: a call above the burst is admitted on a full bucket and carries the debt, one above
    /// a whole period's amount would be refused by any provider.
    #[must_use]
    pub fn largest_call(&self) -> u64 {
        self.amount.max(self.burst)
    }

    /// The same limit with a burst smaller by what `span` of the rate gives, but at least one.
    #[must_use]
    pub fn with_headroom(&self, span: Duration) -> Self {
        Self { burst: self.burst.saturating_sub(self.amount_in(span)).max(1), ..*self }
    }

    /// What each of so many processes may have of it: rounded down, but at least one.
    #[must_use]
    pub fn share_of(&self, processes: u32) -> Self {
        let part = |amount: u64| (amount / u64::from(processes.max(1))).max(1);
        Self { amount: part(self.amount), burst: part(self.burst), ..*self }
    }

    /// What flows in that time, rounded up.
    #[must_use]
    pub fn amount_in(&self, span: Duration) -> u64 {
        let amount = u128::from(self.amount).saturating_mul(span.as_nanos()).div_ceil(self.period.as_nanos());
        u64::try_from(amount).unwrap_or(u64::MAX)
    }
}

/// What a provider grants: limits that a call must meet all at once, and concurrency.
///
/// ```
/// # use std::time::Duration;
/// use ratekeeper::quota::{Dimension, Limit, Quota};
///
/// let minute = Duration::from_secs(60);
/// let limits = vec![
///     Limit::new(Dimension::Requests, 500, minute, None)?,
///     Limit::new(Dimension::Tokens, 200_000, minute, None)?,
/// ];
/// let quota = Quota::new(limits, Some(16))?;
/// assert_eq!(quota.limits()[0].burst(), 500);
/// # Ok::<(), ratekeeper::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limits: Vec<Limit>,
    concurrency: Option<u32>,
    headroom: Duration,
}

bytes_of_fields!(Quota { limits, concurrency, headroom });

impl Quota {
    /// A quota of these limits; `concurrency` bounds the calls in flight.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero concurrency, or two limits of one dimension and period.
    pub fn new(limits: Vec<Limit>, concurrency: Option<u32>) -> Result<Self> {
        if concurrency == Some(0) {
            return Err(Error::invalid("concurrency", "a whole number from 1", 0));
        }
        for (i, limit) in limits.iter().enumerate() {
            if limits[..i]
                .iter()
                .any(|other| (other.dimension, other.period) == (limit.dimension, limit.period))
            {
                let which = format!("two limits of {} per {:?}", limit.dimension, limit.period);
                return Err(Error::invalid("limits", "one limit per dimension and period", which));
            }
        }
        Ok(Self { limits, concurrency, headroom: Duration::ZERO })
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Calls in flight at once, if bounded.
    #[must_use]
    pub const fn concurrency(&self) -> Option<u32> {
        self.concurrency
    }

    /// What of each rate is held back from its burst; of limits learned later too.
    #[must_use]
    pub const fn headroom(&self) -> Duration {
        self.headroom
    }

    /// What each of so many processes may have of it.
    #[must_use]
    pub fn share_of(&self, processes: u32) -> Self {
        let limits = self.limits.iter().map(|limit| limit.share_of(processes)).collect();
        let concurrency = self.concurrency.map(|permits| (permits / processes.max(1)).max(1));
        Self { limits, concurrency, ..*self }
    }

    /// The same quota with [`Limit::with_headroom`] on every limit.
    #[must_use]
    pub fn with_headroom(&self, span: Duration) -> Self {
        let limits = self.limits.iter().map(|limit| limit.with_headroom(span)).collect();
        Self { limits, headroom: self.headroom + span, ..*self }
    }
}
