//! Tags as a JSON object of texts, in the order of their names: one label, one text.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::ledger::entry::Text;

/// The object.
pub(super) fn written(tags: &[(Arc<str>, Text)]) -> String {
    let mut json = String::from("{");
    for (place, (name, value)) in tags.iter().enumerate() {
        json.push_str(if place == 0 { "" } else { "," });
        push(&mut json, name);
        json.push(':');
        push(&mut json, value.as_deref().unwrap_or_default());
    }
    json.push('}');
    json
}

fn push(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                json.push('\\');
                json.push(character);
            }
            '\0'..='\x1f' => write!(json, "\\u{:04x}", u32::from(character)).expect("a String takes all"),
            _ => json.push(character),
        }
    }
    json.push('"');
}

/// What [`written`] wrote; None if somebody else did.
pub(super) fn read(json: &str) -> Option<Vec<(Arc<str>, Text)>> {
    let mut tags = Vec::new();
    let mut rest = json.strip_prefix('{')?;
    if rest == "}" {
        return Some(tags);
    }
    loop {
        let name = text(&mut rest)?;
        rest = rest.strip_prefix(':')?;
        let value = text(&mut rest)?;
        tags.push((name.into(), Some(value.into())));
        if rest == "}" {
            return Some(tags);
        }
        rest = rest.strip_prefix(',')?;
    }
}

fn text(rest: &mut &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = rest.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => match characters.next()? {
                'u' => {
                    let code = characters.as_str().get(..4)?;
                    text.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                    characters = characters.as_str()[4..].chars();
                }
                escaped => text.push(escaped),
            },
            character => text.push(character),
        }
    }
    *rest = characters.as_str();
    Some(text)
}
