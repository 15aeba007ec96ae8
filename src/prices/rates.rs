//! Rates of one model, by kind of token, time and service tier, and what a usage costs by them.
//! Pure integers: pico-USD a token. No names, no tables.

use super::moment::{Moment, When};
use crate::error::{Error, Result};

/// The most of one kind that a call can have used: above it a count is an error.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
/// The dearest a token can be: a dollar.
pub const MAX_RATE: u64 = 1_000_000_000_000;

/// The tier of segments that fill up those of every tier.
pub const FILLER: &str = "+";

/// What is charged apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Input that is nothing of the below.
    Input,
    /// Output that is nothing of the below.
    Output,
    /// Input read from the provider's cache.
    CacheRead,
    /// Input written to it, for minutes.
    CacheWrite,
    /// Input written to it, for an hour or longer.
    CacheWrite1h,
    /// Input that is audio.
    InputAudio,
    /// Output that is audio.
    OutputAudio,
    /// Audio read from the cache.
    CacheReadAudio,
    /// Output that is reasoning.
    Reasoning,
    /// The call itself.
    Request,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::OutputAudio,
        Self::CacheReadAudio,
        Self::Reasoning,
        Self::Request,
    ];

    /// The letter that stands for it in a table.
    #[must_use]
    pub fn from_letter(letter: u8) -> Option<Self> {
        let at = b"iorwhabctq".iter().position(|&known| known == letter)?;
        Some(Self::ALL[at])
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::InputAudio => "input_audio",
            Self::OutputAudio => "output_audio",
            Self::CacheReadAudio => "cache_read_audio",
            Self::Reasoning => "reasoning",
            Self::Request => "request",
        }
    }
}

/// A rate, and those above sizes of the whole input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Pico-USD a token.
    pub base: u64,
    /// From the smallest size: input tokens above which the rate is another one, and that rate.
    pub steps: Vec<(u64, u64)>,
}

impl Rate {
    /// The rate for a call with so much input: a step counts from one token more than its size, for all tokens.
    #[must_use]
    pub fn at(&self, input: u64) -> u64 {
        self.steps.iter().rev().find(|(size, _)| input > *size).map_or(self.base, |(_, rate)| *rate)
    }

    /// The dearest for any input up to so much.
    #[must_use]
    pub fn dearest(&self, input: u64) -> u64 {
        let reached = self.steps.iter().filter(|(size, _)| input > *size).map(|(_, rate)| *rate);
        reached.fold(self.base, u64::max)
    }
}

/// Rates that hold under one condition, for one service tier or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The service tier; "" for the standard price, "+" for rates that fill up any of them.
    pub tier: String,
    /// When it holds.
    pub when: When,
    /// By kind.
    pub rates: [Option<Rate>; 10],
}

/// The rates in force at one moment for one tier.
pub type InForce<'a> = [Option<&'a Rate>; 10];

/// What a call used, in tokens: the parts are in the wholes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts<'a> {
    /// All input.
    pub input: u64,
    /// All output.
    pub output: u64,
    /// Of the input, read from the cache.
    pub cache_read: u64,
    /// Of the input, written to the cache.
    pub cache_write: u64,
    /// Of the output, reasoning.
    pub reasoning: u64,
    /// Of what was written, for an hour or longer.
    pub cache_write_1h: u64,
    /// Of the input, audio.
    pub input_audio: u64,
    /// Of the output, audio.
    pub output_audio: u64,
    /// Of what was read from the cache, audio.
    pub cache_read_audio: u64,
    /// The service tier; "" is the standard one.
    pub tier: &'a str,
}

/// One line of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is charged.
    pub kind: Kind,
    /// How many.
    pub tokens: u64,
    /// Pico-USD each.
    pub rate: u64,
}

/// What a usage costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Pico-USD in all.
    pub total: u128,
    /// What it is made of; kinds without tokens have no line.
    pub lines: Vec<Line>,
}

/// The standard price at that moment: the last one that holds, else the first.
#[must_use]
pub fn standard(segments: &[Segment], at: Moment) -> Option<&Segment> {
    let mut plain = segments.iter().filter(|segment| segment.tier.is_empty());
    plain.clone().rev().find(|segment| segment.when.holds(at)).or_else(|| plain.next())
}

/// The rates in force: those of the tier, what they leave out from the standard ones, what those leave out from fillers.
#[must_use]
pub fn in_force<'a>(segments: &'a [Segment], tier: &str, at: Moment) -> InForce<'a> {
    let mut rates: InForce<'a> = [None; 10];
    let holding = segments.iter().filter(|segment| !segment.tier.is_empty() && segment.when.holds(at));
    holding.clone().filter(|segment| segment.tier == tier).for_each(|segment| fill(&mut rates, segment));
    if let Some(segment) = standard(segments, at) {
        fill(&mut rates, segment);
    }
    holding.filter(|segment| segment.tier == FILLER).for_each(|segment| fill(&mut rates, segment));
    rates
}

fn fill<'a>(rates: &mut InForce<'a>, segment: &'a Segment) {
    for (rate, more) in rates.iter_mut().zip(&segment.rates) {
        *rate = rate.or(more.as_ref());
    }
}

/// The rate of a kind: its own, else that of the kind it is a part of.
#[must_use]
pub fn rate_of<'a>(rates: &InForce<'a>, kind: Kind) -> Option<&'a Rate> {
    use Kind::{
        CacheRead, CacheReadAudio, CacheWrite, CacheWrite1h, Input, InputAudio, Output, OutputAudio,
        Reasoning, Request,
    };
    let order: &[Kind] = match kind {
        Input => &[Input],
        Output => &[Output],
        CacheRead => &[CacheRead, Input],
        CacheWrite => &[CacheWrite, Input],
        CacheWrite1h => &[CacheWrite1h, CacheWrite, Input],
        InputAudio => &[InputAudio, Input],
        CacheReadAudio => &[CacheReadAudio, CacheRead, InputAudio, Input],
        OutputAudio => &[OutputAudio, Output],
        Reasoning => &[Reasoning, Output],
        Request => &[Request],
    };
    order.iter().find_map(|&kind| rates[kind as usize])
}

impl Counts<'_> {
    /// Refuses counts that no call can have.
    ///
    /// # Errors
    /// The part that is larger than its whole, or the count above [`MAX_TOKENS`].
    pub fn check(&self) -> Result<()> {
        let limits = [
            ("input_tokens", self.input, MAX_TOKENS, "10**12"),
            ("output_tokens", self.output, MAX_TOKENS, "10**12"),
            ("cache_read_tokens", self.cache_read, self.input, "input_tokens"),
            ("cache_write_tokens", self.cache_write, self.input, "input_tokens"),
            (
                "cache_read_tokens",
                self.cache_read + self.cache_write.min(self.input),
                self.input,
                "input_tokens together with cache_write_tokens",
            ),
            ("reasoning_tokens", self.reasoning, self.output, "output_tokens"),
            ("cache_write_1h_tokens", self.cache_write_1h, self.cache_write, "cache_write_tokens"),
            ("input_audio_tokens", self.input_audio, self.input, "input_tokens"),
            ("output_audio_tokens", self.output_audio, self.output, "output_tokens"),
            ("cache_read_audio_tokens", self.cache_read_audio, self.cache_read, "cache_read_tokens"),
            ("cache_read_audio_tokens", self.cache_read_audio, self.input_audio, "input_audio_tokens"),
        ];
        let wrong = limits.into_iter().find(|(_, count, most, _)| count > most);
        wrong.map_or(Ok(()), |(field, count, _, whole)| {
            Err(Error::invalid(format!("usage.{field}"), format!("at most {whole}"), count))
        })
    }

    /// The tokens of each kind, none of them twice.
    ///
    /// What is both audio and written to the cache, or both audio and reasoning, providers do not tell: it counts as
    /// written, or as reasoning.
    fn kinds(&self) -> [(Kind, u64); 9] {
        let fresh = self.input - self.cache_read - self.cache_write;
        let audio = (self.input_audio - self.cache_read_audio).min(fresh);
        let spoken = self.output_audio.min(self.output - self.reasoning);
        [
            (Kind::Input, fresh - audio),
            (Kind::CacheRead, self.cache_read - self.cache_read_audio),
            (Kind::CacheReadAudio, self.cache_read_audio),
            (Kind::CacheWrite, self.cache_write - self.cache_write_1h),
            (Kind::CacheWrite1h, self.cache_write_1h),
            (Kind::InputAudio, audio),
            (Kind::Output, self.output - self.reasoning - spoken),
            (Kind::Reasoning, self.reasoning),
            (Kind::OutputAudio, spoken),
        ]
    }
}

/// What that usage costs; `None` if it has tokens of a kind that nothing prices.
///
/// # Errors
/// Counts that no call can have.
pub fn bill(segments: &[Segment], usage: &Counts<'_>, at: Moment) -> Result<Option<Bill>> {
    usage.check()?;
    let rates = in_force(segments, usage.tier, at);
    let mut bill = Bill { total: 0, lines: Vec::with_capacity(4) };
    let request = rates[Kind::Request as usize].map(|_| (Kind::Request, 1));
    for (kind, tokens) in usage.kinds().into_iter().filter(|(_, tokens)| *tokens > 0).chain(request) {
        let Some(rate) = rate_of(&rates, kind) else { return Ok(None) };
        let rate = rate.at(usage.input);
        bill.total += u128::from(tokens) * u128::from(rate);
        bill.lines.push(Line { kind, tokens, rate });
    }
    Ok(Some(bill))
}
