//! Messages of providers and frameworks: as dicts, as (role, text) pairs and as objects.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString, PyTuple};

use super::walk::{Walk, dumped, items, unusable};

impl Walk {
    /// What stands for a whole prompt: text, a message, or a list of these.
    pub(super) fn content(&mut self, content: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.text(content)? {
            self.tally.cut();
            return Ok(());
        }
        if let Ok(dict) = content.cast::<PyDict>() {
            return self.deeper(|walk| walk.dict(dict));
        }
        if let Some(items) = items(content)? {
            return self.deeper(|walk| items.iter().try_for_each(|item| walk.item(&item)));
        }
        if content.is_none() || content.is_instance_of::<PyFloat>() || content.is_instance_of::<PyInt>() {
            return Err(unusable(content));
        }
        self.deeper(|walk| walk.object(content))
    }

    /// One of a list: a (role, text) pair or whatever a prompt can be.
    fn item(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(pair) = item.cast::<PyTuple>()
            && pair.len() == 2
            && pair.get_borrowed_item(0)?.is_instance_of::<PyString>()
        {
            self.message();
            return self.body(&pair.get_item(1)?);
        }
        self.content(item)
    }

    /// A message, a part of one, or the input of an agent.
    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = dict.py();
        if dict.contains(intern!(py, "role"))? {
            return self.message_dict(dict);
        }
        if self.part(dict)? {
            return Ok(());
        }
        if let Some(messages) = dict.get_item(intern!(py, "messages"))? {
            return self.content(&messages);
        }
        if dict.contains(intern!(py, "content"))? {
            return self.message_dict(dict);
        }
        self.json(dict)
    }

    fn message_dict(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = dict.py();
        self.message();
        if let Some(name) = dict.get_item(intern!(py, "name"))? {
            self.author(&name);
        }
        for key in [intern!(py, "content"), intern!(py, "parts")] {
            if let Some(body) = dict.get_item(key)? {
                self.body(&body)?;
            }
        }
        for key in [intern!(py, "tool_calls"), intern!(py, "function_call")] {
            if let Some(calls) = dict.get_item(key)? {
                self.calls(&calls)?;
            }
        }
        Ok(())
    }

    fn message(&mut self) {
        self.chat = true;
        self.tally.message();
    }

    fn author(&mut self, name: &Bound<'_, PyAny>) {
        if let Ok(name) = name.cast::<PyString>() {
            self.tally.name(&[]);
            self.string(name);
            self.tally.cut();
        }
    }

    /// What a message says: text, parts, or nothing beside tool calls.
    pub(super) fn body(&mut self, body: &Bound<'_, PyAny>) -> PyResult<()> {
        if body.is_none() {
            return Ok(());
        }
        if let Some(parts) = items(body)? {
            return self.deeper(|walk| parts.iter().try_for_each(|part| walk.one_part(&part)));
        }
        self.one_part(body)
    }

    fn one_part(&mut self, part: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(dict) = part.cast::<PyDict>() {
            return self.deeper(|walk| if walk.part(dict)? { Ok(()) } else { walk.json(dict) });
        }
        self.content(part)
    }

    /// What an assistant asked tools to do: name and arguments; ids are not shown to models.
    fn calls(&mut self, calls: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(calls) = items(calls)? {
            return self.deeper(|walk| calls.iter().try_for_each(|call| walk.calls(&call)));
        }
        if let Some(call) = dumped(calls)? {
            return self.deeper(|walk| walk.calls(&call));
        }
        match calls.cast::<PyDict>() {
            Ok(call) => self.deeper(|walk| walk.call(call)),
            Err(_) => Ok(()),
        }
    }

    /// One tool call, under any of the names that providers use.
    pub(super) fn call(&mut self, call: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = call.py();
        if let Some(function) = call.get_item(intern!(py, "function"))? {
            return self.calls(&function);
        }
        if let Some(name) = call.get_item(intern!(py, "name"))? {
            self.author(&name);
        }
        for key in [intern!(py, "arguments"), intern!(py, "args"), intern!(py, "input")] {
            if let Some(arguments) = call.get_item(key)? {
                // OpenAI sends the arguments as a string of JSON, the others as JSON.
                if !self.text(&arguments)? {
                    self.json(&arguments)?;
                }
                self.tally.cut();
            }
        }
        Ok(())
    }

    /// A message object of a framework, a pydantic model, or anything that prints.
    fn object(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if let Some(body) = object.getattr_opt(intern!(py, "content"))? {
            self.message();
            if let Some(name) = object.getattr_opt(intern!(py, "name"))? {
                self.author(&name);
            }
            self.body(&body)?;
            return match object.getattr_opt(intern!(py, "tool_calls"))? {
                Some(calls) if !shows_calls(&body)? => self.calls(&calls),
                _ => Ok(()),
            };
        }
        match dumped(object)? {
            Some(fields) => self.content(&fields),
            None => self.content(object.str()?.as_any()),
        }
    }
}

/// Whether a body holds the calls already: `langchain_anthropic` gives them twice.
fn shows_calls(body: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(parts) = items(body)? else { return Ok(false) };
    for part in parts {
        if let Ok(part) = part.cast::<PyDict>()
            && let Some(kind) = part.get_item(intern!(part.py(), "type"))?
            && let Ok(kind) = kind.extract::<&str>()
            && matches!(kind, "tool_use" | "tool_call" | "function_call")
        {
            return Ok(true);
        }
    }
    Ok(false)
}
