//! `--format` of lists: a template that is filled in for each row, with a table around them where it says so.

use serde_json::Value;

use super::table;
use super::template::{self, Functions, Problem, Template};
use crate::error::CliError;

/// A `--format` that was read.
pub struct RowFormat {
    template: Box<Template>,
    /// Whether a header stands above the rows and columns are set.
    table: bool,
}

impl RowFormat {
    /// Reads a template; `table` before it asks for a table. `\\t` and `\\n` are a tab and a line break.
    ///
    /// # Errors
    /// The template is none; in Go's words.
    pub fn parse(format: &str) -> Result<Self, CliError> {
        let (table, format) = match format.strip_prefix("table") {
            Some(rest) => (true, rest),
            None => (false, format),
        };
        let source = format.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n") + "\n";
        Ok(Self { template: Box::new(Template::parse(&source, Functions::Go).map_err(wrong)?), table })
    }

    /// Fills it in. `headers` are the fields with the titles of their columns; each row is an object of these fields.
    ///
    /// # Errors
    /// A field that rows do not have; in Go's words.
    pub fn text(
        &self,
        headers: &[(&str, &str)],
        rows: impl Iterator<Item = Value>,
    ) -> Result<String, CliError> {
        let mut text = String::new();
        if self.table {
            let headers: Value = headers.iter().map(|(field, title)| (*field, *title)).collect();
            text.push_str(&self.template.render(template::map(&headers)).map_err(wrong)?);
        }
        for row in rows {
            text.push_str(&self.template.render(template::structure(&row)).map_err(wrong)?);
        }
        Ok(if self.table { table::columns(&text) } else { text })
    }
}

fn wrong(problem: Problem) -> CliError {
    CliError::new(problem.to_string())
}
