//! Patterns of model names: `*` is anything, `#` one digit, and each `!` starts a pattern that must not match.
//! Pure; names are in small letters.

/// Whether a name matches.
///
/// ```
/// use ratekeeper::prices::pattern::matches;
/// assert!(matches("gpt-4o-####-##-##", "gpt-4o-2024-05-13"));
/// assert!(!matches("gemini-2.5-pro*!*-tts", "gemini-2.5-pro-tts"));
/// ```
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('!');
    parts.next().is_some_and(|wanted| is_like(wanted.as_bytes(), name.as_bytes()))
        && !parts.any(|excluded| is_like(excluded.as_bytes(), name.as_bytes()))
}

/// One pattern; a `*` that took too little is tried again with one letter more.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&letter) if letter == name[n] || (letter == b'#' && name[n].is_ascii_digit()) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&letter| letter == b'*')
}
