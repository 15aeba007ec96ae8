//! The state of a scope as the value of its key: one `MessagePack` array that `step.lua` reads and writes too.
//! No I/O; what was not written by us, or by another version, reads as None.
//!
//! Its cold part is ours alone, in the form of [`crate::bytes`]; the hot part says in plain whole numbers what `step.lua` needs, and
//! replaces what the cold part says of it. Lua counts in doubles, so time is in whole microseconds there, and a quantity of
//! [`crate::bucket`] is a pair: whole microseconds, and a rest in microseconds / amount. What we have decided to the nanosecond is rounded
//! so that nothing more is ever granted.

use std::sync::Arc;

use rmp::decode::{read_array_len, read_int, read_str_len};
use rmp::encode::{write_array_len, write_str_len, write_uint};

use super::state::{Member, Place, State};
use crate::bucket::Levels;
use crate::bytes::Bytes;
use crate::clock::Time;
use crate::pace::Flow;
use crate::quota::{Amounts, Dimension, Limit, Quota};
use crate::store::meter::Meter;
use crate::store::scope::Scope;

/// Of the layout of a value and of the batches and replies of the script.
pub(super) const VERSION: u64 = 1;
/// The largest whole number that Lua counts exactly; what is larger is far beyond every time.
pub(super) const MOST: u64 = 1 << 53;
/// Nanoseconds of a microsecond.
const MICRO: u64 = 1_000;
/// What writing to memory cannot do.
const FITS: &str = "memory takes what is written to it";

/// Appends `MessagePack`.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn array(&mut self, len: usize) {
        write_array_len(&mut self.0, u32::try_from(len).unwrap_or(u32::MAX)).expect(FITS);
    }

    pub(super) fn number(&mut self, number: impl Into<u64>) {
        write_uint(&mut self.0, number.into().min(MOST)).expect(FITS);
    }

    pub(super) fn index(&mut self, index: usize) {
        self.number(index as u64);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// As a text, whatever they are: Lua knows one kind of strings only, and the server's `MessagePack` no other.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        write_str_len(&mut self.0, u32::try_from(bytes.len()).unwrap_or(u32::MAX)).expect(FITS);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn amounts(&mut self, amounts: &Amounts) {
        for dimension in Dimension::RATES {
            self.number(amounts.get(dimension));
        }
    }

    /// Rounded down.
    pub(super) fn time(&mut self, time: Time) {
        self.number(time.nanos() / MICRO);
    }

    /// At time zero for none.
    fn moment(&mut self, moment: Option<(Time, Amounts)>) {
        let (at, amounts) = moment.unwrap_or_default();
        self.time(at);
        self.amounts(&amounts);
    }

    /// A quantity of a bucket that is in units of a microsecond x amount.
    fn pair(&mut self, units: u128, amount: u64) {
        let (whole, rest) = (units / u128::from(amount), units % u128::from(amount));
        let whole = u64::try_from(whole).unwrap_or(MOST);
        self.number(whole);
        self.number(if whole < MOST { u64::try_from(rest).expect("less than the amount") } else { 0 });
    }

    fn marks(&mut self, marks: &[(Time, u128)], amount: u64) {
        self.array(3 * marks.len());
        for (at, quantity) in marks {
            // Within the microsecond that begins then, or at its very beginning.
            let (whole, rest) = (at.nanos() / MICRO, at.nanos() % MICRO);
            self.number(2 * whole + u64::from(rest > 0));
            self.pair(quantity / u128::from(MICRO), amount);
        }
    }

    fn meter(&mut self, meter: &Meter) {
        let (limit, levels) = (meter.limit(), meter.bucket().levels());
        let nanos = u64::try_from(limit.period().as_nanos()).expect("a period is at most a month");
        self.array(10);
        self.index(place_of(limit.dimension()));
        self.number(limit.amount());
        self.number(nanos.div_ceil(MICRO));
        self.number(u64::from(nanos % MICRO > 0));
        self.number(limit.burst());
        self.number(meter.largest_call());
        self.pair(levels.tat.div_ceil(MICRO.into()), limit.amount());
        self.marks(&levels.lows, limit.amount());
        self.marks(&levels.highs, limit.amount());
    }

    fn flow(&mut self, flow: &Flow) {
        self.array(23);
        for amounts in [&flow.granted, &flow.ended, &flow.refused] {
            self.amounts(amounts);
        }
        self.time(flow.notes_at);
        self.moment(flow.earlier);
        self.moment(flow.later);
    }

    fn hot(&mut self, scope: &Scope) {
        let (cut_at, episodes) = scope.pause.episodes();
        self.array(9);
        self.number(u64::from(scope.is_exploring()));
        self.number(u64::from(scope.is_cap));
        self.number(scope.permits.limit().unwrap_or(0));
        self.number(scope.permits.held());
        self.number(scope.pause.until().nanos().div_ceil(MICRO));
        self.time(cut_at.unwrap_or_default());
        self.number(episodes);
        self.flow(&scope.flow);
        self.array(scope.meters.len());
        scope.meters.iter().for_each(|meter| self.meter(meter));
    }

    fn member(&mut self, member: &Member) {
        self.array(if member.place.is_some() { 13 } else { 7 });
        self.text(&member.process);
        self.time(member.until);
        self.number(member.permits);
        self.amounts(&member.amounts);
        if let Some(place) = member.place {
            self.time(place.since);
            self.time(place.kept_until);
            self.amounts(&place.amounts);
        }
    }
}

/// Takes `MessagePack` from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array(&mut self) -> Option<u32> {
        read_array_len(&mut self.0).ok()
    }

    /// An array of that many.
    fn fields(&mut self, count: u32) -> Option<()> {
        (self.array()? == count).then_some(())
    }

    fn number(&mut self) -> Option<u64> {
        read_int(&mut self.0).ok()
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(read_str_len(&mut self.0).ok()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn time(&mut self) -> Option<Time> {
        time_of(self.number()?)
    }

    fn amounts(&mut self) -> Option<Amounts> {
        let (requests, tokens) = (self.number()?, self.number()?);
        let (input_tokens, output_tokens) = (self.number()?, self.number()?);
        Some(Amounts { requests, tokens, input_tokens, output_tokens })
    }

    fn moment(&mut self) -> Option<(Time, Amounts)> {
        Some((self.time()?, self.amounts()?))
    }

    /// In nanoseconds x amount.
    fn pair(&mut self, amount: u64) -> Option<u128> {
        let (whole, rest) = (self.number()?, self.number()?);
        let units = u128::from(whole) * u128::from(amount) + u128::from(rest);
        (whole <= MOST && rest < amount).then_some(units * u128::from(MICRO))
    }

    fn marks(&mut self, amount: u64) -> Option<Vec<(Time, u128)>> {
        let len = self.array()?;
        let mut mark = || {
            let at = self.number()?;
            let nanos = time_of(at / 2)?.nanos() + at % 2;
            Some((Time::from_nanos(nanos), self.pair(amount)?))
        };
        (len % 3 == 0).then(|| (0..len / 3).map(|_| mark()).collect())?
    }

    fn meter(&mut self, meter: &mut Meter) -> Option<()> {
        let limit = *meter.limit();
        self.fields(10)?;
        if !self.is_of(&limit)? {
            return None;
        }
        let tat = self.pair(limit.amount())?;
        let (lows, highs) = (self.marks(limit.amount())?, self.marks(limit.amount())?);
        meter.bucket_mut().set_levels(&Levels { tat, lows, highs }).then_some(())
    }

    fn is_of(&mut self, limit: &Limit) -> Option<bool> {
        let (dimension, amount, _period, _odd) =
            (self.number()?, self.number()?, self.number()?, self.number()?);
        let (burst, _largest) = (self.number()?, self.number()?);
        let is_dimension = dimension == place_of(limit.dimension()) as u64;
        Some(is_dimension && (amount, burst) == (limit.amount(), limit.burst()))
    }

    fn flow(&mut self) -> Option<Flow> {
        self.fields(23)?;
        let (granted, ended, refused) = (self.amounts()?, self.amounts()?, self.amounts()?);
        let notes_at = self.time()?;
        let moments = [self.moment()?, self.moment()?];
        let [earlier, later] = moments.map(|moment| (moment.0 > Time::ZERO).then_some(moment));
        Some(Flow { granted, ended, refused, earlier, later, notes_at })
    }

    /// Puts the hot part in the place of what the cold part said of it.
    fn hot(&mut self, scope: &mut Scope) -> Option<()> {
        self.fields(9)?;
        let _is_exotic = self.number()?;
        let _is_cap = self.number()?;
        let _limit = self.number()?;
        scope.permits.set_held(self.small()?);
        let (_until, _cut_at, episodes) = (self.number()?, self.number()?, self.small()?);
        if episodes == 0 {
            scope.pause.succeeded(Time::MAX);
        }
        scope.flow = self.flow()?;
        self.fields(u32::try_from(scope.meters.len()).ok()?)?;
        scope.meters.iter_mut().try_for_each(|meter| self.meter(meter))
    }

    fn member(&mut self) -> Option<Member> {
        let len = self.array()?;
        let process = std::str::from_utf8(self.bytes()?).ok()?.to_owned();
        let (until, permits, amounts) = (self.time()?, self.small()?, self.amounts()?);
        let place = match len {
            7 => None,
            13 => {
                let (since, kept_until) = (self.time()?, self.time()?);
                Some(Place { since, kept_until, amounts: self.amounts()? })
            }
            _ => return None,
        };
        Some(Member { process, until, permits, amounts, place })
    }
}

fn time_of(micros: u64) -> Option<Time> {
    micros.checked_mul(MICRO).map(Time::from_nanos)
}

/// Lua counts from one.
fn place_of(dimension: Dimension) -> usize {
    Dimension::RATES.iter().position(|rate| *rate == dimension).map_or(0, |index| index + 1)
}

impl State {
    /// The value of its key.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut cold = Vec::with_capacity(512);
        self.quota.write(&mut cold);
        self.scope.write(&mut cold);
        let mut out = Writer(Vec::with_capacity(1024));
        out.array(5);
        out.number(VERSION);
        out.number(self.revision);
        out.bytes(&cold);
        out.hot(&self.scope);
        out.array(self.members.len());
        self.members.iter().for_each(|member| out.member(member));
        out.0
    }
}

/// What the value of a key says; None if it is damaged, or of another version.
pub(super) fn decode(name: Arc<str>, bytes: &[u8]) -> Option<State> {
    let mut from = Reader(bytes);
    from.fields(5)?;
    if from.number()? != VERSION {
        return None;
    }
    let (revision, mut cold) = (from.number()?, from.bytes()?);
    let (quota, mut scope) = (Quota::read(&mut cold)?, Scope::read(name, &mut cold)?);
    from.hot(&mut scope)?;
    let members = (0..from.array()?).map(|_| from.member()).collect::<Option<_>>()?;
    (cold.is_empty() && from.0.is_empty()).then_some(State { revision, quota, members, scope })
}
