//! Parts of messages by their `type`: text, tool calls and results, and media, whose base64 is never counted as
//! text.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::walk::Walk;
use crate::estimate::{Detail, Size, anthropic_image, openai_image};

/// A page of PDF has about this many bytes for each of its tokens; providers add an image of the page.
const FILE_BYTES_A_TOKEN: usize = 16;

/// A file's least price, also of one that is only named: about a page.
const FILE_LEAST: usize = 1500;

/// A file's highest price: about a hundred pages, where providers stop.
const FILE_MOST: usize = 150_000;

/// Speech costs about ten tokens a second, which in MP3 are about 16 kB.
const AUDIO_BYTES_A_TOKEN: usize = 1600;

/// Where parts keep a file, outermost first.
const PAYLOADS: [&str; 10] = [
    "source",
    "image_url",
    "file",
    "input_audio",
    "inline_data",
    "file_data",
    "data",
    "base64",
    "bytes",
    "url",
];

/// Which provider's rule prices an image.
#[derive(Clone, Copy)]
enum Rule {
    OpenAi(Detail),
    Anthropic,
}

/// A file in a part.
enum Payload<'py> {
    Bytes(Bound<'py, PyBytes>),
    Base64(Bound<'py, PyString>, usize),
    /// Kept by somebody else, under an address or an id.
    Elsewhere,
}

impl Walk {
    /// Counts a part by its type; says whether it knew the type.
    pub(super) fn part(&mut self, part: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = part.py();
        let kind = part.get_item(intern!(py, "type"))?;
        let kind = match &kind {
            Some(kind) => kind.extract::<&str>().unwrap_or_default(),
            None if part.contains(intern!(py, "text"))? => "text",
            None => return Ok(false),
        };
        match kind {
            "text" | "input_text" | "output_text" | "summary_text" => self.field(part, "text")?,
            "refusal" | "thinking" => self.field(part, kind)?,
            "reasoning" => self.field(part, "reasoning").and_then(|()| self.field(part, "summary"))?,
            "image_url" | "input_image" => self.image(part, Rule::OpenAi(detail(part)?))?,
            "image" => self.image(part, Rule::Anthropic)?,
            "document" | "file" | "input_file" | "media" | "video" => self.document(part)?,
            "input_audio" | "audio" => self.audio(part)?,
            "tool_use" | "server_tool_use" | "tool_call" | "function_call" => self.call(part)?,
            "tool_result" => self.field(part, "content")?,
            "function_call_output" => self.field(part, "output")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn field(&mut self, part: &Bound<'_, PyDict>, key: &str) -> PyResult<()> {
        match part.get_item(key)? {
            Some(body) => self.deeper(|walk| walk.body(&body)),
            None => Ok(()),
        }
    }

    fn image(&mut self, part: &Bound<'_, PyDict>, rule: Rule) -> PyResult<()> {
        let size = payload(part, 0)?.size()?;
        self.tally.add(match rule {
            Rule::OpenAi(detail) => openai_image(size, detail),
            Rule::Anthropic => anthropic_image(size),
        });
        Ok(())
    }

    /// Documents of text are counted as text; of others only the length is known.
    fn document(&mut self, part: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = part.py();
        for key in ["title", "context"] {
            self.field(part, key)?;
        }
        if let Some(source) = part.get_item(intern!(py, "source"))?
            && let Ok(source) = source.cast::<PyDict>()
            && let Some(kind) = source.get_item(intern!(py, "type"))?
        {
            match kind.extract::<&str>().unwrap_or_default() {
                "text" => return self.field(source, "data"),
                "content" => return self.field(source, "content"),
                _ => {}
            }
        }
        if part.contains(intern!(py, "text"))? {
            return self.field(part, "text");
        }
        self.file(payload(part, 0)?.len()?);
        Ok(())
    }

    fn audio(&mut self, part: &Bound<'_, PyDict>) -> PyResult<()> {
        self.whole(payload(part, 0)?.len()?.div_ceil(AUDIO_BYTES_A_TOKEN).max(1));
        Ok(())
    }

    fn file(&mut self, bytes: usize) {
        self.whole((bytes / FILE_BYTES_A_TOKEN).clamp(FILE_LEAST, FILE_MOST));
    }

    fn whole(&mut self, tokens: usize) {
        self.tally.add(u64::try_from(tokens).unwrap_or(u64::MAX));
    }

    /// Bytes inside JSON: an image if they look like one, else a file.
    pub(super) fn binary(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = value.py().get_type::<PyBytes>().call1((value,))?;
        self.payload(&Payload::Bytes(bytes.cast_into()?))
    }

    /// Counts an object that names a media type and holds the file; says whether it was one.
    pub(super) fn media(&mut self, object: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = object.py();
        for key in [intern!(py, "mime_type"), intern!(py, "mimeType"), intern!(py, "media_type")] {
            if object.contains(key)? {
                self.payload(&payload(object, 0)?)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts a `data:` URL as what it holds; says whether it was one.
    pub(super) fn data_url(&mut self, text: &Bound<'_, PyString>) -> PyResult<bool> {
        let payload = encoded(text);
        let held = matches!(payload, Payload::Base64(_, start) if start > 0);
        if held {
            self.payload(&payload)?;
        }
        Ok(held)
    }

    fn payload(&mut self, payload: &Payload<'_>) -> PyResult<()> {
        match payload.size()? {
            Some(size) => self.tally.add(anthropic_image(Some(size))),
            None => self.file(payload.len()?),
        }
        Ok(())
    }
}

impl Payload<'_> {
    fn size(&self) -> PyResult<Option<Size>> {
        Ok(match self {
            Self::Bytes(bytes) => Size::of_file(bytes.as_bytes()),
            Self::Base64(text, start) => Size::of_base64(&text.to_str()?.as_bytes()[*start..]),
            Self::Elsewhere => None,
        })
    }

    /// Bytes of the file; none are known of one that is elsewhere.
    fn len(&self) -> PyResult<usize> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.as_bytes().len(),
            Self::Base64(text, start) => (text.to_str()?.len() - start) / 4 * 3,
            Self::Elsewhere => 0,
        })
    }
}

/// How closely to look: `detail` stands beside or inside `image_url`.
fn detail(part: &Bound<'_, PyDict>) -> PyResult<Detail> {
    let py = part.py();
    let mut detail = part.get_item(intern!(py, "detail"))?;
    if let Some(inner) = part.get_item(intern!(py, "image_url"))?
        && let Ok(inner) = inner.cast::<PyDict>()
    {
        detail = inner.get_item(intern!(py, "detail"))?.or(detail);
    }
    let low = detail.is_some_and(|detail| detail.extract::<&str>().is_ok_and(|detail| detail == "low"));
    Ok(if low { Detail::Low } else { Detail::High })
}

fn payload<'py>(part: &Bound<'py, PyDict>, depth: u32) -> PyResult<Payload<'py>> {
    for key in PAYLOADS {
        let Some(value) = part.get_item(key)? else { continue };
        if let Ok(inner) = value.cast::<PyDict>() {
            // Providers nest it once or twice.
            return if depth < 3 { payload(inner, depth + 1) } else { Ok(Payload::Elsewhere) };
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Payload::Bytes(bytes.clone()));
        }
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(encoded(text));
        }
    }
    Ok(Payload::Elsewhere)
}

/// Base64, bare or in a `data:` URL; other addresses are somewhere else.
fn encoded<'py>(text: &Bound<'py, PyString>) -> Payload<'py> {
    let Ok(utf8) = text.to_str() else { return Payload::Elsewhere };
    let bytes = utf8.as_bytes();
    let head = &bytes[..bytes.len().min(200)];
    if utf8.starts_with("data:") {
        let comma = head.iter().position(|byte| *byte == b',');
        return match comma {
            Some(comma) if head[..comma].ends_with(b";base64") => Payload::Base64(text.clone(), comma + 1),
            _ => Payload::Elsewhere,
        };
    }
    let address = head.iter().take(12).any(|byte| *byte == b':');
    if address { Payload::Elsewhere } else { Payload::Base64(text.clone(), 0) }
}
