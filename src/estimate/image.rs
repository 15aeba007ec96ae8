//! What images cost, by their size in pixels, and the size as the file's first bytes tell it.
//! Nothing is decoded beyond the header; an image whose size is not found costs as a typical large one.

/// Base, tile and low-detail prices of GPT-4o's vision; other models scale them, which the correction learns
/// ([images and vision][1]).
///
/// [1]: https://platform.openai.com/docs/guides/images-vision
const OPENAI_BASE: u64 = 85;
const OPENAI_TILE: u64 = 170;
const OPENAI_TILE_PIXELS: f64 = 512.0;
const OPENAI_LONG_SIDE: f64 = 2048.0;
const OPENAI_SHORT_SIDE: f64 = 768.0;

/// Anthropic divides the area by 750 and scales down what is longer than 1568 pixels or costs more than about 1600
/// tokens ([vision][1]).
///
/// [1]: https://platform.claude.com/docs/en/build-with-claude/vision
const ANTHROPIC_LONG_SIDE: f64 = 1568.0;
const ANTHROPIC_PIXELS_A_TOKEN: f64 = 750.0;
const ANTHROPIC_MOST: u64 = 1600;

/// How far a JPEG's size is looked for: previews embedded in front of it can be long.
const JPEG_SEGMENTS: usize = 256;

/// How closely the model looks at an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// One small picture at a fixed price.
    Low,
    /// Tiles of 512 pixels; also what `auto` mostly becomes.
    #[default]
    High,
}

/// Width and height in pixels, both above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Tokens of an image for GPT-4o: 85, and 170 a tile; of unknown size, as 1024 x 1024 (765).
#[must_use]
pub fn openai_image(size: Option<Size>, detail: Detail) -> u64 {
    if detail == Detail::Low {
        return OPENAI_BASE;
    }
    let size = size.unwrap_or(Size { width: 1024, height: 1024 });
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let fit = (OPENAI_LONG_SIDE / width.max(height)).min(1.0);
    let fit = fit * (OPENAI_SHORT_SIDE / (width.min(height) * fit)).min(1.0);
    let tiles = |side: f64| whole((side * fit / OPENAI_TILE_PIXELS).ceil().max(1.0));
    OPENAI_BASE + OPENAI_TILE * tiles(width) * tiles(height)
}

/// Tokens of an image for Anthropic: the area / 750, at most about 1600, which is also the price of unknown size.
#[must_use]
pub fn anthropic_image(size: Option<Size>) -> u64 {
    let Some(size) = size else { return ANTHROPIC_MOST };
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let fit = (ANTHROPIC_LONG_SIDE / width.max(height)).min(1.0);
    whole((width * fit * height * fit / ANTHROPIC_PIXELS_A_TOKEN).ceil()).clamp(1, ANTHROPIC_MOST)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, whole and positive")]
fn whole(value: f64) -> u64 {
    value as u64
}

impl Size {
    /// The size that the header of a PNG, JPEG, GIF or WebP file tells.
    #[must_use]
    pub fn of_file(file: &[u8]) -> Option<Self> {
        Self::read(&|at| file.get(at).copied())
    }

    /// The same for a file in base64 (without line breaks), of which only the header is decoded.
    #[must_use]
    pub fn of_base64(text: &[u8]) -> Option<Self> {
        Self::read(&|at| base64_byte(text, at))
    }

    fn read(byte: &dyn Fn(usize) -> Option<u8>) -> Option<Self> {
        let is = |at: usize, magic: &[u8]| magic.iter().enumerate().all(|(i, b)| byte(at + i) == Some(*b));
        let (width, height) = if is(0, b"\x89PNG\r\n\x1a\n") {
            (big(byte, 16, 4)?, big(byte, 20, 4)?)
        } else if is(0, b"GIF8") {
            (little(byte, 6, 2)?, little(byte, 8, 2)?)
        } else if is(0, b"RIFF") && is(8, b"WEBP") {
            webp(byte)?
        } else if is(0, b"\xFF\xD8") {
            jpeg(byte)?
        } else {
            return None;
        };
        (width > 0 && height > 0).then_some(Self { width, height })
    }
}

/// The three kinds of WebP: lossy, lossless and extended.
fn webp(byte: &dyn Fn(usize) -> Option<u8>) -> Option<(u32, u32)> {
    match byte(15)? {
        b' ' => Some((little(byte, 26, 2)? & 0x3FFF, little(byte, 28, 2)? & 0x3FFF)),
        b'L' => {
            let bits = little(byte, 21, 4)?;
            Some(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        }
        b'X' => Some((little(byte, 24, 3)? + 1, little(byte, 27, 3)? + 1)),
        _ => None,
    }
}

/// Steps over the segments to the frame header (SOF0 to SOF15 without the tables C4, C8 and CC).
fn jpeg(byte: &dyn Fn(usize) -> Option<u8>) -> Option<(u32, u32)> {
    let mut at = 2;
    for _ in 0..JPEG_SEGMENTS {
        if byte(at)? != 0xFF {
            return None;
        }
        match byte(at + 1)? {
            0xFF => at += 1,
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Some((big(byte, at + 7, 2)?, big(byte, at + 5, 2)?));
            }
            _ => at += 2 + usize::try_from(big(byte, at + 2, 2)?).ok()?,
        }
    }
    None
}

fn big(byte: &dyn Fn(usize) -> Option<u8>, at: usize, length: usize) -> Option<u32> {
    (at..at + length).try_fold(0, |sum, at| Some(sum << 8 | u32::from(byte(at)?)))
}

fn little(byte: &dyn Fn(usize) -> Option<u8>, at: usize, length: usize) -> Option<u32> {
    (at..at + length).rev().try_fold(0, |sum, at| Some(sum << 8 | u32::from(byte(at)?)))
}

/// One byte of what a base64 text encodes: any place in it is found without decoding what stands before.
fn base64_byte(text: &[u8], at: usize) -> Option<u8> {
    let first = at / 3 * 4 + at % 3;
    let (high, low) = (base64_value(*text.get(first)?)?, base64_value(*text.get(first + 1)?)?);
    Some(match at % 3 {
        0 => high << 2 | low >> 4,
        1 => high << 4 | low >> 2,
        _ => high << 6 | low,
    })
}

fn base64_value(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
