//! Arithmetic of one budget: what is spent under some tags, what is reserved, and whether a call still fits.
//! No clock and no lock; the caller brings `now` and holds all budgets of a call at once.

use crate::bytes::bytes_of_fields;

/// What a call may take, or has taken, of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlay {
    /// Money in pico-USD.
    pub pico_usd: u64,
    /// Input and output tokens together.
    pub tokens: u64,
    /// Model calls; further attempts of one are none.
    pub calls: u64,
}

impl Outlay {
    pub(crate) fn add(&mut self, other: Self) {
        self.pico_usd = self.pico_usd.saturating_add(other.pico_usd);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.calls = self.calls.saturating_add(other.calls);
    }

    pub(crate) const fn subtract(&mut self, other: Self) {
        self.pico_usd = self.pico_usd.saturating_sub(other.pico_usd);
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.calls = self.calls.saturating_sub(other.calls);
    }

    pub(crate) const fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Usd => self.pico_usd,
            Measure::Tokens => self.tokens,
            Measure::Calls => self.calls,
        }
    }
}

bytes_of_fields!(Outlay { pico_usd, tokens, calls });

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Money.
    Usd,
    /// Tokens.
    Tokens,
    /// Calls.
    Calls,
}

impl Measure {
    /// All of them, in the order of an [`Outlay`].
    pub const ALL: [Self; 3] = [Self::Usd, Self::Tokens, Self::Calls];

    /// As its user writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::Calls => "calls",
        }
    }
}

/// The most of each measure; None for any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// Pico-USD.
    pub pico_usd: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Calls.
    pub calls: Option<u64>,
}

impl Ceiling {
    pub(crate) const fn of(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Usd => self.pico_usd,
            Measure::Tokens => self.tokens,
            Measure::Calls => self.calls,
        }
    }
}

bytes_of_fields!(Ceiling { pico_usd, tokens, calls });

/// The time that a budget is for, in seconds since the epoch: from `start`, up to but without `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its first moment.
    pub start: f64,
    /// The first moment of the next one.
    pub end: f64,
}

impl Window {
    /// All of time.
    pub const EVER: Self = Self { start: f64::NEG_INFINITY, end: f64::INFINITY };

    /// Whether that moment is in it.
    #[must_use]
    pub fn contains(&self, now: f64) -> bool {
        self.start <= now && now < self.end
    }
}

bytes_of_fields!(Window { start, end });

/// Whether a call fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Fits,
    /// It may, once calls in flight have taken less than they reserved.
    Waits(Measure),
    /// It never will.
    Exceeded(Measure),
    /// The window is over, or a clock that was set back is long before it: it has to be turned first.
    Turns,
}

/// One budget under one set of tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Purse {
    ceiling: Ceiling,
    spent: Outlay,
    reserved: Outlay,
    window: Window,
    turn: u64,
    warn_at: f64,
    has_warned: bool,
}

bytes_of_fields!(Purse { ceiling, spent, reserved, window, turn, warn_at, has_warned });

impl Purse {
    /// Nothing spent. `warn_at` is the share of a ceiling from which a settlement says so.
    #[must_use]
    pub fn new(ceiling: Ceiling, warn_at: f64) -> Self {
        let nothing = Outlay::default();
        let (spent, reserved, window) = (nothing, nothing, Window::EVER);
        Self { ceiling, spent, reserved, window, turn: 0, warn_at, has_warned: false }
    }

    /// What was taken for good in this window.
    #[must_use]
    pub const fn spent(&self) -> Outlay {
        self.spent
    }

    /// What calls in flight may take.
    #[must_use]
    pub const fn reserved(&self) -> Outlay {
        self.reserved
    }

    /// The ceilings in force.
    #[must_use]
    pub const fn ceiling(&self) -> Ceiling {
        self.ceiling
    }

    /// The time it is for.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Which window it is, counted up: what was reserved in an earlier one no longer concerns this one.
    #[must_use]
    pub const fn turn(&self) -> u64 {
        self.turn
    }

    /// A purse as another place tells of it.
    #[must_use]
    pub const fn told(self, spent: Outlay, reserved: Outlay, window: Window, turn: u64) -> Self {
        Self { spent, reserved, window, turn, ..self }
    }

    /// Sets the ceilings, also below what is spent.
    pub const fn set_ceiling(&mut self, ceiling: Ceiling) {
        self.ceiling = ceiling;
        self.has_warned = false;
    }

    /// Whether `asked` fits at `now`; changes nothing.
    #[must_use]
    pub fn verdict(&self, asked: Outlay, now: f64) -> Verdict {
        let Window { start, end } = self.window;
        if now >= end || now < start - (end - start) {
            return Verdict::Turns;
        }
        let mut verdict = Verdict::Fits;
        for measure in Measure::ALL {
            let Some(most) = self.ceiling.of(measure) else { continue };
            // What asks for nothing is not held up by what is used up: a further attempt is no further call.
            if asked.of(measure) == 0 {
                continue;
            }
            let taken = self.spent.of(measure).saturating_add(asked.of(measure));
            if taken > most {
                return Verdict::Exceeded(measure);
            }
            if taken.saturating_add(self.reserved.of(measure)) > most {
                verdict = Verdict::Waits(measure);
            }
        }
        verdict
    }

    /// Takes what `verdict` has found to fit.
    pub fn reserve(&mut self, asked: Outlay) {
        self.reserved.add(asked);
    }

    /// Replaces a reservation by what was taken; whether that was the step past `warn_at`.
    pub fn settle(&mut self, reserved: Outlay, taken: Outlay, turn: u64) -> bool {
        if turn != self.turn {
            return false;
        }
        self.reserved.subtract(reserved);
        self.spent.add(taken);
        if self.has_warned || !self.is_past_warning() {
            return false;
        }
        self.has_warned = true;
        true
    }

    /// Adds what was taken without a reservation, such as by another process before this one.
    pub fn charge(&mut self, taken: Outlay) {
        self.spent.add(taken);
    }

    /// Forgets what is reserved: in a forked child, the calls in flight are the parent's.
    pub fn forget_reserved(&mut self) {
        self.turn += 1;
        self.reserved = Outlay::default();
    }

    /// Begins a window. A later one begins with nothing spent; a clock that was set back takes along what is spent.
    pub fn begin(&mut self, window: Window) {
        if window.start >= self.window.end || self.window == Window::EVER {
            self.turn += 1;
            self.spent = Outlay::default();
            self.reserved = Outlay::default();
            self.has_warned = false;
        }
        self.window = window;
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than a float's digits")]
    fn is_past_warning(&self) -> bool {
        Measure::ALL.into_iter().any(|measure| {
            self.ceiling
                .of(measure)
                .is_some_and(|most| self.spent.of(measure) as f64 >= most as f64 * self.warn_at)
        })
    }
}

/// Reserves `asked` in all of these or in none; otherwise the first that has no room, and why.
///
/// # Errors
/// The place of that purse, and its verdict: one that is used up before one that has to be waited for.
pub fn reserve_all(purses: &mut [&mut Purse], asked: Outlay, now: f64) -> Result<(), (usize, Verdict)> {
    let mut waits = None;
    for (place, purse) in purses.iter().enumerate() {
        match purse.verdict(asked, now) {
            Verdict::Fits => {}
            verdict @ Verdict::Waits(_) => waits = waits.or(Some((place, verdict))),
            verdict => return Err((place, verdict)),
        }
    }
    if let Some(refused) = waits {
        return Err(refused);
    }
    for purse in purses {
        purse.reserve(asked);
    }
    Ok(())
}
