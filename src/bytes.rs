//! State as bytes and back, so that a store outside this process can keep it: pure functions of the value.
//! No I/O, and no versions: whoever stores the bytes says of which version they are.
//!
//! Whole numbers take seven bits a byte, lowest first; floats their eight bytes; an option or a list says first whether
//! or how often. What was not written by us reads as None, never as another state.

use std::time::Duration;

use crate::clock::Time;
use crate::quota::{Amounts, Dimension};

/// What has a form in bytes.
pub(crate) trait Bytes: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes a value from the front; None if there is none.
    fn read(from: &mut &[u8]) -> Option<Self>;
}

/// Gives a struct a form in bytes: that of its fields, one after the other.
macro_rules! bytes_of_fields {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::bytes::Bytes for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::bytes::Bytes::write(&self.$field, out);)+
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::bytes::Bytes::read(from)?;)+
                Some(Self { $($field),+ })
            }
        }
    };
}

/// Gives an enum without fields a form in bytes: the place of its variant in the list.
macro_rules! bytes_of_variants {
    ($type:ty [ $($variant:ident),+ $(,)? ]) => {
        impl $crate::bytes::Bytes for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let place = [$(Self::$variant),+].iter().position(|variant| variant == self);
                out.extend(place.and_then(|place| u8::try_from(place).ok()));
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                let place: u8 = $crate::bytes::Bytes::read(from)?;
                [$(Self::$variant),+].get(usize::from(place)).copied()
            }
        }
    };
}

pub(crate) use {bytes_of_fields, bytes_of_variants};

impl Bytes for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

impl Bytes for u128 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest > 0x7f {
            out.push(low_byte(rest) | 0x80);
            rest >>= 7;
        }
        out.push(low_byte(rest));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut value = 0;
        for shift in (0..Self::BITS).step_by(7) {
            let byte = u8::read(from)?;
            let part = Self::from(byte & 0x7f);
            let shifted = part << shift;
            if shifted >> shift != part {
                return None;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the lowest seven bits are what is wanted")]
const fn low_byte(value: u128) -> u8 {
    (value & 0x7f) as u8
}

impl Bytes for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest > 0x7f {
            out.push(low_byte(rest.into()) | 0x80);
            rest >>= 7;
        }
        out.push(low_byte(rest.into()));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut value = 0;
        for shift in (0..Self::BITS).step_by(7) {
            let byte = u8::read(from)?;
            let part = Self::from(byte & 0x7f);
            let shifted = part << shift;
            if shifted >> shift != part {
                return None;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Bytes for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Self::try_from(u64::read(from)?).ok()
    }
}

impl Bytes for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        match u8::read(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Bytes for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let (bytes, rest) = from.split_first_chunk()?;
        *from = rest;
        Some(Self::from_le_bytes(*bytes))
    }
}

impl Bytes for Time {
    fn write(&self, out: &mut Vec<u8>) {
        self.nanos().write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        u64::read(from).map(Self::from_nanos)
    }
}

impl Bytes for Duration {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_nanos().write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        u64::try_from(u128::read(from)?).ok().map(Self::from_nanos)
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        if bool::read(from)? { T::read(from).map(Some) } else { Some(None) }
    }
}

impl<T: Bytes> Bytes for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let len = u64::read(from)?;
        // Every value has a byte at least; a length beyond that is no length.
        (len <= from.len() as u64).then(|| (0..len).map(|_| T::read(from)).collect())?
    }
}

impl<A: Bytes, B: Bytes> Bytes for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

bytes_of_variants!(Dimension [Requests, Tokens, InputTokens, OutputTokens, Concurrency]);
bytes_of_fields!(Amounts { requests, tokens, input_tokens, output_tokens });
