//! Tool schemas, as models see them: JSON Schema becomes a kind of TypeScript, which costs about half of the JSON.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::walk::{Walk, dumped, items};

/// The names under which providers keep a tool's parameters.
const PARAMETERS: [&str; 4] = ["parameters", "input_schema", "inputSchema", "json_schema"];

impl Walk {
    /// A list of tools, or one.
    pub(super) fn tools(&mut self, tools: &Bound<'_, PyAny>) -> PyResult<()> {
        self.tally.cut();
        if let Some(list) = items(tools)? {
            if !list.is_empty() {
                self.tally.text(b"# Tools\n\n## functions\n\nnamespace functions {\n\n");
                self.deeper(|walk| list.iter().try_for_each(|tool| walk.tool(&tool)))?;
                self.tally.text(b"} // namespace functions");
            }
        } else {
            self.tool(tools)?;
        }
        self.tally.cut();
        Ok(())
    }

    fn tool(&mut self, tool: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(dict) = tool.cast::<PyDict>() {
            return self.deeper(|walk| walk.tool_dict(dict));
        }
        match dumped(tool)? {
            Some(fields) => self.deeper(|walk| walk.tool(&fields)),
            None => Err(PyTypeError::new_err(format!(
                "tools: expected a list of tool schemas as dicts, got {}",
                tool.get_type().name()?
            ))),
        }
    }

    fn tool_dict(&mut self, tool: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = tool.py();
        if let Some(function) = tool.get_item(intern!(py, "function"))? {
            return self.tool(&function);
        }
        let Some(name) = tool.get_item(intern!(py, "name"))? else {
            return self.json(tool); // a tool that the provider has built in
        };
        self.comment(tool)?;
        self.tally.text(b"type ");
        self.string(&name.str()?);
        self.tally.text(b" = (_: ");
        for key in PARAMETERS {
            if let Some(schema) = tool.get_item(key)? {
                self.schema(&schema)?;
            }
        }
        self.tally.text(b") => any;\n\n");
        Ok(())
    }

    fn comment(&mut self, schema: &Bound<'_, PyDict>) -> PyResult<()> {
        if let Some(text) = schema.get_item(intern!(schema.py(), "description"))?
            && let Ok(text) = text.cast::<PyString>()
        {
            self.tally.text(b"// ");
            self.string(text);
            self.tally.text(b"\n");
        }
        Ok(())
    }

    /// One schema as a type.
    fn schema(&mut self, schema: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(dict) = schema.cast::<PyDict>() {
            return self.deeper(|walk| walk.type_of(dict));
        }
        self.tally.text(b"any");
        Ok(())
    }

    fn type_of(&mut self, schema: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = schema.py();
        if let Some(values) = schema.get_item(intern!(py, "enum"))? {
            return self.union(&values, Self::json);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(choices) = schema.get_item(key)? {
                return self.union(&choices, Self::schema);
            }
        }
        if let Some(properties) = schema.get_item(intern!(py, "properties"))? {
            return self.object_type(schema, &properties);
        }
        if let Some(element) = schema.get_item(intern!(py, "items"))? {
            self.schema(&element)?;
            self.tally.text(b"[]");
            return Ok(());
        }
        for key in ["$ref", "type"] {
            if let Some(name) = schema.get_item(key)? {
                self.string(&name.str()?);
                return Ok(());
            }
        }
        self.tally.text(b"any");
        Ok(())
    }

    fn union(
        &mut self,
        choices: &Bound<'_, PyAny>,
        each: fn(&mut Self, &Bound<'_, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let Some(choices) = items(choices)? else { return self.json(choices) };
        for (i, choice) in choices.iter().enumerate() {
            if i > 0 {
                self.tally.text(b" | ");
            }
            each(self, &choice)?;
        }
        Ok(())
    }

    fn object_type(&mut self, schema: &Bound<'_, PyDict>, properties: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = schema.py();
        let Ok(properties) = properties.cast::<PyDict>() else { return self.json(properties) };
        let required = schema.get_item(intern!(py, "required"))?;
        self.tally.text(b"{\n");
        for entry in properties.items() {
            let (name, property) = entry.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            if let Ok(property) = property.cast::<PyDict>() {
                self.comment(property)?;
            }
            self.string(&name.str()?);
            let needed = required.as_ref().is_some_and(|names| names.contains(&name).unwrap_or(false));
            self.tally.text(if needed { b": " } else { b"?: " });
            self.schema(&property)?;
            self.tally.text(b",\n");
        }
        self.tally.text(b"}");
        if let Some(definitions) = schema.get_item(intern!(py, "$defs"))?
            && let Ok(definitions) = definitions.cast::<PyDict>()
        {
            for definition in definitions.values() {
                self.schema(&definition)?;
            }
        }
        Ok(())
    }
}
