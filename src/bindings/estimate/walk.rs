//! The walk over whatever a caller sends: text is counted where it lies, and containers are followed to a bounded
//! depth. It knows text and JSON; messages, media and tools stand in files of their own.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType,
};

use crate::estimate::Tally;

/// Deeper than any message is; JSON of providers ends far above.
const DEEPEST: u32 = 64;

/// Objects in one call; a few lists that hold one another could otherwise be followed for hours.
const MOST_OBJECTS: u32 = 5_000_000;

/// Text from this length is counted while other threads run Python.
const LONG_TEXT: usize = 1 << 18;

/// What a walk has counted so far, and how deep it stands.
pub(super) struct Walk {
    pub(super) tally: Tally,
    depth: u32,
    objects: u32,
    /// Whether a message was met: then the opening of the answer is counted too.
    pub(super) chat: bool,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { tally: Tally::new(), depth: 0, objects: 0, chat: false }
    }

    pub(super) fn tokens(mut self) -> u64 {
        if self.chat {
            self.tally.reply();
        }
        self.tally.tokens()
    }

    /// Runs `step` one level deeper.
    pub(super) fn deeper(&mut self, step: impl FnOnce(&mut Self) -> PyResult<()>) -> PyResult<()> {
        self.depth += 1;
        self.objects += 1;
        if self.depth > DEEPEST {
            return Err(PyValueError::new_err(format!(
                "content: expected at most {DEEPEST} levels of nesting; does it contain itself?"
            )));
        }
        if self.objects > MOST_OBJECTS {
            return Err(PyValueError::new_err(format!(
                "content: expected at most {MOST_OBJECTS} objects in one call"
            )));
        }
        step(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// Adds text, or bytes taken as text; says whether it was either.
    pub(super) fn text(&mut self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Ok(text) = value.cast::<PyString>() {
            self.string(text);
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            self.bytes(value.py(), bytes.as_bytes());
        } else if value.is_instance_of::<PyByteArray>() || value.is_instance_of::<PyMemoryView>() {
            // Others may write to these while we read: the one case that is copied.
            let copy = value.py().get_type::<PyBytes>().call1((value,))?;
            self.bytes(value.py(), copy.cast::<PyBytes>()?.as_bytes());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn string(&mut self, text: &Bound<'_, PyString>) {
        match text.to_str() {
            Ok(utf8) => self.bytes(text.py(), utf8.as_bytes()),
            // Lone surrogates have no UTF-8.
            Err(_) => self.bytes(text.py(), text.to_string_lossy().as_bytes()),
        }
    }

    fn bytes(&mut self, py: Python<'_>, text: &[u8]) {
        if text.len() < LONG_TEXT {
            self.tally.text(text);
        } else {
            let tally = &mut self.tally;
            py.detach(|| tally.text(text));
        }
    }

    /// Adds a value as the JSON text that will be sent for it.
    pub(super) fn json(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = value.cast::<PyString>() {
            return self.json_string(text);
        }
        if let Ok(dict) = value.cast::<PyDict>() {
            return self.deeper(|walk| walk.json_object(dict));
        }
        if let Some(items) = items(value)? {
            return self.deeper(|walk| walk.json_array(&items));
        }
        if value.is_none() {
            self.tally.text(b"null");
        } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
            self.string(&value.str()?);
        } else if is_binary(value) {
            self.binary(value)?;
        } else if let Some(dumped) = dumped(value)? {
            return self.deeper(|walk| walk.json(&dumped));
        } else {
            self.json_string(&value.str()?)?;
        }
        Ok(())
    }

    fn json_string(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        if self.data_url(text)? {
            return Ok(());
        }
        self.tally.text(b"\"");
        self.string(text);
        self.tally.text(b"\"");
        Ok(())
    }

    fn json_object(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        if self.media(dict)? {
            return Ok(());
        }
        self.tally.text(b"{");
        // A copy of the entries: `str()` of a stranger's object could change the dict meanwhile.
        for (i, entry) in dict.items().iter().enumerate() {
            let (key, value) = entry.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            self.tally.text(if i == 0 { b"\"" } else { b", \"" });
            self.string(&key.str()?);
            self.tally.text(b"\": ");
            self.json(&value)?;
        }
        self.tally.text(b"}");
        Ok(())
    }

    fn json_array(&mut self, items: &Bound<'_, PyList>) -> PyResult<()> {
        self.tally.text(b"[");
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.tally.text(b", ");
            }
            self.json(&item)?;
        }
        self.tally.text(b"]");
        Ok(())
    }
}

/// The items of a list or tuple; nothing for anything else.
pub(super) fn items<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyList>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Ok(Some(list.clone()));
    }
    value.cast::<PyTuple>().ok().map(|tuple| tuple.as_sequence().to_list()).transpose()
}

/// Bytes of any kind, which in JSON can only be a file.
fn is_binary(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
}

/// The fields of a pydantic model.
pub(super) fn dumped<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match value.getattr_opt(intern!(value.py(), "model_dump"))? {
        Some(dump) if !value.is_instance_of::<PyType>() => dump.call0().map(Some),
        _ => Ok(None),
    }
}

/// What was expected instead of `value`.
pub(super) fn unusable(value: &Bound<'_, PyAny>) -> PyErr {
    const EXPECTED: &str = "content: expected text, bytes, a message or a list of messages";
    match value.extract::<f64>() {
        Ok(number) if number.is_nan() => PyValueError::new_err(format!("{EXPECTED}, got NaN")),
        _ => match value.get_type().name() {
            Ok(name) => PyTypeError::new_err(format!("{EXPECTED}, got {name}")),
            Err(error) => error,
        },
    }
}
