//! Tokens before the call: an estimate without a vocabulary, and its correction by what came back.
//!
//! No locks, no clock, no Python; the same calls give the same answers. What is what:
//!
//! | value | made by | is |
//! |---|---|---|
//! | counted | [`Tally`] | text, messages and images by fixed rules, the same for everybody |
//! | corrected | [`Learned::corrected`] | counted x what this (model, caller) had before: the best guess of the usage |
//! | reserved | [`Learned::reservation`] | corrected x (1 + margin), the margin from how far the guesses fell short |
//! | output | [`Learned::output`] | the 95th percentile of the last answers |
//!
//! A byte-pair vocabulary would be exact for one model, cost megabytes and be a hundred times slower; what
//! remains of the error after the correction is mostly the caller's own variation.

mod image;
mod learned;
mod pair;
mod text;

pub use image::{Detail, Size, anthropic_image, openai_image};
pub use learned::{Learned, PAIRS};
pub use pair::{COLD_MARGIN, COLD_OUTPUT, FACTORS, MAX_MARGIN, RECENT, Report};
pub use text::Tally;
